"""Yelp: bare addresses, its words for refusals, the end of the day, and who sees the key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.catalogue import import_venue
from venue_images import orchestrator, place_matching
from venue_images.errors import ErrorType, ProviderError
from venue_images.providers import Photo
from venue_images.providers.base import PlaceCandidate
from venue_images.providers.yelp import Yelp
from venue_images.sandbox import Fault, Sandbox

from .asking import ask, venue
from .conftest import ScriptedApi

pytestmark = pytest.mark.usefixtures("jobs")

KEY = "canary-yelp"
BUSINESS = "/v3/businesses/y1"
SEARCH = "/v3/businesses/search"
ONE, TWO = "https://media.yelp.example/bphoto/a/o.jpg", "https://media.yelp.example/bphoto/b/o.jpg"
DAY = 86_400


@pytest.fixture
def yelp(api: ScriptedApi, set_environment: Callable[..., None]) -> ScriptedApi:
    """An API that answers what the test wants, and the settings that lead there."""
    set_environment(YELP_BASE_URL=api.url, YELP_API_KEY=KEY)
    return api


def listed(business_id: str = "y1") -> list[Photo]:
    asked = venue(provider_ids={"yelp": business_id})
    return ask(Yelp(), lambda api: Yelp().list_photos(asked, api))


def found(**facts: Any) -> list[PlaceCandidate]:
    return ask(Yelp(), lambda api: Yelp().find_places(venue(**facts), api))


def error_of(work: Callable[[], object]) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        work()
    return raised.value


# Photos


def test_the_photos_and_the_title_picture_are_listed_once_each(yelp: ScriptedApi) -> None:
    yelp.answer(BUSINESS, {"photos": [ONE, ONE, None, 7, {"url": ONE}], "image_url": TWO})
    photos = listed()
    assert [photo.url for photo in photos] == [ONE, TWO]
    assert {(photo.attribution, photo.licence, photo.width) for photo in photos} == {("Yelp", "Yelp terms", None)}


@pytest.mark.parametrize("business", [{"image_url": ONE}, {"photos": [ONE]}, {"photos": [ONE], "image_url": ONE}])
def test_either_of_them_is_enough(yelp: ScriptedApi, business: dict[str, Any]) -> None:
    yelp.answer(BUSINESS, business)
    assert [photo.url for photo in listed()] == [ONE]


@pytest.mark.parametrize("photos", [None, {}, "none", 7, [], [""], [[ONE]]])
def test_a_business_without_photos_has_none(yelp: ScriptedApi, photos: object) -> None:
    yelp.answer(BUSINESS, {"photos": photos, "image_url": ""})
    assert listed() == []


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("https://www.yelp.example/biz/x?adjust_creative=account&utm_source=account", "https://www.yelp.example/biz/x"),
        ("javascript:alert(1)", ""),
        (None, ""),
    ],
)
def test_the_page_is_linked_without_the_name_of_the_account(yelp: ScriptedApi, url: object, page: str) -> None:
    yelp.answer(BUSINESS, {"photos": [ONE], "url": url})
    assert [photo.page_url for photo in listed()] == [page]


@pytest.mark.parametrize("body", [[], "none", 7, b"<html>"])
def test_an_answer_that_is_no_business_is_an_error(yelp: ScriptedApi, body: object) -> None:
    yelp.answer(BUSINESS, body)
    assert error_of(listed).error_type == ErrorType.UNKNOWN_ERROR


def test_the_key_travels_in_the_header_alone(yelp: ScriptedApi) -> None:
    yelp.answer(BUSINESS, {"photos": [ONE]})
    listed()
    [(path, headers)] = yelp.requests
    assert (path, headers["Authorization"]) == (BUSINESS, f"Bearer {KEY}")


# Places


def test_businesses_are_found_around_the_venue(yelp: ScriptedApi) -> None:
    business = {"id": "y1", "name": "Fabric", "coordinates": {"latitude": 51.5, "longitude": -0.1}}
    yelp.answer(SEARCH, {"businesses": [business, {"id": "y2", "name": "Moved", "coordinates": None}]})
    assert found() == [PlaceCandidate("y1", "Fabric", 51.5, -0.1), PlaceCandidate("y2", "Moved")]
    assert yelp.paths == [f"{SEARCH}?term=Fabric&latitude=51.5&longitude=-0.1&limit=5"]


def test_a_venue_without_coordinates_is_not_searched(yelp: ScriptedApi) -> None:
    assert found(longitude=None) == []
    assert yelp.paths == []


@pytest.mark.parametrize(
    "body", [[], {"businesses": None}, {"businesses": [7]}, {"businesses": [{"id": 7, "coordinates": [1, 2]}]}]
)
def test_an_odd_search_finds_nothing_that_could_be_used(yelp: ScriptedApi, body: object) -> None:
    yelp.answer(SEARCH, body)
    assert all(place == PlaceCandidate("", "") for place in found())


# Refusals


@pytest.mark.parametrize(
    ("status", "code", "error_type"),
    [
        (301, "BUSINESS_MIGRATED", "not_found"),
        (400, "VALIDATION_ERROR", "http_error"),
        (401, "TOKEN_INVALID", "provider_key"),
        (403, "AUTHORIZATION_ERROR", "provider_key"),
        (403, "BUSINESS_UNAVAILABLE", "not_found"),
        (404, "BUSINESS_NOT_FOUND", "not_found"),
        (429, "TOO_MANY_REQUESTS_PER_SECOND", "rate_limited"),
        (429, "ACCESS_LIMIT_REACHED", "rate_limited"),
        (429, "SOMETHING_ELSE", "rate_limited"),
        (500, "INTERNAL_ERROR", "server_error"),
        (503, "SERVICE_UNAVAILABLE", "service_unavailable"),
    ],
)
def test_a_refusal_means_what_yelp_means_by_it(yelp: ScriptedApi, status: int, code: str, error_type: str) -> None:
    yelp.answer(BUSINESS, {"error": {"code": code, "description": "No."}}, status)
    error = error_of(listed)
    assert (error.error_type, error.http_status) == (error_type, status)
    assert error.message.startswith("Yelp ")


@pytest.mark.parametrize("error", [None, "no", [], {"code": 7}, {"code": ["BUSINESS_NOT_FOUND"]}])
def test_a_refusal_in_odd_words_is_understood_by_its_status(yelp: ScriptedApi, error: object) -> None:
    yelp.answer(BUSINESS, {"error": error}, 429)
    assert error_of(listed).error_type == ErrorType.RATE_LIMITED
    yelp.answer(BUSINESS, {"error": error}, 404)
    assert error_of(listed).error_type == ErrorType.NOT_FOUND


def test_too_many_calls_in_a_second_wait_a_second(yelp: ScriptedApi) -> None:
    told = {"error": {"code": "TOO_MANY_REQUESTS_PER_SECOND"}}
    yelp.answer(BUSINESS, told, 429, {"RateLimit-Remaining": "0"})
    assert error_of(listed).retry_after == 1


def test_an_unknown_429_waits_as_long_as_it_says(yelp: ScriptedApi) -> None:
    yelp.answer(BUSINESS, {}, 429, {"Retry-After": "9", "RateLimit-Remaining": "5"})
    assert error_of(listed).retry_after == 9


@pytest.mark.parametrize("zone", [UTC, None])
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"error": {"code": "ACCESS_LIMIT_REACHED"}}, {}),
        ({}, {"RateLimit-Remaining": "0"}),
        ({}, {"RateLimit-Remaining": "7", "RateLimit-ResourceRemaining": "0"}),
    ],
)
def test_a_day_that_is_used_up_waits_until_it_is_reset(
    yelp: ScriptedApi, body: Any, headers: dict[str, str], zone: Any
) -> None:
    reset = (datetime.now(UTC) + timedelta(hours=2)).replace(tzinfo=zone)
    yelp.answer(BUSINESS, body, 429, {**headers, "RateLimit-ResetTime": reset.isoformat()})
    error = error_of(listed)
    assert error.message == "Yelp answered 429: today's calls are used up."
    assert error.retry_after
    assert 7100 < error.retry_after <= 7200


@pytest.mark.parametrize("reset", ["", "soon", "2026-13-45", "0"])
def test_without_a_time_the_day_ends_at_midnight(yelp: ScriptedApi, reset: str) -> None:
    yelp.answer(BUSINESS, {"error": {"code": "ACCESS_LIMIT_REACHED"}}, 429, {"RateLimit-ResetTime": reset})
    before = datetime.now(UTC)
    waited = error_of(listed).retry_after
    assert waited
    assert 1 <= waited <= DAY
    ends = before + timedelta(seconds=waited)
    nearest_midnight = (ends + timedelta(hours=12)).replace(hour=0, minute=0, second=0, microsecond=0)
    assert abs(ends - nearest_midnight) < timedelta(minutes=1)


@pytest.mark.parametrize(("reset", "waited"), [("1999-01-01T00:00:00+00:00", 1), ("9999-01-01T00:00:00Z", DAY)])
def test_a_time_that_makes_no_sense_neither_hurries_nor_stops_for_ever(
    yelp: ScriptedApi, reset: str, waited: int
) -> None:
    yelp.answer(BUSINESS, {"error": {"code": "ACCESS_LIMIT_REACHED"}}, 429, {"RateLimit-ResetTime": reset})
    assert error_of(listed).retry_after == waited


def test_a_key_of_the_wrong_form_is_not_repeated(yelp: ScriptedApi) -> None:
    told = {
        "code": "VALIDATION_ERROR",
        "description": f"'Bearer {KEY}' does not match",
        "field": "Authorization",
        "instance": f"Bearer {KEY}",
    }
    yelp.answer(BUSINESS, {"error": told}, 400)
    error = error_of(listed)
    assert (error.error_type, error.message) == (
        ErrorType.PROVIDER_KEY,
        "Yelp answered 400: this is no key of Yelp's.",
    )


# Against the twin


def test_the_photos_of_a_venue_are_stored_and_no_photo_host_sees_the_key(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.place("sandbox-tate", photos=3)
    result = orchestrator.enrich_venue_sync(
        import_venue(tmp_path, "tate", [], provider_ids={"yelp": "sandbox-tate"}), providers=["yelp"]
    )
    assert (result.images_uploaded, sandbox.metered_calls) == (3, {"yelp": 1})
    photos = [hit for hit in sandbox.hits() if hit.host in sandbox.hosts]
    assert len(photos) == 3
    assert not any(hit.carried_key for hit in photos)


def test_the_venue_is_found_at_the_twin(sandbox: Sandbox) -> None:
    sandbox.offer("yelp", "fabric", "Fabric", latitude=51.5002, longitude=-0.1, place_id="y-77")
    sandbox.offer("yelp", "pub", "The Crown", latitude=51.5001, longitude=-0.1)
    match = place_matching.best_match(venue(), found())
    assert match
    assert (match.candidate.place_id, match.is_sure) == ("y-77", True)
    assert len(listed("y-77")) == 3


@pytest.mark.parametrize(
    ("business_id", "message"),
    [
        ("unavailable-1", "Yelp shows this business no more."),
        ("unheard-of", "Yelp does not know this business."),
        ("moved-1", "Yelp has moved this business to another id: sandbox-moved."),
    ],
)
def test_a_business_that_is_gone_is_not_found(sandbox: Sandbox, business_id: str, message: str) -> None:
    error = error_of(lambda: listed(business_id))
    assert (error.error_type, error.message) == (ErrorType.NOT_FOUND, message)
    assert sandbox.calls == {"yelp": 1}


def test_the_day_of_the_twin_is_used_up_until_midnight(sandbox: Sandbox) -> None:
    error = error_of(lambda: listed("daily-limit"))
    assert (error.error_type, error.message) == (
        ErrorType.RATE_LIMITED,
        "Yelp answered 429: today's calls are used up.",
    )


def test_a_call_too_many_at_the_twin_waits_a_second(sandbox: Sandbox) -> None:
    sandbox.script("/yelp/v3/businesses/sandbox-tate", Fault("status", status=429))
    assert error_of(lambda: listed("sandbox-tate")).retry_after == 1


@pytest.mark.parametrize("key", ["", "nonsense", "sandbox-wrong"])
def test_the_twin_refuses_a_wrong_key(sandbox: Sandbox, set_environment: Callable[..., None], key: str) -> None:
    set_environment(YELP_API_KEY=key)
    assert error_of(lambda: listed("sandbox-tate")).error_type == ErrorType.PROVIDER_KEY

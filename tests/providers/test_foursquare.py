"""Foursquare: both spellings, the size of a photo, what a refusal means, and who sees the key."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.catalogue import import_venue
from venue_images import orchestrator, place_matching
from venue_images.catalog import import_file
from venue_images.errors import ErrorType, ProviderError, UploadError
from venue_images.models import Operation, VenueImage
from venue_images.providers import Photo
from venue_images.providers.base import PlaceCandidate
from venue_images.providers.foursquare import Foursquare
from venue_images.sandbox import Fault, Sandbox

from .asking import ask, venue
from .conftest import ScriptedApi

pytestmark = pytest.mark.usefixtures("jobs")

KEY = "canary-foursquare"
PHOTOS = "/places/f1/photos"
PHOTO = {
    "fsq_photo_id": "5f1",
    "prefix": "https://fastly.4sqi.example/img/general/",
    "suffix": "/1234_ab.jpg",
    "width": 1440,
    "height": 1920,
}


@pytest.fixture
def foursquare(api: ScriptedApi, set_environment: Callable[..., None]) -> ScriptedApi:
    """An API that answers what the test wants, and the settings that lead there."""
    set_environment(FOURSQUARE_BASE_URL=api.url, FOURSQUARE_API_KEY=KEY)
    return api


def listed(place_id: str = "f1") -> list[Photo]:
    asked = venue(provider_ids={"foursquare": place_id})
    return ask(Foursquare(), lambda api: Foursquare().list_photos(asked, api))


def found(**facts: Any) -> list[PlaceCandidate]:
    return ask(Foursquare(), lambda api: Foursquare().find_places(venue(**facts), api))


def error_of(work: Callable[[], object]) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        work()
    return raised.value


# Photos


def test_the_photos_of_a_place_are_listed(foursquare: ScriptedApi) -> None:
    foursquare.answer(PHOTOS, [PHOTO])
    [photo] = listed()
    assert photo.url == "https://fastly.4sqi.example/img/general/original/1234_ab.jpg"
    assert (photo.photo_id, photo.width, photo.height) == ("5f1", 1440, 1920)
    assert (photo.attribution, photo.licence) == ("Foursquare", "Foursquare terms")


def test_the_key_travels_in_the_header_with_the_version(foursquare: ScriptedApi) -> None:
    foursquare.answer(PHOTOS, [PHOTO])
    listed()
    [(path, headers)] = foursquare.requests
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["X-Places-Api-Version"] == "2025-06-17"
    assert KEY not in path


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (2000, 1500, "original"),
        (2001, 1500, "1600x1199"),
        (4000, 3000, "1600x1200"),
        (3000, 4000, "1200x1600"),
        (100_000, 1, "1600x1"),
        (None, 3000, "original"),
        ("4000", 3000, "original"),
        (4000, -1, "original"),
    ],
)
def test_only_a_large_photo_is_asked_for_in_a_smaller_size_of_its_shape(
    foursquare: ScriptedApi, width: object, height: object, size: str
) -> None:
    foursquare.answer(PHOTOS, [{**PHOTO, "width": width, "height": height}])
    assert [photo.url for photo in listed()] == [f"{PHOTO['prefix']}{size}{PHOTO['suffix']}"]


def test_a_photo_in_the_old_words_is_read_too(foursquare: ScriptedApi) -> None:
    old = {"id": "4e7", **{key: value for key, value in PHOTO.items() if key != "fsq_photo_id"}}
    foursquare.answer(PHOTOS, [old])
    assert [photo.photo_id for photo in listed()] == ["4e7"]


@pytest.mark.parametrize("half", [{"prefix": None}, {"suffix": ""}, {"prefix": 7}, {"suffix": ["/x.jpg"]}])
def test_a_photo_without_both_halves_of_its_address_is_skipped(foursquare: ScriptedApi, half: dict[str, Any]) -> None:
    foursquare.answer(PHOTOS, [{**PHOTO, **half}, None, 7, PHOTO])
    assert len(listed()) == 1


def test_a_place_without_photos_has_none(foursquare: ScriptedApi) -> None:
    foursquare.answer(PHOTOS, [])
    assert listed() == []


@pytest.mark.parametrize("body", [{}, {"photos": [PHOTO]}, "none", 7, b"<html>"])
def test_an_answer_that_is_no_list_is_an_error(foursquare: ScriptedApi, body: object) -> None:
    foursquare.answer(PHOTOS, body)
    assert error_of(listed).error_type == ErrorType.UNKNOWN_ERROR


@pytest.mark.parametrize("place_id", ["../search", "a/b", "a?limit=1", "a b"])
def test_an_odd_place_id_leads_nowhere_else(foursquare: ScriptedApi, place_id: str) -> None:
    error_of(lambda: listed(place_id))
    [path] = foursquare.paths
    assert path.partition("?")[0].count("/") == 3
    assert path.endswith("/photos?limit=50")


# Places


def test_places_are_found_around_the_venue(foursquare: ScriptedApi) -> None:
    results = [
        {"fsq_place_id": "f1", "name": "Fabric", "latitude": 51.5, "longitude": -0.1},
        {"fsq_id": "f2", "name": "Fabrique", "geocodes": {"main": {"latitude": 51.6, "longitude": -0.2}}},
    ]
    foursquare.answer("/places/search", {"results": results})
    assert found() == [PlaceCandidate("f1", "Fabric", 51.5, -0.1), PlaceCandidate("f2", "Fabrique", 51.6, -0.2)]
    assert foursquare.paths == ["/places/search?query=Fabric&ll=51.5,-0.1&limit=5"]


def test_a_venue_without_coordinates_is_not_searched(foursquare: ScriptedApi) -> None:
    assert found(latitude=None) == []
    assert foursquare.paths == []


@pytest.mark.parametrize(
    "odd",
    [
        {"latitude": "51.5", "longitude": None},
        {"latitude": 10**400, "longitude": 1e308},
        {"geocodes": {"main": {"latitude": []}}},
        {"geocodes": {"main": "here"}, "latitude": {}},
        {"geocodes": 7, "latitude": 181},
    ],
)
def test_odd_coordinates_are_not_known(foursquare: ScriptedApi, odd: dict[str, Any]) -> None:
    foursquare.answer("/places/search", {"results": [{"fsq_place_id": "f1", "name": None, **odd}]})
    [place] = found()
    assert (place.place_id, place.name, place.latitude, place.longitude) == ("f1", "", None, None)


@pytest.mark.parametrize("body", [[], None, {"results": "none"}, {"results": [7, None]}])
def test_an_odd_search_finds_nothing(foursquare: ScriptedApi, body: object) -> None:
    foursquare.answer("/places/search", body if body is not None else {})
    assert found() == []


# Refusals


@pytest.mark.parametrize(
    ("status", "message", "error_type"),
    [
        (400, "Bad parameter", "not_found"),
        (401, "Invalid request token.", "provider_key"),
        (402, "", "provider_quota"),
        (403, "Restricted", "provider_key"),
        (404, "No such endpoint", "not_found"),
        (405, "", "not_found"),
        (409, "Modify and retry", "not_found"),
        (429, "Too many requests", "rate_limited"),
        (429, "", "rate_limited"),
        (429, "No API Credits remaining", "provider_quota"),
        (429, "quota exceeded", "provider_quota"),
        (429, "Insufficient balance.", "provider_quota"),
        (500, "Retry later", "service_unavailable"),
        (503, "", "service_unavailable"),
    ],
)
def test_a_refusal_means_what_foursquare_means_by_it(
    foursquare: ScriptedApi, status: int, message: str, error_type: str
) -> None:
    foursquare.answer(PHOTOS, {"message": message}, status)
    error = error_of(listed)
    assert (error.error_type, error.http_status) == (error_type, status)
    assert error.message == f"Foursquare answered {status}{message and ': '}{message.rstrip('.')}."


def test_haste_is_told_for_how_long(foursquare: ScriptedApi) -> None:
    foursquare.answer(PHOTOS, {"message": "Slow down"}, 429, {"Retry-After": "7"})
    assert error_of(listed).retry_after == 7


@pytest.mark.parametrize("body", [b"<html>", [], 7, {"message": None}, {"message": {"text": "x"}}])
def test_a_refusal_in_odd_words_is_understood_by_its_status(foursquare: ScriptedApi, body: object) -> None:
    foursquare.answer(PHOTOS, body, 404)
    assert error_of(listed).message == "Foursquare answered 404."


def test_a_refusal_does_not_repeat_the_key(foursquare: ScriptedApi) -> None:
    foursquare.answer(PHOTOS, {"message": f"Bad header: Bearer {KEY}"}, 400)
    assert error_of(listed).message == "Foursquare answered 400: Bad header: Bearer …."


@pytest.mark.parametrize(
    ("status", "verdict"), [(403, "not_found"), (404, "not_found"), (429, "rate_limited"), (500, "server_error")]
)
def test_a_photo_that_its_host_refuses_was_removed(status: int, verdict: str) -> None:
    generic = {403: "forbidden", 404: "not_found", 429: "rate_limited", 500: "server_error"}[status]
    assert Foursquare().classify(UploadError(ErrorType(generic), "no", http_status=status)) == verdict


# Against the twin


def test_the_photos_of_a_venue_are_stored_and_no_photo_host_sees_the_key(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.place("sandbox-tate", photos=4)
    result = orchestrator.enrich_venue_sync(
        import_venue(tmp_path, "tate", [], provider_ids={"foursquare": "sandbox-tate"}), providers=["foursquare"]
    )
    assert (result.images_uploaded, sandbox.calls) == (4, {"foursquare": 1})
    assert Operation.objects.get().cost_usd == Decimal("0.01875")
    photos = [hit for hit in sandbox.hits() if hit.host in sandbox.hosts]
    assert {hit.path.split("/")[3] for hit in photos} > {"original"}
    assert not any(hit.carried_key for hit in photos)


@pytest.mark.parametrize("place_id", ["sandbox-tate", "v3-sandbox-tate"])
def test_both_spellings_of_the_twin_are_read(sandbox: Sandbox, place_id: str) -> None:
    photos = listed(place_id)
    assert [photo.photo_id for photo in photos] == [f"5ftate{number}" for number in range(5)]
    assert all(photo.width and photo.height for photo in photos)


@pytest.mark.parametrize("place_id", ["f-77", "v3-f-77"])
def test_the_venue_is_found_at_the_twin(sandbox: Sandbox, place_id: str) -> None:
    sandbox.offer("foursquare", "fabric", "fabric London", latitude=51.5002, longitude=-0.1, place_id=place_id)
    sandbox.offer("foursquare", "pub", "The Crown", latitude=51.5001, longitude=-0.1)
    match = place_matching.best_match(venue(name="Fabric London"), found(name="Fabric London"))
    assert match
    assert (match.candidate.place_id, match.is_sure) == (place_id, True)
    assert len(listed(place_id)) == 3


@pytest.mark.parametrize(
    ("place_id", "error_type"),
    [("no-credit-1", "provider_quota"), ("unheard-of", "not_found"), ("sandbox-ill", "service_unavailable")],
)
def test_the_odd_answers_of_the_twin(sandbox: Sandbox, place_id: str, error_type: str) -> None:
    sandbox.script("/foursquare/places/sandbox-ill/photos", Fault("status", status=500))
    assert error_of(lambda: listed(place_id)).error_type == error_type
    assert sandbox.metered_calls == {"foursquare": 1}


def test_the_twin_refuses_a_wrong_key(sandbox: Sandbox, set_environment: Callable[..., None]) -> None:
    set_environment(FOURSQUARE_API_KEY="wrong")
    assert error_of(lambda: listed("sandbox-tate")).error_type == ErrorType.PROVIDER_KEY


# Records of the replaced system


def test_a_record_of_the_old_system_keeps_its_address_and_its_state(tmp_path: Path) -> None:
    old = {
        "provider": "foursquare",
        "provider_url": "https://fastly.4sqi.example/img/general/original/1234_ab.jpg",
        "upload_status": "failed",
        "retry_count": 2,
        "error_details": {"error_type": "service_unavailable", "status_code": 503},
        "width": 1440,
        "height": 1920,
    }
    file = tmp_path / "venues.jsonl"
    file.write_text(json.dumps({"slug": "fabric", "name": "Fabric", "venue_images": [old]}))
    assert not import_file(file).rejected
    image = VenueImage.objects.get()
    assert (image.provider, image.provider_url, image.host) == (
        "foursquare",
        old["provider_url"],
        "fastly.4sqi.example",
    )
    assert (image.upload_status, image.retry_count, image.error_type) == ("failed", 2, "service_unavailable")
    assert (image.width, image.height) == (1440, 1920)

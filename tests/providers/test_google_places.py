"""Google Places: documented shapes, odd shapes, finding a place, new addresses for expired ones."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tests.runtimes import in_runtime
from venue_images import discovery, provider_api
from venue_images.errors import ErrorType, ProviderError
from venue_images.models import ProviderSpend, ProviderUsage
from venue_images.place_matching import best_match
from venue_images.provider_api import CountingApi
from venue_images.providers import PROVIDERS, Photo
from venue_images.runtime import Runtime
from venue_images.sandbox import Fault, Sandbox

from .asking import ask, choices_of, venue
from .conftest import KEY, ScriptedApi

pytestmark = pytest.mark.usefixtures("jobs")

GOOGLE = PROVIDERS["google_places"]
PLACE = "ChIJ_test-1"
DETAILS = f"/v1/places/{PLACE}"
NAME = f"places/{PLACE}/photos/AbC-1"
PHOTO = {
    "name": NAME,
    "widthPx": 4000,
    "heightPx": 3000,
    "authorAttributions": [{"displayName": "Ana", "uri": "//maps", "photoUri": "//avatar"}, {"displayName": "Tom"}],
    "flagContentUri": "https://www.google.example/flag",
    "googleMapsUri": "https://www.google.example/maps",
}


def listed(place_id: str = PLACE) -> list[Photo]:
    known = venue(provider_ids={"google_places": place_id})
    return ask(GOOGLE, lambda api: GOOGLE.list_photos(known, api))


def resolved(photo: Photo | None = None) -> Photo:
    asked = photo or Photo("google_places", photo_id=NAME, width=4000, height=3000)
    return ask(GOOGLE, lambda api: GOOGLE.resolve(asked, api))


def error_of(work: Callable[[], object]) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        work()
    return raised.value


# Documented shapes


def test_the_photos_of_a_place_are_listed(api: ScriptedApi) -> None:
    api.answer(DETAILS, {"id": PLACE, "photos": [PHOTO, {**PHOTO, "name": f"{NAME}2", "authorAttributions": []}]})
    first, second = listed()
    assert (first.photo_id, first.url, first.width, first.height) == (NAME, "", 4000, 3000)
    assert (first.attribution, second.attribution) == ("Ana, Tom", "")
    assert (first.licence, first.page_url) == ("Google Maps Platform terms", "https://www.google.example/maps")
    [(path, headers)] = api.requests
    assert path == DETAILS
    assert (headers["X-Goog-Api-Key"], headers["X-Goog-FieldMask"]) == (KEY, "id,photos")


def test_a_place_without_photos_has_none(api: ScriptedApi) -> None:
    api.answer(DETAILS, {"id": PLACE})
    assert listed() == []


def test_the_address_of_a_photo_is_asked_for_once_and_its_name_is_not_kept(api: ScriptedApi) -> None:
    api.answer(f"/v1/{NAME}/media", {"name": f"{NAME}/media", "photoUri": "https://lh3.example/x=s4800"})
    photo = resolved()
    fingerprint = hashlib.sha256(NAME.encode()).hexdigest()[:16]
    assert (photo.url, photo.photo_id, photo.width) == ("https://lh3.example/x=s4800", fingerprint, 4000)
    [(path, headers)] = api.requests
    assert path == f"/v1/{NAME}/media?maxWidthPx=4800&maxHeightPx=4800&skipHttpRedirect=true"
    assert headers["X-Goog-Api-Key"] == KEY


def test_a_long_answer_that_comes_in_pieces_is_read_to_its_end(api: ScriptedApi) -> None:
    photos = [{**PHOTO, "name": f"{NAME}{number}", "flagContentUri": "x" * 100_000} for number in range(10)]
    api.answer(DETAILS, {"photos": photos})
    assert len(listed()) == 10


def test_a_compressed_answer_is_understood(api: ScriptedApi) -> None:
    body = gzip.compress(json.dumps({"photos": [PHOTO]}).encode())
    api.answer(DETAILS, body, headers={"Content-Encoding": "gzip"})
    assert len(listed()) == 1


@pytest.mark.parametrize("place_id", ["../../v1/secret", "a/b", "a?fields=*", "a#b", "a b", "%2e%2e", "é"])
def test_an_odd_place_id_leads_nowhere_else(api: ScriptedApi, place_id: str) -> None:
    assert error_of(lambda: listed(place_id)).error_type == ErrorType.NOT_FOUND
    [path] = api.paths
    assert path.startswith("/v1/places/")
    assert path.count("/") == 3
    assert not set("?#") & set(path)


# Odd shapes


@pytest.mark.parametrize(
    "photo",
    [
        {"widthPx": "abc"},
        {"widthPx": -4000},
        {"widthPx": 0},
        {"widthPx": 2**40},
        {"heightPx": 30.5},
        {"heightPx": None},
        {"heightPx": [3]},
        {"authorAttributions": None},
        {"authorAttributions": "Ana"},
        {"authorAttributions": [None, "Ana", 7]},
        {"authorAttributions": [{"displayName": None}, {"displayName": 7}, {}]},
        {"authorAttributions": [{"displayName": "NUL \0 and half \ud800"}]},
    ],
)
def test_an_odd_value_costs_no_photo(api: ScriptedApi, photo: dict[str, Any]) -> None:
    api.answer(DETAILS, {"photos": [{**PHOTO, **photo}, PHOTO]})
    api.answer(f"/v1/{NAME}/media", {"photoUri": "https://lh3.example/x"})
    first, second = listed()
    assert first.photo_id == second.photo_id == NAME
    assert second.width == 4000
    assert not any(size is not None and not 0 < size < 2**31 for size in (first.width, first.height))
    assert set("\0\ud800").isdisjoint(first.attribution)


@pytest.mark.parametrize(
    "name", [None, "", 7, "places/x", "places/a/photos/", "places/a/photos/b/../../c", "places/a/photos/b?x=1", "../x"]
)
def test_a_photo_without_a_proper_name_is_skipped_because_asking_for_it_would_be_billed(
    api: ScriptedApi, name: object
) -> None:
    api.answer(DETAILS, {"photos": [{**PHOTO, "name": name}, PHOTO, {"widthPx": 1}, None, "x", []]})
    assert [photo.photo_id for photo in listed()] == [NAME]


@pytest.mark.parametrize("photos", [None, {}, "none", 7, [], [None], [[]]])
def test_a_list_of_photos_that_is_none_is_empty(api: ScriptedApi, photos: object) -> None:
    api.answer(DETAILS, {"photos": photos})
    assert listed() == []


@pytest.mark.parametrize(
    "body", [[], [PHOTO], None, 7, "text", b"", b"<html>", b"{", b"\xff\xfe", b"[" * 100_000, b"9" * 5000]
)
def test_an_answer_that_is_no_place_is_an_error(api: ScriptedApi, body: object) -> None:
    api.answer(DETAILS, body)
    error = error_of(listed)
    assert error.error_type == ErrorType.UNKNOWN_ERROR
    assert "Google Places" in error.message


@pytest.mark.parametrize(
    "body", [{}, [], None, {"photoUri": None}, {"photoUri": ""}, {"photoUri": ["https://x"]}, {"photouri": "https://x"}]
)
def test_an_address_that_is_none_is_an_error(api: ScriptedApi, body: object) -> None:
    api.answer(f"/v1/{NAME}/media", body)
    assert error_of(resolved).error_type == ErrorType.UNKNOWN_ERROR


def test_an_answer_without_end_is_cut_off(api: ScriptedApi) -> None:
    api.answer(DETAILS, b" " * (5 * 1024 * 1024 + 1) + b"{}")
    assert "more than 5242880 bytes" in error_of(listed).message
    api.answer(DETAILS, b" " * (5 * 1024 * 1024 - 2) + b"{}")
    assert listed() == []


def test_a_redirect_is_not_followed_and_the_key_stays(api: ScriptedApi) -> None:
    api.answer(DETAILS, b"", 302, {"Location": f"{api.url}/elsewhere"})
    error = error_of(listed)
    assert (error.error_type, error.http_status) == (ErrorType.HTTP_ERROR, 302)
    assert api.paths == [DETAILS]


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        (400, "not_found"),
        (401, "provider_key"),
        (402, "provider_quota"),
        (403, "provider_key"),
        (404, "not_found"),
        (429, "rate_limited"),
        (500, "server_error"),
        (503, "service_unavailable"),
    ],
)
def test_a_refusal_has_the_type_of_its_status(api: ScriptedApi, status: int, error_type: str) -> None:
    api.answer(DETAILS, {"error": {"code": status, "message": "Not today.", "status": "X"}}, status)
    error = error_of(listed)
    assert (error.error_type, error.http_status) == (error_type, status)
    assert error.message == f"Google Places answered {status}: Not today."


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"message": "Not today"}, ": Not today"),
        ({"error": "Not today"}, ": Not today"),
        ({"error": {"message": f"key {KEY} is bad\0\ud800"}}, ": key … is bad?"),
        ({"error": {"message": "x" * 190 + KEY}}, ": " + "x" * 190 + "…"),
        ({"error": {"message": "x" * 500}}, ": " + "x" * 200),
        ({"error": {"message": {"a": 1}}}, ": {'a': 1}"),
        ({"error": None}, ""),
        ([1], ""),
        (b"<html>", ""),
        (b"[" * 100_000, ""),
    ],
)
def test_a_refusal_says_why_and_never_repeats_the_key(api: ScriptedApi, body: object, reason: str) -> None:
    api.answer(DETAILS, body, 403)
    assert error_of(listed).message == f"Google Places answered 403{reason}."


def test_an_api_that_is_not_there_is_a_network_error(api: ScriptedApi, set_environment: Callable[..., None]) -> None:
    set_environment(GOOGLE_PLACES_BASE_URL="http://127.0.0.1:9")
    error = error_of(listed)
    assert error.error_type == ErrorType.NETWORK_ERROR
    assert KEY not in error.message


@pytest.mark.parametrize("base_url", ["nonsense", "http://", "http://[", "ftp://x"])
def test_an_address_of_the_api_that_is_none_is_an_error(
    api: ScriptedApi, set_environment: Callable[..., None], base_url: str
) -> None:
    set_environment(GOOGLE_PLACES_BASE_URL=base_url)
    assert error_of(listed).error_type == ErrorType.NETWORK_ERROR


def test_silence_is_a_time_out(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_api, "TIMEOUT", 0.3)
    sandbox.script("/google_places/*", Fault("delay", delay=20))
    error = error_of(listed)
    assert error.error_type == ErrorType.NETWORK_TIMEOUT
    assert error.message == "Google Places did not answer within 0.3 seconds."


# What is counted


def test_many_calls_in_one_second_are_one_counter(sandbox: Sandbox) -> None:
    async def run(runtime: Runtime) -> None:
        calls = CountingApi(GOOGLE, runtime, choices_of(GOOGLE))
        headers = {"X-Goog-Api-Key": sandbox.google_places.api_key, "X-Goog-FieldMask": "id"}
        await asyncio.gather(*(calls.get_json("/v1/places/sandbox-tate", headers=headers) for _ in range(40)))
        assert (calls.calls, calls.metered_calls, calls.cost_usd) == (40, 40, Decimal(0))

    in_runtime(run)
    counters = list(ProviderUsage.objects.values_list("provider", "calls"))
    assert {provider for provider, _ in counters} == {"google_places"}
    assert sum(calls for _, calls in counters) == sandbox.metered_calls["google_places"] == 40
    assert len(counters) < 10
    spend = ProviderSpend.objects.get()
    assert (spend.provider, spend.calls, spend.cost_usd) == ("google_places", 40, Decimal(0))


# Its terms


def test_its_photos_are_not_kept_unless_the_owner_says_that_they_may_be(
    api: ScriptedApi, set_environment: Callable[..., None]
) -> None:
    reason = discovery.obstacle(GOOGLE)
    assert reason
    assert "GOOGLE_PLACES_STORAGE_POLICY=store" in reason
    assert GOOGLE.info.terms in reason
    set_environment(GOOGLE_PLACES_STORAGE_POLICY="store")
    assert discovery.obstacle(GOOGLE) is None


# Finding the place


def test_a_place_is_found_by_name_and_coordinates_for_the_price_of_a_search(sandbox: Sandbox) -> None:
    sandbox.offer("google_places", "tate", "Tate Modern", place_id="sandbox-tate", latitude=51.5076, longitude=-0.0994)
    sandbox.offer("google_places", "other", "Elsewhere", place_id="sandbox-other")
    wanted = venue("tate", name="Tate Modern", latitude=51.5077, longitude=-0.0995)

    async def run(runtime: Runtime) -> Decimal:
        calls = CountingApi(GOOGLE, runtime, choices_of(GOOGLE))
        candidates = await GOOGLE.find_places(wanted, calls)
        assert [candidate.place_id for candidate in candidates] == ["sandbox-tate"]
        match = best_match(wanted, candidates)
        assert match
        assert match.is_sure
        assert calls.calls == 1
        return calls.cost_usd

    assert in_runtime(run) == GOOGLE.info.cost_per_search == Decimal("0.032")
    [hit] = sandbox.hits("/google_places/*")
    assert (hit.path, hit.carried_key) == ("/google_places/v1/places:searchText", True)


def test_a_place_that_nobody_knows_is_not_found(sandbox: Sandbox) -> None:
    nowhere = venue(latitude=None, longitude=None)
    assert ask(GOOGLE, lambda api: GOOGLE.find_places(nowhere, api)) == []


# New addresses


def test_photos_are_found_again_by_size_and_author_when_their_names_have_changed(sandbox: Sandbox) -> None:
    place = sandbox.place("sandbox-tate", photos=4)
    known = venue("tate", provider_ids={"google_places": place.id})
    before = listed(place.id)
    sandbox.google_places.expire_photo_names()
    gone = Photo("google_places", width=7, height=7, attribution="Nobody")

    found = ask(GOOGLE, lambda api: GOOGLE.refresh([before[2], gone, before[0]], known, api))

    names = [sandbox.google_places.photo_name(place, index) for index in range(4)]
    assert [photo and photo.photo_id for photo in found] == [names[2], None, names[0]]
    assert len(sandbox.hits("/google_places/v1/places/sandbox-tate")) == 2
    assert sandbox.hits("/google_places/v1/places/sandbox-tate/photos/*") == []


def test_a_photo_whose_size_was_never_known_gets_what_is_left_over(sandbox: Sandbox) -> None:
    place = sandbox.place("sandbox-tate", photos=2)
    known = venue("tate", provider_ids={"google_places": place.id})
    before = listed(place.id)
    unknown = [Photo("google_places") for _ in range(2)]

    found = ask(GOOGLE, lambda api: GOOGLE.refresh([unknown[0], before[0], unknown[1]], known, api))

    assert found == [before[1], before[0], None]


def test_a_key_that_is_none_is_told_from_a_bad_question(api: ScriptedApi) -> None:
    api.answer(DETAILS, {"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}}, 400)
    assert error_of(listed).error_type is ErrorType.PROVIDER_KEY


def test_names_that_expire_between_list_and_address_are_an_error_of_the_api(sandbox: Sandbox) -> None:
    place = sandbox.place("sandbox-tate", photos=1)
    name = sandbox.google_places.photo_name(place, 0)
    sandbox.google_places.expire_photo_names()
    error = error_of(lambda: resolved(Photo("google_places", photo_id=name)))
    assert (error.error_type, error.http_status) == (ErrorType.URL_EXPIRED, 400)
    assert "Please retrieve it from Places API" in error.message

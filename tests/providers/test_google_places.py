"""Google Places: documented shapes, odd shapes, who sees the key, what is counted and what it costs."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import json
import logging
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from django.db import connection
from django.db.models import Sum

from tests.catalogue import import_venue
from tests.runtimes import in_runtime
from venue_images import cleanup_now, orchestrator
from venue_images.errors import ErrorType, ProviderError
from venue_images.models import Operation, ProviderUsage, UploadAttempt, UploadStatus, Venue, VenueImage
from venue_images.operation_log import OperationResult
from venue_images.provider_api import CountingApi
from venue_images.providers import Photo, VenueRecord
from venue_images.providers.google_places import GooglePlaces
from venue_images.runtime import Runtime
from venue_images.sandbox import Fault, Sandbox

from .conftest import KEY, ScriptedApi

pytestmark = pytest.mark.usefixtures("jobs")

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


def ask(work: Callable[[GooglePlaces, CountingApi], Any]) -> Any:
    """What the provider answers through a real session."""

    async def run(runtime: Runtime) -> Any:
        provider = GooglePlaces()
        return await work(provider, CountingApi(provider.info, runtime))

    return in_runtime(run)


def listed(place_id: str = PLACE) -> list[Photo]:
    venue = VenueRecord(1, "fabric", "Fabric", "London", None, None, {"google_places": place_id})
    photos: list[Photo] = ask(lambda provider, api: provider.list_photos(venue, api))
    return photos


def resolved(photo: Photo | None = None) -> Photo:
    asked = photo or Photo("google_places", photo_id=NAME, width=4000, height=3000)
    found: Photo = ask(lambda provider, api: provider.resolve(asked, api))
    return found


def error_of(work: Callable[[], object]) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        work()
    return raised.value


def google_venue(folder: Path, sandbox: Sandbox, photos: int = 4) -> Venue:
    sandbox.place("sandbox-tate", photos=photos)
    return import_venue(folder, "tate", [], provider_ids={"google_places": "sandbox-tate"})


def enrich(venue: Venue, **options: Any) -> OperationResult:
    return orchestrator.enrich_venue_sync(venue, **options)


# Documented shapes


def test_the_photos_of_a_place_are_listed(api: ScriptedApi) -> None:
    api.answer(DETAILS, {"id": PLACE, "photos": [PHOTO, {**PHOTO, "name": f"{NAME}2", "authorAttributions": []}]})
    first, second = listed()
    assert (first.photo_id, first.url, first.width, first.height) == (NAME, "", 4000, 3000)
    assert (first.attribution, second.attribution) == ("Ana, Tom", "")
    [(path, headers)] = api.requests
    assert path == DETAILS
    assert (headers["X-Goog-Api-Key"], headers["X-Goog-FieldMask"]) == (KEY, "id,photos")


def test_a_place_without_photos_has_none(api: ScriptedApi) -> None:
    api.answer(DETAILS, {"id": PLACE})
    assert listed() == []


def test_the_address_of_a_photo_is_asked_for_once_and_its_name_is_not_kept(api: ScriptedApi) -> None:
    api.answer(f"/v1/{NAME}/media", {"name": f"{NAME}/media", "photoUri": "https://lh3.example/x=s4800"})
    photo = resolved()
    assert (photo.url, photo.photo_id, photo.width) == ("https://lh3.example/x=s4800", "", 4000)
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
        (400, "http_error"),
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


def test_silence_is_a_time_out(sandbox: Sandbox, api: ScriptedApi, set_environment: Callable[..., None]) -> None:
    set_environment(**sandbox.environment())
    sandbox.script("/google_places/*", Fault("delay", delay=20))

    async def run(runtime: Runtime) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.3)) as impatient:
            hurried = dataclasses.replace(runtime, api=impatient)
            await CountingApi(GooglePlaces.info, hurried).get_json("/v1/places/x")

    assert error_of(lambda: in_runtime(run)).error_type == ErrorType.NETWORK_TIMEOUT


# What is counted


def test_calls_are_counted_and_priced_as_the_api_counts_them(sandbox: Sandbox, tmp_path: Path) -> None:
    result = enrich(google_venue(tmp_path, sandbox, photos=6))

    assert (result.images_discovered, result.images_uploaded) == (6, 6)
    assert result.metered_calls == sandbox.metered_calls["google_places"] == 7
    assert result.cost_usd == Decimal("0.042")
    operation = Operation.objects.get()
    assert (operation.metered_calls, operation.cost_usd) == (7, Decimal("0.042"))
    answer = operation.provider_results["google_places"]
    assert (answer["photos"], answer["calls"], answer["metered_calls"], answer["cost_usd"]) == (6, 7, 7, 0.042)
    assert _usage() == 7


def test_failed_calls_are_counted_too(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script("/google_places/v1/places/sandbox-tate/photos/*", Fault("drop"))
    result = enrich(google_venue(tmp_path, sandbox, photos=3))
    assert result.metered_calls == sandbox.metered_calls["google_places"] == _usage() == 4


def test_many_calls_in_one_second_are_one_counter(sandbox: Sandbox, tmp_path: Path) -> None:
    async def run(runtime: Runtime) -> None:
        calls = CountingApi(GooglePlaces.info, runtime)
        headers = {"X-Goog-Api-Key": sandbox.google_places.api_key, "X-Goog-FieldMask": "id"}
        await asyncio.gather(*(calls.get_json("/v1/places/sandbox-tate", headers=headers) for _ in range(40)))
        assert (calls.calls, calls.metered_calls) == (40, 40)

    in_runtime(run)
    assert _usage() == sandbox.metered_calls["google_places"] == 40
    assert ProviderUsage.objects.count() < 10


def _usage() -> int:
    total: int = ProviderUsage.objects.filter(provider="google_places").aggregate(calls=Sum("calls"))["calls"]
    return total


# Who sees the key


def test_no_image_host_and_no_row_and_no_log_sees_the_key(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = sandbox.google_places.api_key
    venue = google_venue(tmp_path, sandbox, photos=4)
    place = sandbox.place("sandbox-tate", photos=4)
    sandbox.script(sandbox.google_places.photo_path(place, 0), Fault("status", status=500))
    sandbox.script(sandbox.google_places.photo_path(place, 1), Fault("status", status=403))
    enrich(venue)
    cleanup_now.perform_now(include_ambiguous=True)

    api_host = sandbox.api_url("google_places").split("/")[2]
    hits = sandbox.hits("*")
    assert {hit.carried_key for hit in hits if hit.host == api_host} == {True}
    assert {hit.carried_key for hit in hits if hit.host != api_host} == {False}
    assert all(key not in hit.query and "key=" not in hit.query for hit in hits)
    assert key not in caplog.text
    assert key not in _everything_in_the_database()
    assert str(VenueImage.objects.count()) in _everything_in_the_database()


def _everything_in_the_database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        tables = [row[0] for row in cursor.fetchall()]
        texts = []
        for table in tables:
            cursor.execute(f'SELECT row_to_json("{table}")::text FROM "{table}"')
            texts += [row[0] for row in cursor.fetchall()]
    return "\n".join(texts)


def test_the_name_of_a_photo_is_not_kept(sandbox: Sandbox, tmp_path: Path) -> None:
    enrich(google_venue(tmp_path, sandbox))
    names = [sandbox.google_places.photo_name(sandbox.place("sandbox-tate", photos=4), index) for index in range(4)]
    stored = _everything_in_the_database()
    assert not any(name in stored for name in names)


# What expires


def test_names_that_expire_between_list_and_address_are_an_error_of_the_api(sandbox: Sandbox) -> None:
    place = sandbox.place("sandbox-tate", photos=1)
    name = sandbox.google_places.photo_name(place, 0)
    sandbox.google_places.expire_photo_names()
    error = error_of(lambda: resolved(Photo("google_places", photo_id=name)))
    assert (error.error_type, error.http_status) == (ErrorType.HTTP_ERROR, 400)
    assert "Please retrieve it from Places API" in error.message


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_an_address_that_is_refused_has_expired_and_is_never_renewed_silently(
    sandbox: Sandbox, tmp_path: Path, status: int
) -> None:
    venue = google_venue(tmp_path, sandbox, photos=1)
    path = sandbox.google_places.photo_path(sandbox.place("sandbox-tate", photos=1), 0)
    sandbox.script(path, Fault("status", status=status))
    enrich(venue)
    calls = sandbox.metered_calls
    cleanup_now.perform_now(include_ambiguous=True)

    image = VenueImage.objects.get()
    assert (image.upload_status, image.error_type) == (UploadStatus.FAILED, "url_expired")
    assert (image.retry_count, image.http_status) == (1, status)
    assert UploadAttempt.objects.get().error_type == "url_expired"
    assert sandbox.metered_calls == calls
    assert len(sandbox.hits(path)) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_other_failures_of_an_address_mean_what_they_say(sandbox: Sandbox, tmp_path: Path, status: int) -> None:
    venue = google_venue(tmp_path, sandbox, photos=1)
    sandbox.script(
        sandbox.google_places.photo_path(sandbox.place("sandbox-tate", photos=1), 0), Fault("status", status=status)
    )
    enrich(venue)
    expected = {429: "rate_limited", 500: "server_error", 503: "service_unavailable"}[status]
    assert VenueImage.objects.get().error_type == expected


def test_an_address_with_a_life_time_is_used_before_that_ends(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.photo_uri_lifetime = 5.0
    assert enrich(google_venue(tmp_path, sandbox, photos=4)).images_uploaded == 4


def test_an_address_whose_life_time_has_ended_has_expired(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.photo_uri_lifetime = 0.0
    assert enrich(google_venue(tmp_path, sandbox, photos=2)).failure_breakdown == {"url_expired": 2}

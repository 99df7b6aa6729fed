"""Mapillary: the box around the venue, the size of what is downloaded, errors in any status, addresses that expire."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from venue_images.errors import ErrorType, ProviderError, UploadError
from venue_images.place_matching import metres_between
from venue_images.providers import Photo, VenueRecord
from venue_images.providers.mapillary import Mapillary
from venue_images.sandbox import Fault, Sandbox

from .asking import ask, venue
from .conftest import ScriptedApi

pytestmark = pytest.mark.usefixtures("jobs")

KEY = "MLY|1|canary-ma"
SEARCH = "/images"
IMAGE: dict[str, Any] = {
    "id": "1933525276802129",
    "thumb_2048_url": "https://scontent.photos.example/m1/x?oh=00&oe=66",
    "width": 4032,
    "height": 3024,
    "creator": {"username": "ana", "id": "1"},
}
STALE = Photo("mapillary", url="https://scontent.photos.example/old", photo_id=IMAGE["id"])


@pytest.fixture
def mapillary(api: ScriptedApi, set_environment: Callable[..., None]) -> ScriptedApi:
    set_environment(MAPILLARY_BASE_URL=api.url, MAPILLARY_API_KEY=KEY)
    return api


def listed(place: VenueRecord | None = None) -> list[Photo]:
    return ask(Mapillary(), lambda api: Mapillary().list_photos(place or venue(), api))


def refreshed(*stale: Photo) -> list[Photo | None]:
    return ask(Mapillary(), lambda api: Mapillary().refresh(stale, venue(), api))


def error_of(work: Callable[[], object]) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        work()
    return raised.value


# What is found


def test_a_result_becomes_a_photo_with_its_credit(mapillary: ScriptedApi) -> None:
    mapillary.answer(SEARCH, {"data": [IMAGE]})
    assert listed() == [
        Photo(
            provider="mapillary",
            url="https://scontent.photos.example/m1/x?oh=00&oe=66",
            photo_id="1933525276802129",
            width=2048,
            height=1536,
            attribution="ana, Mapillary",
            licence="CC BY-SA 4.0",
            page_url="https://www.mapillary.com/app/?pKey=1933525276802129",
        )
    ]


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        ((4032, 3024), (2048, 1536)),
        ((3024, 4032), (1536, 2048)),
        ((2048, 1024), (2048, 1024)),
        ((640, 480), (640, 480)),
        ((None, 480), (None, None)),
        ((0, 480), (None, None)),
        ((-5, 480), (None, 480)),
        ((10**400, 1), (2048, None)),
    ],
)
def test_the_size_is_that_of_the_file_and_not_of_the_original(
    mapillary: ScriptedApi, original: tuple[int | None, int], expected: tuple[int | None, int | None]
) -> None:
    mapillary.answer(SEARCH, {"data": [{**IMAGE, "width": original[0], "height": original[1]}]})
    assert [(photo.width, photo.height) for photo in listed()] == [expected]


@pytest.mark.parametrize(("latitude", "longitude"), [(51.5, -0.1), (0.0, 0.0), (-33.9, 151.2), (69.6, 18.9)])
def test_the_box_reaches_thirty_metres_each_way(mapillary: ScriptedApi, latitude: float, longitude: float) -> None:
    mapillary.answer(SEARCH, {"data": []})
    listed(venue(latitude=latitude, longitude=longitude))
    query = parse_qs(urlsplit(mapillary.paths[0]).query)
    west, south, east, north = map(float, query["bbox"][0].split(","))
    assert metres_between(latitude, longitude, latitude, west) == pytest.approx(30, abs=0.2)
    assert metres_between(latitude, longitude, latitude, east) == pytest.approx(30, abs=0.2)
    assert metres_between(latitude, longitude, south, longitude) == pytest.approx(30, abs=0.2)
    assert metres_between(latitude, longitude, north, longitude) == pytest.approx(30, abs=0.2)
    assert query["fields"] == ["id,thumb_2048_url,width,height,creator"]
    assert query["limit"] == ["10"]


def test_the_box_is_small_enough_at_the_pole_too(mapillary: ScriptedApi) -> None:
    mapillary.answer(SEARCH, {"data": []})
    listed(venue(latitude=90.0, longitude=0.0))
    west, south, east, north = map(float, parse_qs(urlsplit(mapillary.paths[0]).query)["bbox"][0].split(","))
    assert 0 < (east - west) * (north - south) < 0.01


@pytest.mark.parametrize("facts", [{"latitude": None}, {"longitude": None}])
def test_a_venue_without_a_place_costs_no_call(mapillary: ScriptedApi, facts: dict[str, Any]) -> None:
    assert listed(venue(**facts)) == []
    assert mapillary.paths == []


def test_the_twin_knows_only_what_is_near(sandbox: Sandbox) -> None:
    here = {"latitude": 51.5, "longitude": -0.1}
    metre = 1 / 111_320
    sandbox.offer("mapillary", "fabric", "Fabric", photos=2, **here)
    sandbox.offer("mapillary", "east", "East", photos=1, latitude=51.5, longitude=-0.1 + 40 * metre / math.cos(0.9))
    sandbox.offer("mapillary", "north", "North", photos=1, latitude=51.5 + 31 * metre, longitude=-0.1)
    found = listed()
    assert [urlsplit(photo.url).path for photo in found] == ["/fabric/701.jpg", "/fabric/702.jpg"]
    assert [(photo.width, photo.height) for photo in found] == [sandbox.photo_size(photo.url) for photo in found]


@pytest.mark.parametrize(
    ("creator", "credit"), [(None, "Mapillary"), ({}, "Mapillary"), ({"username": "b"}, "b, Mapillary")]
)
def test_a_photo_without_a_known_author_names_mapillary(mapillary: ScriptedApi, creator: object, credit: str) -> None:
    mapillary.answer(SEARCH, {"data": [{**IMAGE, "creator": creator}]})
    assert [photo.attribution for photo in listed()] == [credit]


@pytest.mark.parametrize(
    "image",
    [None, {}, {**IMAGE, "id": "../me"}, {**IMAGE, "thumb_2048_url": None}, {**IMAGE, "creator": 7}, {"id": "1"}],
)
def test_a_result_of_a_broken_shape_costs_no_other(mapillary: ScriptedApi, image: object) -> None:
    mapillary.answer(SEARCH, {"data": [image, IMAGE]})
    assert [photo.photo_id for photo in listed()] == [IMAGE["id"]]


@pytest.mark.parametrize("body", [[], None, {}, {"data": {}}, b"<html>"])
def test_an_answer_that_is_no_list_is_an_error(mapillary: ScriptedApi, body: object) -> None:
    mapillary.answer(SEARCH, body)
    error = error_of(listed)
    assert error.error_type == ErrorType.UNKNOWN_ERROR
    assert error.message.startswith("Mapillary ")


# Refusals


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize(
    ("facts", "error_type"),
    [
        ({"code": 190}, "provider_key"),
        ({"code": 4}, "rate_limited"),
        ({"code": 17}, "rate_limited"),
        ({"code": 32}, "rate_limited"),
        ({"code": 613}, "rate_limited"),
        ({"code": 1}, "service_unavailable"),
        ({"code": 2}, "service_unavailable"),
        ({"code": 999, "is_transient": True}, "service_unavailable"),
        ({"code": 100, "error_subcode": 33}, "not_found"),
    ],
)
def test_the_code_tells_whatever_the_status(
    mapillary: ScriptedApi, status: int, facts: dict[str, Any], error_type: str
) -> None:
    error_body = {"message": f"No: {KEY}.", "type": "OAuthException", "fbtrace_id": "A", **facts}
    mapillary.answer(SEARCH, {"error": error_body}, status)
    error = error_of(listed)
    assert (error.error_type, error.http_status) == (error_type, status)
    assert error.message == "Mapillary answered with an error: No: …."


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        (200, "unknown_error"),
        (400, "http_error"),
        (401, "provider_key"),
        (403, "provider_key"),
        (404, "not_found"),
        (500, "server_error"),
    ],
)
@pytest.mark.parametrize("code", [999, None, "190", [190], {}])
def test_an_unknown_code_leaves_it_to_the_status(
    mapillary: ScriptedApi, status: int, error_type: str, code: object
) -> None:
    mapillary.answer(SEARCH, {"error": {"message": None, "code": code}}, status)
    assert error_of(listed).error_type == error_type


@pytest.mark.parametrize(("status", "error_type"), [(429, "rate_limited"), (503, "service_unavailable")])
def test_a_pause_that_is_asked_for_is_kept(mapillary: ScriptedApi, status: int, error_type: str) -> None:
    mapillary.answer(SEARCH, {"error": {"message": "Later", "code": 4}}, status, {"Retry-After": "11"})
    error = error_of(listed)
    assert (error.error_type, error.retry_after) == (error_type, 11.0)


def test_the_twins_error_inside_a_good_status_is_an_error(sandbox: Sandbox) -> None:
    sandbox.script("/mapillary/*", Fault("status", status=200))
    error = error_of(listed)
    assert (error.error_type, error.http_status) == (ErrorType.SERVICE_UNAVAILABLE, 200)


def test_a_wrong_key_is_the_keys_fault_although_the_status_is_400(
    sandbox: Sandbox, set_environment: Callable[..., None]
) -> None:
    set_environment(MAPILLARY_API_KEY="wrong")
    error = error_of(listed)
    assert (error.error_type, error.http_status) == (ErrorType.PROVIDER_KEY, 400)


def test_the_key_travels_in_the_header_alone(mapillary: ScriptedApi) -> None:
    mapillary.answer(SEARCH, {"data": [IMAGE]})
    [photo] = listed()
    [(path, headers)] = mapillary.requests
    assert headers["Authorization"] == f"OAuth {KEY}"
    assert "canary" not in path + repr(photo)


# Addresses that expire


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_an_address_that_is_refused_has_expired(status: int) -> None:
    verdict = Mapillary().classify(UploadError(ErrorType.FORBIDDEN, "no", http_status=status))
    assert verdict is ErrorType.URL_EXPIRED


@pytest.mark.parametrize("status", [None, 200, 401, 429, 500, 503])
def test_other_failures_mean_what_they_say(status: int | None) -> None:
    verdict = Mapillary().classify(UploadError(ErrorType.DOWNLOAD_FAILED, "no", http_status=status))
    assert verdict is ErrorType.DOWNLOAD_FAILED


def test_a_new_address_is_asked_for_by_the_photos_id(sandbox: Sandbox) -> None:
    sandbox.photo_uri_lifetime = 60.0
    sandbox.offer("mapillary", "fabric", "Fabric", photos=2, latitude=51.5, longitude=-0.1)
    old = listed()
    sandbox.reset_counters()
    new = refreshed(*old)
    assert sandbox.calls == {"mapillary": len(old) * Mapillary.info.refresh_calls_per_image}
    for before, after in zip(old, new, strict=True):
        assert after is not None
        assert (after.photo_id, after.attribution) == (before.photo_id, before.attribution)
        assert urlsplit(after.url).path == urlsplit(before.url).path
        assert _expires(after.url) > _expires(before.url)


def _expires(url: str) -> float:
    return float(parse_qs(urlsplit(url).query)["expires"][0])


def test_a_photo_that_was_deleted_has_no_new_address(sandbox: Sandbox) -> None:
    sandbox.offer("mapillary", "fabric", "Fabric", photos=2, latitude=51.5, longitude=-0.1)
    first, second = listed()
    unknown = Photo("mapillary", url=first.url, photo_id="1")
    nameless = Photo("mapillary", url=first.url)
    assert refreshed(unknown, second, nameless) == [None, second, None]


def test_a_new_address_that_is_refused_for_now_is_an_error(mapillary: ScriptedApi) -> None:
    mapillary.answer(f"/{IMAGE['id']}", {"error": {"message": "Busy", "code": 2, "is_transient": True}}, 400)
    assert error_of(lambda: refreshed(STALE)).error_type == ErrorType.SERVICE_UNAVAILABLE


def test_an_image_without_an_address_can_not_be_had_any_more(mapillary: ScriptedApi) -> None:
    mapillary.answer(f"/{IMAGE['id']}", {"id": IMAGE["id"]})
    assert refreshed(STALE) == [None]

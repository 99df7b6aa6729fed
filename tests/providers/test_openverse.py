"""Openverse: what counts as a photo of the venue, credit and licence, its refusals, and who sees the key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from venue_images.errors import ErrorType, ProviderError
from venue_images.providers import Photo, VenueRecord
from venue_images.providers.openverse import Openverse
from venue_images.sandbox import Fault, Sandbox

from .asking import ask, venue
from .conftest import ScriptedApi

pytestmark = pytest.mark.usefixtures("jobs")

SEARCH = "/v1/images/"
ITEM: dict[str, Any] = {
    "id": "6f1c1f0e-7a55-4c0a-9d3c-000000000001",
    "title": "Fabric, the night club",
    "url": "https://live.photos.example/1_b.jpg",
    "creator": "Ines",
    "license": "by-sa",
    "license_version": "4.0",
    "attribution": '"Fabric" by Ines is licensed under CC BY-SA 4.0.',
    "foreign_landing_url": "https://photos.example/1",
    "tags": [{"name": "london", "accuracy": None}],
    "filetype": "jpg",
    "width": 1024,
    "height": 683,
}


@pytest.fixture
def openverse(api: ScriptedApi, set_environment: Callable[..., None]) -> ScriptedApi:
    set_environment(OPENVERSE_BASE_URL=api.url)
    return api


def listed(place: VenueRecord | None = None) -> list[Photo]:
    return ask(Openverse(), lambda api: Openverse().list_photos(place or venue(), api))


def refreshed(*stale: Photo) -> list[Photo | None]:
    return ask(Openverse(), lambda api: Openverse().refresh(stale, venue(), api))


def error_of(work: Callable[[], object]) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        work()
    return raised.value


def answer_with(api: ScriptedApi, *items: object) -> None:
    api.answer(SEARCH, {"result_count": len(items), "results": list(items)})


# What is found


def test_a_result_becomes_a_photo_with_its_credit(openverse: ScriptedApi) -> None:
    answer_with(openverse, ITEM)
    assert listed() == [
        Photo(
            provider="openverse",
            url="https://live.photos.example/1_b.jpg",
            photo_id="6f1c1f0e-7a55-4c0a-9d3c-000000000001",
            width=1024,
            height=683,
            attribution='"Fabric" by Ines is licensed under CC BY-SA 4.0.',
            licence="CC BY-SA 4.0",
            page_url="https://photos.example/1",
        )
    ]


def test_the_name_is_searched_as_a_phrase_with_the_city(openverse: ScriptedApi) -> None:
    answer_with(openverse)
    listed(venue(name='The "Old" Vic', city="London"))
    [path] = openverse.paths
    assert urlsplit(path).path == SEARCH
    assert parse_qs(urlsplit(path).query) == {
        "q": ['"The  Old  Vic" London'],
        "page_size": ["20"],
        "license_type": ["commercial,modification"],
        "filter_dead": ["true"],
        "mature": ["false"],
    }


def test_a_search_is_never_longer_than_the_api_reads(openverse: ScriptedApi) -> None:
    answer_with(openverse)
    listed(venue(name="n" * 500, city="c" * 500))
    [query] = parse_qs(urlsplit(openverse.paths[0]).query)["q"]
    assert len(query) == 200
    assert query.startswith(f'"{"n" * 150}" c')


@pytest.mark.parametrize(
    ("facts", "is_kept"),
    [
        ({"title": "Queue at FABRIC"}, True),
        ({"title": None, "tags": [{"name": "fabric"}]}, True),
        ({"title": "Red fabrics", "tags": [{"name": "textile"}]}, False),
        ({"title": None, "tags": None}, False),
        ({"title": None, "tags": [None, 7, {"name": None}, {"name": "Fabric"}]}, True),
    ],
)
def test_only_results_that_name_the_venue_count(openverse: ScriptedApi, facts: dict[str, Any], is_kept: bool) -> None:
    answer_with(openverse, {**ITEM, **facts})
    assert bool(listed()) is is_kept


def test_the_twins_stray_result_is_left_out(sandbox: Sandbox) -> None:
    sandbox.offer("openverse", "fabric", "Fabric", photos=3)
    found = listed()
    assert [urlsplit(photo.url).path for photo in found] == [f"/fabric/{number}.jpg" for number in (401, 402, 403)]
    assert [photo.width is None for photo in found] == [False, True, False]
    assert {photo.licence for photo in found} == {"CC0 1.0", "CC BY 4.0", "Public Domain Mark 1.0"}
    assert all(photo.attribution and photo.page_url for photo in found)


def test_a_venue_that_nobody_photographed_has_no_photos(sandbox: Sandbox) -> None:
    assert listed() == []


# What is left out


@pytest.mark.parametrize(
    ("licence", "version", "name"),
    [
        ("by", "2.0", "CC BY 2.0"),
        ("by-sa", "3.0", "CC BY-SA 3.0"),
        ("cc0", "1.0", "CC0 1.0"),
        ("pdm", None, "Public Domain Mark"),
    ],
)
def test_a_licence_has_its_short_name(openverse: ScriptedApi, licence: str, version: str | None, name: str) -> None:
    answer_with(openverse, {**ITEM, "license": licence, "license_version": version})
    assert [photo.licence for photo in listed()] == [name]


@pytest.mark.parametrize("licence", ["by-nc", "by-nd", "by-nc-sa", "by-nc-nd", "sampling+", "unknown", "", None])
def test_a_photo_that_may_not_be_sold_or_changed_is_left_out(openverse: ScriptedApi, licence: str | None) -> None:
    answer_with(openverse, {**ITEM, "license": licence})
    assert listed() == []


@pytest.mark.parametrize("file_type", ["svg", "tiff", "pdf"])
def test_what_could_not_be_stored_is_left_out(openverse: ScriptedApi, file_type: str) -> None:
    answer_with(openverse, {**ITEM, "filetype": file_type}, {**ITEM, "filetype": None})
    assert len(listed()) == 1


@pytest.mark.parametrize(
    "item",
    [
        None,
        [],
        "x",
        {},
        {**ITEM, "url": None},
        {**ITEM, "url": "ftp://x"},
        {**ITEM, "id": "../x"},
        {**ITEM, "width": []},
    ],
)
def test_a_result_of_a_broken_shape_costs_no_other(openverse: ScriptedApi, item: object) -> None:
    answer_with(openverse, item, ITEM)
    assert [photo.photo_id for photo in listed()] == [ITEM["id"]]


@pytest.mark.parametrize("body", [[], None, 7, {}, {"results": None}, {"results": {}}, b"<html>"])
def test_an_answer_that_is_no_list_is_an_error(openverse: ScriptedApi, body: object) -> None:
    openverse.answer(SEARCH, body)
    error = error_of(listed)
    assert error.error_type == ErrorType.UNKNOWN_ERROR
    assert error.message.startswith("Openverse ")


def test_without_a_ready_made_text_the_creator_is_named(openverse: ScriptedApi) -> None:
    answer_with(openverse, {**ITEM, "attribution": None}, {**ITEM, "attribution": None, "creator": None})
    assert [photo.attribution for photo in listed()] == ["Ines", ""]


# Refusals


def test_too_many_requests_tell_how_long_to_wait(sandbox: Sandbox) -> None:
    sandbox.script("/openverse/*", Fault("status", status=429))
    error = error_of(listed)
    assert (error.error_type, error.http_status, error.retry_after) == (ErrorType.RATE_LIMITED, 429, 42.0)


def test_too_many_requests_without_that_text_go_by_the_header(openverse: ScriptedApi) -> None:
    openverse.answer(SEARCH, {"detail": "Slow down."}, 429, {"Retry-After": "7"})
    error = error_of(listed)
    assert (error.error_type, error.retry_after) == (ErrorType.RATE_LIMITED, 7.0)


def test_too_large_a_page_is_our_mistake_and_not_the_keys(openverse: ScriptedApi) -> None:
    openverse.answer(SEARCH, {"detail": "Ensure this value is less than or equal to 20."}, 401)
    error = error_of(listed)
    assert (error.error_type, error.error_type.error_class) == (ErrorType.AUTH_ERROR, "permanent")


def test_the_twin_refuses_too_large_a_page_the_same_way(sandbox: Sandbox) -> None:
    error = error_of(lambda: ask(Openverse(), lambda api: api.get_json(SEARCH, params={"page_size": "21"})))
    assert (error.error_type, error.http_status) == (ErrorType.AUTH_ERROR, 401)


def test_a_wrong_key_is_the_keys_fault(sandbox: Sandbox, set_environment: Callable[..., None]) -> None:
    set_environment(OPENVERSE_API_KEY="wrong")
    error = error_of(listed)
    assert (error.error_type, error.http_status) == (ErrorType.PROVIDER_KEY, 401)
    assert "wrong" not in error.message


@pytest.mark.parametrize(
    ("status", "error_type"), [(400, "http_error"), (500, "server_error"), (503, "service_unavailable")]
)
def test_other_refusals_mean_what_their_status_says(sandbox: Sandbox, status: int, error_type: str) -> None:
    sandbox.script("/openverse/*", Fault("status", status=status))
    assert error_of(listed).error_type == error_type


# The key


def test_no_key_is_needed(sandbox: Sandbox) -> None:
    sandbox.offer("openverse", "fabric", "Fabric")
    assert listed()
    assert [hit.carried_key for hit in sandbox.hits("/openverse/*")] == [False]


def test_a_key_travels_in_the_header_alone(openverse: ScriptedApi, set_environment: Callable[..., None]) -> None:
    set_environment(OPENVERSE_API_KEY="canary-ov")
    answer_with(openverse, ITEM)
    [photo] = listed()
    [(path, headers)] = openverse.requests
    assert headers["Authorization"] == "Bearer canary-ov"
    assert "canary-ov" not in path
    assert "canary-ov" not in repr(photo)


# New addresses


def test_a_new_address_is_asked_for_by_the_photos_id(sandbox: Sandbox) -> None:
    sandbox.offer("openverse", "fabric", "Fabric", photos=2)
    found = listed()
    sandbox.reset_counters()
    assert refreshed(*found) == found
    assert sandbox.calls == {"openverse": len(found) * Openverse.info.refresh_calls_per_image}


def test_a_photo_that_is_gone_has_no_new_address(sandbox: Sandbox) -> None:
    sandbox.offer("openverse", "fabric", "Fabric", photos=2)
    first, second = listed()
    sandbox.script(f"/openverse/v1/images/{first.photo_id}/", Fault("status", status=404))
    nameless = Photo("openverse", url="https://photos.example/1.jpg")
    assert refreshed(first, second, nameless) == [None, second, None]


def test_a_new_address_that_is_refused_for_now_is_an_error(openverse: ScriptedApi) -> None:
    openverse.answer(f"{SEARCH}{ITEM['id']}/", {"detail": "Oops"}, 503)
    stale = Photo("openverse", url="https://photos.example/1.jpg", photo_id=ITEM["id"])
    assert error_of(lambda: refreshed(stale)).error_type == ErrorType.SERVICE_UNAVAILABLE


def test_a_photo_whose_licence_was_narrowed_has_no_new_address(openverse: ScriptedApi) -> None:
    openverse.answer(f"{SEARCH}{ITEM['id']}/", {**ITEM, "license": "by-nc"})
    stale = Photo("openverse", url="https://photos.example/1.jpg", photo_id=ITEM["id"])
    assert refreshed(stale) == [None]

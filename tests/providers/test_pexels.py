"""Pexels: the right size, the credit that it wants, its refusals, and who sees the key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from venue_images.errors import ErrorType, ProviderError
from venue_images.providers import Photo
from venue_images.providers.pexels import Pexels
from venue_images.sandbox import Fault, Sandbox

from .asking import ask, venue
from .conftest import ScriptedApi

pytestmark = pytest.mark.usefixtures("jobs")

KEY = "canary-px"
SEARCH = "/v1/search"
ORIGINAL = "https://images.photos.example/photos/2014422/p.jpeg"
LARGE = f"{ORIGINAL}?auto=compress&cs=tinysrgb&dpr=2&h=650&w=940"
RESULT: dict[str, Any] = {
    "id": 2014422,
    "width": 3024,
    "height": 3024,
    "url": "https://www.pexels.com/photo/2014422/",
    "photographer": "Dana",
    "src": {"original": ORIGINAL, "large2x": LARGE, "tiny": f"{ORIGINAL}?w=280"},
}


@pytest.fixture
def pexels(api: ScriptedApi, set_environment: Callable[..., None]) -> ScriptedApi:
    set_environment(PEXELS_BASE_URL=api.url, PEXELS_API_KEY=KEY)
    return api


def listed() -> list[Photo]:
    return ask(Pexels(), lambda api: Pexels().list_photos(venue(), api))


def error_of(work: Callable[[], object]) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        work()
    return raised.value


def test_a_result_becomes_a_photo_with_its_credit(pexels: ScriptedApi) -> None:
    pexels.answer(SEARCH, {"photos": [RESULT]})
    assert listed() == [
        Photo(
            provider="pexels",
            url=LARGE,
            photo_id="2014422",
            width=3024,
            height=3024,
            attribution="Dana, photos provided by Pexels",
            licence="Pexels License",
            page_url="https://www.pexels.com/photo/2014422/",
        )
    ]


@pytest.mark.parametrize(
    ("width", "height", "url"),
    [(1880, 1253, ORIGINAL), (1881, 1253, LARGE), (1000, 1881, LARGE), (None, 900, LARGE), (6000, 4000, LARGE)],
)
def test_a_photo_is_neither_too_large_nor_enlarged(
    pexels: ScriptedApi, width: int | None, height: int, url: str
) -> None:
    pexels.answer(SEARCH, {"photos": [{**RESULT, "width": width, "height": height}]})
    assert [photo.url for photo in listed()] == [url]


def test_a_photo_without_a_photographer_names_pexels(pexels: ScriptedApi) -> None:
    pexels.answer(SEARCH, {"photos": [{**RESULT, "photographer": ""}]})
    assert listed()[0].attribution == "photos provided by Pexels"


def test_it_searches_by_name_and_city_with_the_bare_key_in_the_header(pexels: ScriptedApi) -> None:
    pexels.answer(SEARCH, {"photos": [RESULT]})
    [photo] = listed()
    [(path, headers)] = pexels.requests
    assert parse_qs(urlsplit(path).query) == {
        "query": ["Fabric London"],
        "per_page": ["10"],
        "orientation": ["landscape"],
        "size": ["small"],
    }
    assert headers["Authorization"] == KEY
    assert KEY not in path + repr(photo)


def test_the_twin_answers_in_the_documented_shape(sandbox: Sandbox) -> None:
    sandbox.offer("pexels", "fabric", "Fabric", photos=2)
    found = listed()
    assert [urlsplit(photo.url).path for photo in found] == ["/fabric/601.jpg", "/fabric/602.jpg"]
    assert all("dpr=2" in photo.url and photo.width and photo.photo_id.isdecimal() for photo in found)


@pytest.mark.parametrize(
    "result",
    [None, {}, {**RESULT, "id": None}, {**RESULT, "src": {"original": ORIGINAL}}, {**RESULT, "src": [], "url": 7}],
)
def test_a_result_of_a_broken_shape_costs_no_other(pexels: ScriptedApi, result: object) -> None:
    pexels.answer(SEARCH, {"photos": [result, RESULT]})
    assert [photo.photo_id for photo in listed()] == ["2014422"]


@pytest.mark.parametrize("body", [[], None, {}, {"photos": {}}, b"<html>"])
def test_an_answer_that_is_no_list_is_an_error(pexels: ScriptedApi, body: object) -> None:
    pexels.answer(SEARCH, body)
    error = error_of(listed)
    assert error.error_type == ErrorType.UNKNOWN_ERROR
    assert error.message.startswith("Pexels ")


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        (401, "provider_key"),
        (403, "provider_key"),
        (429, "rate_limited"),
        (500, "server_error"),
        (503, "service_unavailable"),
    ],
)
def test_a_refusal_has_the_type_of_its_status(sandbox: Sandbox, status: int, error_type: str) -> None:
    sandbox.script("/pexels/*", Fault("status", status=status))
    error = error_of(listed)
    assert (error.error_type, error.http_status) == (error_type, status)


def test_a_wrong_key_is_the_keys_fault(sandbox: Sandbox, set_environment: Callable[..., None]) -> None:
    set_environment(PEXELS_API_KEY="wrong")
    assert error_of(listed).error_type == ErrorType.PROVIDER_KEY


def test_it_is_off_until_somebody_wants_it() -> None:
    assert (Pexels.info.storage_policy, Pexels.info.active) == ("store", False)

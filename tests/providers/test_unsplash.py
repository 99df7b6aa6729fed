"""Unsplash: addresses as its terms want them, the call for a photo that is used, and its plain-text refusals."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from venue_images.errors import ErrorType, ProviderError, UploadError
from venue_images.providers import Photo
from venue_images.providers.unsplash import Unsplash
from venue_images.sandbox import Fault, Sandbox

from .asking import ask, venue
from .conftest import ScriptedApi

pytestmark = pytest.mark.usefixtures("jobs")

KEY = "canary-us"
SEARCH = "/search/photos"
RESULT: dict[str, Any] = {
    "id": "LBI7cgq3pbM",
    "width": 5245,
    "height": 3497,
    "urls": {"raw": "https://images.photos.example/photo-1?ixid=M3w1&ixlib=rb-4.0.3", "full": "https://x.example"},
    "links": {
        "html": "https://unsplash.com/photos/LBI7cgq3pbM",
        "download_location": "https://api.unsplash.com/photos/LBI7cgq3pbM/download?ixid=M3w1",
    },
    "user": {"name": "Clara", "username": "clara", "links": {"html": "https://unsplash.com/@clara"}},
}


@pytest.fixture
def unsplash(api: ScriptedApi, set_environment: Callable[..., None]) -> ScriptedApi:
    set_environment(UNSPLASH_BASE_URL=api.url, UNSPLASH_API_KEY=KEY)
    return api


def listed() -> list[Photo]:
    return ask(Unsplash(), lambda api: Unsplash().list_photos(venue(), api))


def report(path: str) -> None:
    ask(Unsplash(), lambda api: Unsplash().report(path, api))


def error_of(work: Callable[[], object]) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        work()
    return raised.value


def with_link(location: object) -> dict[str, Any]:
    return {**RESULT, "links": {**RESULT["links"], "download_location": location}}


# What is found


def test_a_result_becomes_a_photo_with_its_credit(unsplash: ScriptedApi) -> None:
    unsplash.answer(SEARCH, {"total": 1, "results": [RESULT]})
    assert listed() == [
        Photo(
            provider="unsplash",
            url="https://images.photos.example/photo-1?ixid=M3w1&ixlib=rb-4.0.3&w=1600&fit=max&fm=jpg&q=80",
            photo_id="LBI7cgq3pbM",
            width=5245,
            height=3497,
            attribution="Clara on Unsplash",
            licence="Unsplash License",
            page_url="https://unsplash.com/photos/LBI7cgq3pbM?utm_source=venue_images&utm_medium=referral",
            report_path="/photos/LBI7cgq3pbM/download?ixid=M3w1",
        )
    ]


def test_it_searches_by_name_and_city_with_the_key_in_the_header(unsplash: ScriptedApi) -> None:
    unsplash.answer(SEARCH, {"results": [RESULT]})
    [photo] = listed()
    [(path, headers)] = unsplash.requests
    assert parse_qs(urlsplit(path).query) == {
        "query": ["Fabric London"],
        "per_page": ["10"],
        "orientation": ["landscape"],
    }
    assert (headers["Authorization"], headers["Accept-Version"]) == (f"Client-ID {KEY}", "v1")
    assert KEY not in path + repr(photo)


def test_an_address_without_parameters_gets_its_size_too(unsplash: ScriptedApi) -> None:
    unsplash.answer(SEARCH, {"results": [{**RESULT, "urls": {"raw": "https://images.photos.example/photo-1"}}]})
    assert listed()[0].url == "https://images.photos.example/photo-1?w=1600&fit=max&fm=jpg&q=80"


@pytest.mark.parametrize(
    "result",
    [
        None,
        {},
        {**RESULT, "urls": None},
        {**RESULT, "urls": {"raw": 7}},
        {**RESULT, "urls": {"raw": "javascript:alert(1)"}},
        {**RESULT, "user": {}},
        {**RESULT, "links": {}},
        {**RESULT, "width": "wide"},
    ],
)
def test_a_result_of_a_broken_shape_costs_no_other(unsplash: ScriptedApi, result: object) -> None:
    unsplash.answer(SEARCH, {"results": [result, RESULT]})
    assert [photo.photo_id for photo in listed()] == ["LBI7cgq3pbM"]


@pytest.mark.parametrize("body", [[], None, {}, {"results": 7}, {"errors": ["odd"]}, b"Rate Limit Exceeded"])
def test_an_answer_that_is_no_list_is_an_error(unsplash: ScriptedApi, body: object) -> None:
    unsplash.answer(SEARCH, body)
    error = error_of(listed)
    assert error.error_type == ErrorType.UNKNOWN_ERROR
    assert error.message.startswith("Unsplash ")


def test_it_is_shown_and_not_stored_and_off_until_somebody_wants_it(sandbox: Sandbox) -> None:
    assert (Unsplash.info.storage_policy, Unsplash.info.active) == ("hotlink", False)
    assert "UNSPLASH_STORAGE_POLICY" not in sandbox.environment()


# The call for a photo that is used


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("https://api.unsplash.com/photos/a-B_1/download?ixid=Z", "/photos/a-B_1/download?ixid=Z"),
        ("https://API.unsplash.com/photos/a/download", "/photos/a/download"),
        ("https://api.unsplash.com/photos/a/download?ixid=Z&client_id=secret", "/photos/a/download?ixid=Z"),
        ("https://api.unsplash.com.evil.example/photos/a/download", ""),
        ("https://api.unsplash.com@evil.example/photos/a/download", ""),
        ("https://api.unsplash.com:8443/photos/a/download", ""),
        ("https://evil.example/photos/a/download?u=https://api.unsplash.com/", ""),
        ("https://evil.example/https://api.unsplash.com/photos/a/download", ""),
        ("//evil.example/photos/a/download", ""),
        ("/photos/a/download", ""),
        ("https://api.unsplash.com/photos/a/like", ""),
        ("https://api.unsplash.com/photos/../me/download", ""),
        ("https://api.unsplash.com/photos/a/download/../../../me", ""),
        ("https://[", ""),
        ("", ""),
    ],
)
def test_a_foreign_link_is_never_called(unsplash: ScriptedApi, location: str, path: str) -> None:
    unsplash.answer(SEARCH, {"results": [with_link(location)]})
    assert [photo.report_path for photo in listed()] == [path]


def test_a_link_below_the_base_url_loses_what_the_base_url_has(
    unsplash: ScriptedApi, set_environment: Callable[..., None]
) -> None:
    set_environment(UNSPLASH_BASE_URL=f"{unsplash.url}/mirror/")
    unsplash.answer(f"/mirror{SEARCH}", {"results": [with_link(f"{unsplash.url}/mirror/photos/a/download?ixid=Z")]})
    assert [photo.report_path for photo in listed()] == ["/photos/a/download?ixid=Z"]


def test_each_call_tells_of_one_use(sandbox: Sandbox) -> None:
    sandbox.offer("unsplash", "fabric", "Fabric", photos=2)
    first, _second = listed()
    report(first.report_path)
    [hit] = sandbox.hits("/unsplash/photos/fabric-501/download")
    assert (hit.status, hit.query, hit.carried_key) == (200, "ixid=M3w0", True)
    assert sandbox.hits("/unsplash/photos/fabric-502/download") == []


def test_a_use_that_could_not_be_told_is_an_error(sandbox: Sandbox) -> None:
    assert error_of(lambda: report("/photos/fabric-501/download")).error_type == ErrorType.NOT_FOUND


# Refusals


@pytest.mark.parametrize("status", [403, 429])
def test_a_used_up_hour_is_a_limit_and_no_wrong_key(sandbox: Sandbox, status: int) -> None:
    sandbox.script("/unsplash/*", Fault("status", status=status))
    error = error_of(listed)
    now = time.time()
    assert (error.error_type, error.http_status) == (ErrorType.RATE_LIMITED, status)
    assert error.retry_after is not None
    assert 0 < error.retry_after <= 3600
    from_full_hour = (now + error.retry_after) % 3600
    assert min(from_full_hour, 3600 - from_full_hour) < 30


@pytest.mark.parametrize(
    ("body", "headers"), [({"errors": ["x"]}, {"X-Ratelimit-Remaining": "0"}), (b"Rate Limit Exceeded\n", {})]
)
def test_the_text_or_the_header_alone_tell_of_a_used_up_hour(
    unsplash: ScriptedApi, body: object, headers: dict[str, str]
) -> None:
    unsplash.answer(SEARCH, body, 403, headers)
    assert error_of(listed).error_type == ErrorType.RATE_LIMITED


def test_the_last_request_of_an_hour_is_a_good_one(unsplash: ScriptedApi) -> None:
    unsplash.answer(SEARCH, {"results": [RESULT]}, 200, {"X-Ratelimit-Remaining": "0"})
    assert len(listed()) == 1


def test_a_limit_of_another_kind_goes_by_its_header(unsplash: ScriptedApi) -> None:
    unsplash.answer(SEARCH, b"", 429, {"Retry-After": "9", "X-Ratelimit-Remaining": "30"})
    error = error_of(listed)
    assert (error.error_type, error.retry_after) == (ErrorType.RATE_LIMITED, 9.0)


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        (400, "http_error"),
        (401, "provider_key"),
        (403, "provider_key"),
        (404, "not_found"),
        (500, "server_error"),
        (503, "service_unavailable"),
    ],
)
def test_a_refusal_has_the_type_of_its_status(unsplash: ScriptedApi, status: int, error_type: str) -> None:
    unsplash.answer(SEARCH, {"errors": [f"Not {KEY}.", 7]}, status, {"X-Ratelimit-Remaining": "12"})
    error = error_of(listed)
    assert (error.error_type, error.http_status) == (error_type, status)
    assert KEY not in error.message
    if status < 500:
        assert error.message == f"Unsplash answered {status}: Not …."


def test_a_refusal_without_words_goes_by_its_status(unsplash: ScriptedApi) -> None:
    unsplash.answer(SEARCH, b"<html>", 403)
    assert error_of(listed).error_type == ErrorType.PROVIDER_KEY


def test_a_wrong_key_is_the_keys_fault(sandbox: Sandbox, set_environment: Callable[..., None]) -> None:
    set_environment(UNSPLASH_API_KEY="wrong")
    assert error_of(listed).error_type == ErrorType.PROVIDER_KEY


def test_a_use_can_not_be_told_with_a_wrong_key(sandbox: Sandbox, set_environment: Callable[..., None]) -> None:
    set_environment(UNSPLASH_API_KEY="wrong")
    assert error_of(lambda: report("/photos/fabric-501/download")).error_type == ErrorType.PROVIDER_KEY


def test_a_photo_that_is_gone_from_the_image_host_is_gone() -> None:
    verdict = Unsplash().classify(UploadError(ErrorType.NOT_FOUND, "no", http_status=404))
    assert verdict is ErrorType.NOT_FOUND

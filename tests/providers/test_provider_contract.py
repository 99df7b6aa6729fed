"""What every provider of the registry does, whatever its API says."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venue_images import photo_ranking, place_matching
from venue_images.errors import ErrorType, ProviderError, UploadError
from venue_images.models import Provider as ProviderRow
from venue_images.providers import PROVIDERS, Photo, Provider, ProviderApi, VenueRecord, add_missing_rows, by_name
from venue_images.providers.base import ApiAnswer, Billing

Result = TypeVar("Result")

NAMES = sorted(PROVIDERS)
#: Those that list photos by name or coordinates and need no id for it; asking them so costs nothing.
SEARCHED = {"mapillary", "openverse", "pexels", "unsplash", "wikimedia_commons"}
#: Ids that lead a provider to ask further, where any text does not.
IDS = {"wikimedia_commons": "File:X.jpg", "wikidata": "Q42"}
PHOTOS = ({"url": "https://photos.example/1.jpg", "width": 1600, "height": 1200, "attribution": "Ana"},)
#: Anything that JSON can say, with words in it that providers look for.
words = st.sampled_from(
    [
        "photos",
        "name",
        "photoUri",
        "widthPx",
        "heightPx",
        "authorAttributions",
        "displayName",
        "places/a/photos/b",
        "url",
        "id",
        "fsq_photo_id",
        "prefix",
        "suffix",
        "width",
        "height",
        "image_url",
        "https://photos.example/",
        "query",
        "pages",
        "title",
        "File:X.jpg",
        "imageinfo",
        "mime",
        "image/jpeg",
        "extmetadata",
        "LicenseShortName",
        "value",
        "CC0",
        "entities",
        "claims",
        "P18",
        "features",
        "properties",
        "place_id",
        "wiki_and_media",
        "wikidata",
        "results",
        "data",
        "license",
        "by",
        "Fabric",
        "urls",
        "raw",
        "links",
        "html",
        "download_location",
        "user",
        "src",
        "original",
        "large2x",
        "thumb_2048_url",
        "creator",
        "username",
    ]
)
answers = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | st.text(max_size=4), inner, max_size=5),
    max_leaves=25,
)


class Api:
    """Answers always the same; counts."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.paths: list[str] = []
        self.elsewhere: list[str] = []
        self.billed: list[Billing] = []

    async def get_json(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        billing: Billing = Billing.FREE,
        at: str = "",
    ) -> Any:
        self.paths.append(path)
        self.elsewhere.append(at)
        self.billed.append(billing)
        assert _is_text(params or {})
        assert _is_text(headers or {})
        json.dumps(body)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture(params=NAMES)
def provider(request: pytest.FixtureRequest) -> Provider:
    return PROVIDERS[request.param]


def venue(**provider_ids: str) -> VenueRecord:
    return VenueRecord(1, "fabric", "Fabric", "London", 51.5, -0.1, provider_ids, PHOTOS)


def known(provider: Provider) -> VenueRecord:
    """A venue whose id the provider has."""
    return venue(**{provider.info.name: "sandbox-1", **IDS})


def outcome(work: Callable[[ProviderApi], Awaitable[Result]], api: Api) -> Result | ProviderError:
    """What the provider says, or its error; anything else is a mistake of the provider."""

    async def run() -> Result:
        return await work(api)

    try:
        return asyncio.run(run())
    except ProviderError as error:
        return error


def asked(provider: Provider, api: Api) -> list[Photo] | ProviderError:
    """The photos with their addresses, or the error."""

    async def work(api: ProviderApi) -> list[Photo]:
        found = await provider.list_photos(known(provider), api)
        return [photo if photo.url else await provider.resolve(photo, api) for photo in found]

    return outcome(work, api)


def _is_text(values: Mapping[str, str]) -> bool:
    return all(isinstance(name, str) and isinstance(value, str) for name, value in values.items())


def test_it_stands_in_the_registry_under_its_own_name(provider: Provider) -> None:
    assert PROVIDERS[provider.info.name] is provider is by_name(provider.info.name)
    assert re.fullmatch("[a-z][a-z0-9_]*", provider.info.name)


def test_its_files_are_told_from_those_of_all_others(provider: Provider) -> None:
    assert re.fullmatch("[a-z]{2}", provider.info.code)
    codes = [each.info.code for each in PROVIDERS.values()]
    assert codes.count(provider.info.code) == 1
    assert provider.info.code != "xx"


def test_what_it_says_of_itself_makes_sense(provider: Provider) -> None:
    info = provider.info
    assert info.title
    assert info.storage_policy in ("store", "hotlink", "none")
    assert info.base_url.startswith("https://") or not (info.needs_key or info.metered)
    assert (max(info.cost_per_search, info.cost_per_call, info.cost_per_image) > 0) <= info.metered
    assert min(info.cost_per_search, info.cost_per_call, info.cost_per_image) >= 0
    assert min(info.refresh_calls_per_venue, info.refresh_calls_per_image) >= 0
    assert all(url.startswith("https://") for url in info.other_apis.values())
    limits = [info.limit_per_second, info.limit_per_minute, info.limit_per_hour, info.limit_per_day]
    limits += [limit for host in info.hosts.values() for limit in (host.concurrency, host.per_second)]
    assert all(limit is None or limit > 0 for limit in limits)


def test_it_says_where_its_terms_are_to_be_read_when_they_limit_what_may_be_done(provider: Provider) -> None:
    info = provider.info
    assert info.terms_url.startswith("https://") or not info.terms_url
    assert (bool(info.terms), bool(info.terms_url)) == (True, True) or info.storage_policy == "store"


@pytest.mark.django_db
def test_it_has_its_row_and_what_the_owner_changed_stays(provider: Provider) -> None:
    row, info = ProviderRow.objects.get(name=provider.info.name), provider.info
    names = ["metered", "geocode", "active", "priority", "cost_per_search", "cost_per_call", "cost_per_image"]
    names += [f"limit_per_{window}" for window in ("second", "minute", "hour", "day")]
    assert {name: getattr(row, name) for name in names} == {name: getattr(info, name) for name in names}
    assert row.monthly_budget_usd is None
    ProviderRow.objects.filter(pk=row.pk).update(active=False, priority=7)
    add_missing_rows("default")
    row.refresh_from_db()
    assert (row.active, row.priority) == (False, 7)


def test_a_venue_that_it_does_not_know_costs_no_call(provider: Provider) -> None:
    """Without its id it is not asked, unless it can be searched, which then has to be free."""
    api = Api()
    stranger = dataclasses.replace(venue(), photos=())
    found = outcome(lambda api: provider.list_photos(stranger, api), api)
    if provider.info.name in SEARCHED:
        assert api.paths
        assert set(api.billed) == {Billing.FREE}
    else:
        assert (found, api.paths) == ([], [])


def test_it_hands_on_no_ids_of_a_venue_that_it_does_not_know(provider: Provider) -> None:
    api = Api()
    assert asyncio.run(provider.find_ids(venue(), api)) == {}
    assert api.paths == []


def test_it_asks_no_api_that_has_no_address(provider: Provider) -> None:
    api = Api({})
    for work in (provider.find_places, provider.find_ids, provider.list_photos):
        outcome(lambda api, work=work: work(known(provider), api), api)  # type: ignore[misc]
    assert set(api.elsewhere) <= {"", *provider.info.other_apis}
    assert all(path.startswith("/") for path in api.paths)


@given(answer=answers)
@settings(max_examples=150, deadline=None)
@pytest.mark.parametrize("name", NAMES)
def test_any_answer_becomes_photos_that_can_be_stored_or_an_error_of_its_own(name: str, answer: Any) -> None:
    found = asked(PROVIDERS[name], Api(answer))
    if isinstance(found, ProviderError):
        return
    for photo in found:
        assert photo.provider == name
        assert photo.url
        assert 0 < photo_ranking.score(photo.width, photo.height) <= 1
        assert photo == dataclasses.replace(photo)
        assert not photo.report_path or photo.report_path.startswith("/")
    photo_ranking.cleaned(found, own="catalog")


@given(answer=answers)
@settings(max_examples=100, deadline=None)
@pytest.mark.parametrize("name", NAMES)
def test_any_answer_becomes_places_that_can_be_compared_or_an_error_of_its_own(name: str, answer: Any) -> None:
    record = venue(**IDS)
    found = outcome(lambda api: PROVIDERS[name].find_places(record, api), Api(answer))
    if isinstance(found, ProviderError):
        return
    match = place_matching.best_match(record, found)
    assert match is None or 0 <= match.confidence <= 1
    assert all(place == dataclasses.replace(place) for place in found)


@given(answer=answers)
@settings(max_examples=100, deadline=None)
@pytest.mark.parametrize("name", NAMES)
def test_any_answer_becomes_ids_that_can_be_kept_or_an_error_of_its_own(name: str, answer: Any) -> None:
    found = outcome(lambda api: PROVIDERS[name].find_ids(known(PROVIDERS[name]), api), Api(answer))
    if isinstance(found, ProviderError):
        return
    assert _is_text(found)
    assert all(found.values())
    assert name not in found
    assert "\0" not in "".join(found.values())


@given(answer=answers)
@settings(max_examples=100, deadline=None)
@pytest.mark.parametrize("name", NAMES)
def test_any_answer_becomes_new_addresses_in_the_order_of_the_old_ones_or_an_error_of_its_own(
    name: str, answer: Any
) -> None:
    provider = PROVIDERS[name]
    urls = ("https://photos.example/1.jpg", "", "nonsense", "https://photos.example/1.jpg")
    stale = [Photo(name, url, photo_id=photo_id) for url in urls for photo_id in ("", "File:X.jpg", "7", "a/b?c")]

    async def work(api: ProviderApi) -> list[Photo | None]:
        found = await provider.refresh(stale, known(provider), api)
        return [await provider.resolve(photo, api) if photo and not photo.url else photo for photo in found]

    found = outcome(work, Api(answer))
    if isinstance(found, ProviderError):
        return
    assert len(found) == len(stale)
    assert all(photo is None or (photo.provider, bool(photo.url)) == (name, True) for photo in found)


@given(answer=answers)
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("name", NAMES)
def test_a_use_is_told_with_one_call_whatever_is_answered(name: str, answer: Any) -> None:
    api = Api(answer)
    outcome(lambda api: PROVIDERS[name].report("/photos/1/download", api), api)
    assert len(api.paths) == 1
    assert "/photos/1/download" in api.paths[0]


def said(status: int, data: Any, headers: Mapping[str, str], text: str | None = None) -> ApiAnswer:
    return ApiAnswer(status, headers, json.dumps(data) if text is None else text, data)


@given(
    data=answers,
    status=st.sampled_from([200, 204, 301, 400, 401, 402, 403, 404, 409, 429, 500, 502, 503, 504]),
    headers=st.dictionaries(
        st.sampled_from(["Retry-After", "X-Ratelimit-Remaining", "RateLimit-Remaining", "RateLimit-ResetTime"]),
        st.text(max_size=8) | st.sampled_from(["0", "60", "2026-11-23T00:00:00+00:00"]),
    ),
)
@settings(max_examples=100, deadline=None)
@pytest.mark.parametrize("name", NAMES)
def test_any_answer_is_judged(name: str, data: Any, status: int, headers: Mapping[str, str]) -> None:
    provider = PROVIDERS[name]
    for answer in (said(status, data, headers), said(status, None, headers, "Rate Limit Exceeded \0")):
        error = provider.api_error(answer)
        assert error is None or isinstance(error, ProviderError)
        if error:
            assert error.message.startswith(provider.info.title)
            assert "\n" not in error.message
            assert len(error.message) < 500
            assert error.retry_after is None or error.retry_after >= 0


def test_a_good_answer_is_no_error(provider: Provider) -> None:
    good: list[Any] = [{}, {"photos": []}, {"results": []}, []]
    for data in good:
        assert provider.api_error(said(200, data, {})) is None


@pytest.mark.parametrize("error_type", [ErrorType.RATE_LIMITED, ErrorType.PROVIDER_KEY])
def test_an_error_of_the_api_is_passed_on_as_it_is(provider: Provider, error_type: ErrorType) -> None:
    error = ProviderError(error_type, "no")
    api = Api(error)
    for work in (provider.list_photos, provider.find_places, provider.find_ids):
        api.paths.clear()
        found = outcome(lambda api, work=work: work(known(provider), api), api)  # type: ignore[misc]
        assert found is error or not api.paths


@pytest.mark.parametrize("error_type", list(ErrorType))
def test_it_judges_every_failure_of_an_image_host(provider: Provider, error_type: ErrorType) -> None:
    for status in (None, 200, 400, 401, 403, 404, 410, 429, 500, 503):
        verdict = provider.classify(UploadError(error_type, "no", http_status=status))
        assert isinstance(verdict, ErrorType)


def test_a_failure_that_says_nothing_of_its_host_stays_what_it_is(provider: Provider) -> None:
    for error_type in (ErrorType.NETWORK_ERROR, ErrorType.STORAGE_CONFIG, ErrorType.UNKNOWN_ERROR):
        assert provider.classify(UploadError(error_type, "no")) is error_type
    for status, error_type in ((429, ErrorType.RATE_LIMITED), (503, ErrorType.SERVICE_UNAVAILABLE)):
        assert provider.classify(UploadError(error_type, "no", http_status=status)) is error_type

"""What every provider of the registry does, whatever its API says."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venue_images import photo_ranking
from venue_images.errors import ErrorType, ProviderError, UploadError
from venue_images.models import Provider as ProviderRow
from venue_images.providers import PROVIDERS, Photo, Provider, VenueRecord, add_missing_rows, by_name

NAMES = sorted(PROVIDERS)
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

    async def get_json(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        cost: Decimal = Decimal(0),
    ) -> Any:
        self.paths.append(path)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture(params=NAMES)
def provider(request: pytest.FixtureRequest) -> Provider:
    return PROVIDERS[request.param]


def venue(**provider_ids: str) -> VenueRecord:
    return VenueRecord(1, "fabric", "Fabric", "London", 51.5, -0.1, provider_ids, PHOTOS)


def asked(provider: Provider, api: Api) -> list[Photo] | ProviderError:
    """The photos with their addresses, or the error; anything else is a mistake of the provider."""

    async def work() -> list[Photo]:
        found = await provider.list_photos(venue(**{provider.info.name: "sandbox-1"}), api)
        return [photo if photo.url else await provider.resolve(photo, api) for photo in found]

    try:
        return asyncio.run(work())
    except ProviderError as error:
        return error


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
    assert (info.cost_per_image > 0) <= info.metered
    limits = [info.limit_per_second, info.limit_per_minute, info.limit_per_hour, info.limit_per_day]
    assert all(limit is None or limit > 0 for limit in limits)


@pytest.mark.django_db
def test_it_has_its_row_and_what_the_owner_changed_stays(provider: Provider) -> None:
    row = ProviderRow.objects.get(name=provider.info.name)
    assert (row.metered, row.cost_per_image) == (provider.info.metered, provider.info.cost_per_image)
    ProviderRow.objects.filter(pk=row.pk).update(active=False, priority=7)
    add_missing_rows("default")
    row.refresh_from_db()
    assert (row.active, row.priority) == (False, 7)


def test_a_venue_that_it_does_not_know_costs_no_call(provider: Provider) -> None:
    api = Api()
    stranger = dataclasses.replace(venue(), photos=())
    assert asyncio.run(provider.list_photos(stranger, api)) == []
    assert api.paths == []


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
    photo_ranking.cleaned(found, own="catalog")


@pytest.mark.parametrize("error_type", [ErrorType.RATE_LIMITED, ErrorType.PROVIDER_KEY])
def test_an_error_of_the_api_is_passed_on_as_it_is(provider: Provider, error_type: ErrorType) -> None:
    error = ProviderError(error_type, "no")
    api = Api(error)
    found = asked(provider, api)
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

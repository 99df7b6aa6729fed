"""Asks a provider over HTTP, the way an enrichment does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from tests.runtimes import in_runtime
from venue_images.provider_api import CountingApi
from venue_images.provider_ledger import Choices
from venue_images.providers import Provider, VenueRecord
from venue_images.providers.base import ProviderApi

Answer = TypeVar("Answer")


def ask(provider: Provider, question: Callable[[ProviderApi], Awaitable[Answer]]) -> Answer:
    """What the provider makes of its API; needs the fixture ``jobs``, and a sandbox for the API."""
    return in_runtime(lambda runtime: question(CountingApi(provider, runtime, choices_of(provider))))


def choices_of(provider: Provider) -> Choices:
    """The owner's choices as they are before anything was changed, without limits."""
    info = provider.info
    return Choices(
        info.name,
        metered=info.metered,
        cost_per_search=info.cost_per_search,
        cost_per_call=info.cost_per_call,
        cost_per_image=info.cost_per_image,
    )


def venue(slug: str = "fabric", **facts: Any) -> VenueRecord:
    """A venue as a provider sees it."""
    known = {"id": 1, "name": slug.replace("-", " ").title(), "city": "London", "latitude": 51.5, "longitude": -0.1}
    return VenueRecord(**{**known, "slug": slug, "provider_ids": {}, **facts})

"""Asking the providers for a venue's photos: all at once, each on its own, the best kept."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from psycopg.rows import scalar_row

from venue_images import photo_ranking
from venue_images.conf import provider_setting, settings
from venue_images.errors import ErrorClass, ErrorType, ProviderError, SettingsError, UserError
from venue_images.provider_api import CountingApi
from venue_images.providers import PROVIDERS, Photo, Provider, VenueRecord, by_name
from venue_images.runtime import Runtime
from venue_images.venue_ledger import LoadedVenue

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")

#: Providers asked at once, and the seconds that each may take.
PARALLEL = 5
PROVIDER_TIMEOUT = 15
POLICIES = ("store", "hotlink", "none")


@dataclass
class Asked:
    """One provider and how it answered for one venue."""

    provider: Provider
    api: CountingApi
    photos: list[Photo] = field(default_factory=list)
    error: ProviderError | None = None
    seconds: float = 0

    @property
    def is_final(self) -> bool:
        """Whether asking again would bring the same error."""
        return self.error is not None and self.error.error_type.error_class is ErrorClass.PERMANENT

    def to_json(self) -> dict[str, Any]:
        result: dict[str, Any] = {
            "photos": len(self.photos),
            "calls": self.api.calls,
            "metered_calls": self.api.metered_calls,
            "cost_usd": float(self.api.cost_usd),
            "seconds": round(self.seconds, 3),
        }
        if self.error:
            result |= {"error_type": str(self.error.error_type), "error": self.error.message}
        return result


async def find_photos(
    runtime: Runtime, venue: LoadedVenue, providers: Sequence[Provider], limit: int
) -> tuple[list[Photo], list[Asked]]:
    """At most ``limit`` photos, the best of all providers, each with its address; and how each provider answered.

    Photos that the venue has already take no room. A provider that fails costs only its own photos. An address is asked
    for only when its photo was chosen, and never again for as many photos as the venue has of that provider: their
    names and addresses change, so which ones they are can't be told before they are paid.
    """
    asked = [Asked(provider, CountingApi(provider.info, runtime)) for provider in providers]
    turns = asyncio.Semaphore(PARALLEL)
    await asyncio.gather(*(_list(one, venue.record, turns) for one in asked))
    offers = photo_ranking.cleaned(
        [photo for one in asked for photo in one.photos if photo.url], "catalog", venue.known_hashes
    )
    for one in asked:
        unresolved = [photo for photo in one.photos if not photo.url]
        offers += unresolved[venue.images_by_provider.get(one.provider.info.name, 0) :]
    chosen = photo_ranking.best(offers, limit)
    by_provider = {one.provider.info.name: one for one in asked}
    resolved = await asyncio.gather(*(_resolve(by_provider[photo.provider], photo, turns) for photo in chosen))
    return photo_ranking.cleaned([photo for photo in resolved if photo and photo.url], own="catalog"), asked


async def _list(asked: Asked, venue: VenueRecord, turns: asyncio.Semaphore) -> None:
    async with turns:
        started = time.monotonic()
        asked.photos = await _answer(asked, asked.provider.list_photos(venue, asked.api)) or []
        asked.seconds = time.monotonic() - started


async def _resolve(asked: Asked, photo: Photo, turns: asyncio.Semaphore) -> Photo | None:
    if photo.url:
        return photo
    async with turns:
        if asked.error and asked.error.error_type.error_class is ErrorClass.BLOCKED:
            return None
        return await _answer(asked, asked.provider.resolve(photo, asked.api))


async def _answer(asked: Asked, question: Awaitable[Answer]) -> Answer | None:
    """What the provider says in the time that it has; None when it fails, which is noted."""
    try:
        async with asyncio.timeout(PROVIDER_TIMEOUT):
            return await question
    except TimeoutError:
        message = f"{asked.provider.info.title} did not answer within {PROVIDER_TIMEOUT} seconds."
        asked.error = ProviderError(ErrorType.NETWORK_TIMEOUT, message)
    except ProviderError as error:
        asked.error = error
    except Exception as error:
        # An adapter that stumbles over an answer is a mistake of ours, and no reason to lose the other photos.
        logger.exception("provider.unexpected_error provider=%s", asked.provider.info.name)
        message = f"{asked.provider.info.title} answered something unexpected ({type(error).__name__})."
        asked.error = ProviderError(ErrorType.UNKNOWN_ERROR, message)
    return None


async def usable_providers(runtime: Runtime, names: Sequence[str] | None = None) -> list[Provider]:
    """The active providers in the order of their priority, or those of ``names``.

    One without its key or whose photos may not be kept is left out; naming it is a :class:`UserError` that says why.
    """
    async with runtime.pool.connection() as connection, connection.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute("SELECT name FROM venue_images_provider WHERE active ORDER BY priority, name")
        active = await cursor.fetchall()
    if names is None:
        return [PROVIDERS[name] for name in active if name in PROVIDERS and not obstacle(PROVIDERS[name])]
    for name in names:
        if problem := obstacle(by_name(name)):
            raise UserError(problem)
    ordered = [name for name in active if name in names] + [name for name in names if name not in active]
    return [PROVIDERS[name] for name in dict.fromkeys(ordered)]


def obstacle(provider: Provider) -> str | None:
    """Why the provider can't be used, and what to do; None when it can."""
    info = provider.info
    if info.needs_key and not provider_setting(info.name, "API_KEY"):
        return f"{info.title} needs a key: set {info.name.upper()}_API_KEY."
    if policy_of(provider) == "none":
        return f"{info.title}'s photos may not be kept: {info.name.upper()}_STORAGE_POLICY is none."
    return None


def policy_of(provider: Provider) -> str:
    """``store``, ``hotlink`` or ``none``; raises :class:`SettingsError` for a setting that is none of them."""
    policy = provider_setting(provider.info.name, "STORAGE_POLICY") or provider.info.storage_policy
    if policy not in POLICIES:
        name = f"{provider.info.name.upper()}_STORAGE_POLICY"
        raise SettingsError(f"{name}={policy!r}: must be store, hotlink or none.")
    return policy


def policies() -> Mapping[str, str]:
    return {name: policy_of(provider) for name, provider in PROVIDERS.items()}


def room_for(images: int) -> int:
    """How many more images a venue may have."""
    return settings().max_images_per_venue - images

"""Asking the providers for a venue's photos: all at once, each on its own, the best kept."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from venue_images import photo_ranking, place_matching, provider_ledger
from venue_images.conf import provider_setting, settings
from venue_images.errors import ErrorClass, ErrorType, Held, ProviderError, SettingsError, UserError
from venue_images.place_matching import Match
from venue_images.provider_api import CountingApi
from venue_images.provider_ledger import Choices
from venue_images.providers import POLICIES, PROVIDERS, Photo, Provider, VenueRecord, by_name
from venue_images.providers.base import fingerprint
from venue_images.runtime import Runtime
from venue_images.venue_ledger import LoadedVenue

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")

#: Providers asked at once.
PARALLEL = 5


@dataclass
class Asked:
    """One provider and how it answered for one venue."""

    provider: Provider
    api: CountingApi
    photos: list[Photo] = field(default_factory=list)
    error: ProviderError | None = None
    #: What kept a question from being asked.
    held: Held | None = None
    #: The place that was found for the venue, sure or not.
    match: Match | None = None
    #: Ids of the venue, at this provider and at others.
    found_ids: dict[str, str] = field(default_factory=dict)
    seconds: float = 0

    @property
    def due_in(self) -> float | None:
        """Seconds until what was held may be asked; None: nothing was, or a person has to do something first."""
        return self.held.seconds if self.held and math.isfinite(self.held.seconds) else None

    @property
    def name(self) -> str:
        return self.provider.info.name

    @property
    def is_done(self) -> bool:
        """Whether asking again would bring nothing else."""
        is_final = self.error is None or self.error.error_type.error_class is ErrorClass.PERMANENT
        return is_final and self.held is None

    @property
    def note(self) -> str:
        """What there is to say beside the photos."""
        if problem := self.error or self.held:
            return problem.message
        if self.match and not self.match.is_sure:
            candidate = self.match.candidate.name
            return f"“{candidate}” is not surely this venue ({self.match.confidence:.0%}): its id was not used."
        return ""

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
        elif self.note:
            result["note"] = self.note
        if self.held and self.due_in is None:
            result["stopped"] = True
        return result


@dataclass(frozen=True)
class Usable:
    """A provider that may be asked, with the owner's choices."""

    provider: Provider
    choices: Choices

    @property
    def name(self) -> str:
        return self.provider.info.name

    def asked_through(self, runtime: Runtime, *, is_retry: bool = False) -> Asked:
        """It and what it will say; without a budget it is not asked, not even for what is free and leads to nothing."""
        asked = Asked(self.provider, CountingApi(self.provider, runtime, self.choices, is_retry))
        if self.choices.is_used_up:
            asked.held = Held(f"{self.provider.info.title}: {self.choices.no_budget}", math.inf)
        return asked


async def find_photos(asked: Sequence[Asked], venue: LoadedVenue, limit: int, *, geocode: bool = False) -> list[Photo]:
    """At most ``limit`` photos, the best of all providers, each with its address; ``asked`` tells how each answered.

    Photos that the venue has already take no room. A provider that fails costs only its own photos. An address is asked
    for only when its photo was chosen, and never again for as many photos as the venue has of that provider: where names
    and addresses change, which ones they are can't be told before they are paid. ``geocode``: look for a
    missing id also where the owner has not said so.
    """
    turns = asyncio.Semaphore(PARALLEL)
    await asyncio.gather(*(_find_ids(one, venue.record, turns, geocode or one.api.choices.geocode) for one in asked))
    found = {name: place for one in asked for name, place in one.found_ids.items()}
    record = dataclasses.replace(venue.record, provider_ids={**found, **venue.record.provider_ids})
    await asyncio.gather(*(_list(one, record, turns) for one in asked))
    offers = photo_ranking.cleaned(
        [photo for one in asked for photo in one.photos if photo.url], "catalog", venue.known_hashes
    )
    for one in asked:
        offers += _unresolved(one, venue)
    chosen = photo_ranking.best(offers, limit)
    by_provider = {one.name: one for one in asked}
    resolved = await asyncio.gather(*(_resolve(by_provider[photo.provider], photo, turns) for photo in chosen))
    return photo_ranking.cleaned([photo for photo in resolved if photo and photo.url], own="catalog")


def _unresolved(asked: Asked, venue: LoadedVenue) -> list[Photo]:
    """The photos without an address that the venue may not have: as many as it can't be told of are passed over."""
    offered = [photo for photo in asked.photos if not photo.url]
    new = [photo for photo in offered if fingerprint(photo) not in venue.known_photo_ids]
    untold = venue.images_by_provider.get(asked.name, 0) - (len(offered) - len(new))
    return new[max(untold, 0) :]


async def _find_ids(asked: Asked, venue: VenueRecord, turns: asyncio.Semaphore, geocode: bool) -> None:
    """The venue's place at this provider, when its id is missing, and the ids that it hands on."""
    async with turns:
        if asked.is_done and geocode and asked.name not in venue.provider_ids:
            candidates = await answer(asked, asked.provider.find_places(venue, asked.api)) or []
            asked.match = place_matching.best_match(venue, candidates)
            if asked.match and asked.match.is_sure:
                asked.found_ids[asked.name] = asked.match.candidate.place_id
        known = dataclasses.replace(venue, provider_ids={**venue.provider_ids, **asked.found_ids})
        if asked.is_done:
            asked.found_ids |= await answer(asked, asked.provider.find_ids(known, asked.api)) or {}


async def _list(asked: Asked, venue: VenueRecord, turns: asyncio.Semaphore) -> None:
    async with turns:
        if not asked.is_done:
            return
        started = time.monotonic()
        asked.photos = await answer(asked, asked.provider.list_photos(venue, asked.api)) or []
        asked.seconds = time.monotonic() - started


async def _resolve(asked: Asked, photo: Photo, turns: asyncio.Semaphore) -> Photo | None:
    async with turns:
        return await resolve(asked, photo)


async def resolve(asked: Asked, photo: Photo) -> Photo | None:
    """The photo with its address; None when the provider does not give it, or is not worth asking any more."""
    if photo.url:
        return photo
    if asked.held or (asked.error and asked.error.error_type.error_class is ErrorClass.BLOCKED):
        return None
    return await answer(asked, asked.provider.resolve(photo, asked.api))


async def answer(asked: Asked, question: Awaitable[Answer]) -> Answer | None:
    """What the provider says; None when it fails or may not be asked now, which is noted."""
    try:
        return await question
    except ProviderError as error:
        asked.error = error
    except Held as held:
        asked.held = held
    except Exception as error:
        # An adapter that stumbles over an answer is a mistake of ours, and no reason to lose the other photos.
        logger.exception("provider.unexpected_error provider=%s", asked.name)
        message = f"{asked.provider.info.title} answered something unexpected ({type(error).__name__})."
        asked.error = ProviderError(ErrorType.UNKNOWN_ERROR, message)
    return None


async def usable_providers(runtime: Runtime, names: Sequence[str] | None = None) -> list[Usable]:
    """The active providers in the order of their priority, or those of ``names``.

    One without its key or whose photos may not be kept is left out; naming it is a :class:`UserError` that says why.
    """
    async with runtime.pool.connection() as connection:
        active = await provider_ledger.active(connection)
        choices = await provider_ledger.choices(connection)
    if names is None:
        wanted = [name for name in active if name in PROVIDERS and not obstacle(PROVIDERS[name])]
    else:
        for name in names:
            if problem := obstacle(by_name(name)):
                raise UserError(problem)
        wanted = [name for name in active if name in names] + [name for name in names if name not in active]
    return [Usable(PROVIDERS[name], choices.get(name, Choices(name))) for name in dict.fromkeys(wanted)]


def obstacle(provider: Provider) -> str | None:
    """Why the provider can't be used, and what to do; None when it can."""
    info = provider.info
    if info.needs_key and not provider_setting(info.name, "API_KEY"):
        return f"{info.title} needs a key: set {info.name.upper()}_API_KEY."
    setting = f"{info.name.upper()}_STORAGE_POLICY"
    try:
        is_kept = policy_of(provider) != "none" or not info.has_photos
    except SettingsError as error:
        return str(error)
    if is_kept:
        return None
    if provider_setting(info.name, "STORAGE_POLICY"):
        return f"{info.title}'s photos may not be kept: {setting} is none."
    return (
        f"{info.title}'s photos are not kept, because of its terms. {info.terms} Set {setting}=store if yours allow it."
    )


def policy_of(provider: Provider) -> str:
    """``store``, ``hotlink`` or ``none``; raises :class:`SettingsError` for a setting that is none of them."""
    policy = provider_setting(provider.info.name, "STORAGE_POLICY") or provider.info.storage_policy
    if policy not in POLICIES:
        name = f"{provider.info.name.upper()}_STORAGE_POLICY"
        raise SettingsError(f"{name}={policy!r}: must be store, hotlink or none.")
    return policy


def room_for(images: int) -> int:
    """How many more images a venue may have."""
    return settings().max_images_per_venue - images

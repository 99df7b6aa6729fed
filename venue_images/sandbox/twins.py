"""The contract of a twin: one file that pretends to be one provider's API, and one line in ``Sandbox.__init__``."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from venue_images.sandbox.photos import PhotoPath, Photos

PLACE_ID = re.compile(r"sandbox-(?P<slug>[\w-]+)", re.ASCII)
DEFAULT_PHOTOS = 5


@dataclass(frozen=True)
class Place:
    """A venue as the pretended providers know it."""

    id: str
    slug: str
    photos: int


class Places:
    """Every id of the form ``sandbox-<venue-slug>`` is a place; others are when they have been added."""

    def __init__(self) -> None:
        self._known: dict[str, Place] = {}

    def add(self, place_id: str, *, slug: str | None = None, photos: int = DEFAULT_PHOTOS) -> Place:
        """Make or change a place; the slug is needed when the id does not hold it."""
        match = PLACE_ID.fullmatch(place_id)
        if slug is None and match is None:
            raise ValueError(f"place {place_id!r}: give its slug, or call it sandbox-<venue-slug>")
        if photos < 0:
            raise ValueError(f"place {place_id!r}: can't have {photos} photos")
        place = Place(place_id, slug or (match["slug"] if match else ""), photos)
        self._known[place_id] = place
        return place

    def find(self, place_id: str) -> Place | None:
        if place_id not in self._known and PLACE_ID.fullmatch(place_id):
            return self.add(place_id)
        return self._known.get(place_id)


@dataclass(frozen=True)
class Offer:
    """Photos that a pretended provider has of a venue, for providers that are searched and not asked by an id."""

    provider: str
    slug: str
    #: How the provider calls the venue.
    name: str
    photos: int
    latitude: float | None = None
    longitude: float | None = None
    #: The venue's id at this provider, when it has one.
    place_id: str = ""


class Offers:
    """What the searched providers have; nothing until it is added."""

    def __init__(self) -> None:
        self._offers: list[Offer] = []

    def add(self, offer: Offer) -> Offer:
        self._offers.append(offer)
        return offer

    def by_text(self, provider: str, text: str) -> list[Offer]:
        """Those whose name has all its words in the text, whatever their case."""
        words = set(_words(text))
        return [offer for offer in self._of(provider) if words.issuperset(_words(offer.name))]

    def near(self, provider: str, latitude: float, longitude: float, degrees: float = 0.01) -> list[Offer]:
        """Those within so many degrees in each direction."""
        return [
            offer
            for offer in self._of(provider)
            if offer.latitude is not None
            and offer.longitude is not None
            and abs(offer.latitude - latitude) <= degrees
            and abs(offer.longitude - longitude) <= degrees
        ]

    def by_place_id(self, provider: str, place_id: str) -> Offer | None:
        return next((offer for offer in self._of(provider) if offer.place_id == place_id), None)

    def by_slug(self, provider: str, slug: str) -> Offer | None:
        return next((offer for offer in self._of(provider) if offer.slug == slug), None)

    def _of(self, provider: str) -> list[Offer]:
        return [offer for offer in self._offers if offer.provider == provider]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


class Surroundings(Protocol):
    """What a twin may ask of the sandbox that it lives in."""

    seed: int
    places: Places
    offers: Offers
    photos: Photos
    #: Seconds that a short-lived photo address works; None: for ever.
    photo_uri_lifetime: float | None

    def photo_url(self, path: str, host: int = 0) -> str: ...

    @property
    def hosts(self) -> list[str]: ...


class Twin(Protocol):
    """One pretended provider; its site answers everything below ``/<name>/``."""

    #: The provider's name in the registry.
    name: str
    #: Requests to it are counted as metered calls, refused and failed ones too.
    metered: bool
    #: The one key that it accepts; empty when it asks for none.
    api_key: str

    def routes(self) -> Iterable[web.RouteDef]: ...

    def environment(self, base_url: str) -> dict[str, str]:
        """The settings that lead a client here."""
        ...

    def error_page(self, status: int) -> web.Response:
        """How this API words an error of that status."""
        ...

    def photo_routes(self) -> Iterable[web.RouteDef]:
        """Paths that every photo host answers in this provider's own way; those of all others are plain photos."""
        ...


def host_for(photo: PhotoPath, surroundings: Surroundings) -> int:
    """The photo host that has this photo: always the same one."""
    return zlib.crc32(f"{photo.slug}/{photo.number}".encode()) % len(surroundings.hosts)

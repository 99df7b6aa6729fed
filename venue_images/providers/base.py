"""The contract of a provider: what it offers, and how it asks for it.

A provider finds a venue's place, lists photos, hands out the address of one, and judges the failures of its API and of
its own image hosts. It sees its API only through :class:`ProviderApi`, which limits, counts and prices every call: code
without one can make no call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol

from venue_images.errors import ErrorType, ProviderError, UploadError

#: The largest side that a row can hold.
MOST_PIXELS = 2**31 - 1


@dataclass(frozen=True)
class Photo:
    """A photo that a provider offers; not ours yet."""

    provider: str
    #: Where the bytes are, free of any key. Empty until :meth:`Provider.resolve` has been asked.
    url: str = ""
    #: The photo's id at the provider.
    photo_id: str = ""
    #: Pixels of the original, when the provider tells.
    width: int | None = None
    height: int | None = None
    #: Plain text: who has to be named.
    attribution: str = ""
    #: Short name of the licence, such as ``CC BY-SA 4.0``.
    licence: str = ""
    #: The photo's page at the provider, to link to where it is shown.
    page_url: str = ""
    #: Where the provider's terms want one call when the photo is chosen; free of any key, relative to the base URL.
    report_path: str = ""

    def __post_init__(self) -> None:
        """Drop what no row can hold, whatever the provider sent: a photo can always be stored."""
        for name in ("url", "photo_id", "attribution", "licence", "page_url", "report_path"):
            object.__setattr__(self, name, plain_text(getattr(self, name)))
        for name in ("width", "height"):
            object.__setattr__(self, name, _pixels(getattr(self, name)))


def fingerprint(photo: Photo) -> str:
    """What is kept of the id of a photo whose provider does not want the id to be kept."""
    return hashlib.sha256(photo.photo_id.encode()).hexdigest()[:16]


def plain_text(value: Any) -> str:
    """The text as the database keeps it: no NUL, no half of a character; empty for what is no text."""
    return value.replace("\0", "").encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def items_of(answer: Any, name: str) -> list[dict[str, Any]]:
    """The objects in the list ``name`` of a JSON answer; whatever else stands there is passed over."""
    found = answer.get(name) if isinstance(answer, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _degrees(value: Any, most: int) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and -most <= value <= most
    return float(value) if known else None


def _pixels(value: Any) -> int | None:
    known = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_PIXELS
    return value if known else None


@dataclass(frozen=True)
class VenueRecord:
    """What a provider may know of a venue."""

    id: int
    slug: str
    name: str
    city: str
    latitude: float | None
    longitude: float | None
    provider_ids: Mapping[str, str]
    photos: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class PlaceCandidate:
    """A place at a provider that may be the venue; :mod:`venue_images.place_matching` decides."""

    place_id: str
    name: str
    #: Degrees, WGS 84.
    latitude: float | None = None
    longitude: float | None = None

    def __post_init__(self) -> None:
        """Drop what makes no sense, whatever the provider sent."""
        for name in ("place_id", "name"):
            object.__setattr__(self, name, plain_text(getattr(self, name)))
        for name, most in (("latitude", 90), ("longitude", 180)):
            object.__setattr__(self, name, _degrees(getattr(self, name), most))


class Billing(StrEnum):
    """What the provider charges for a call; the prices are the owner's, in the provider's row."""

    FREE = "free"
    #: ``cost_per_search``
    SEARCH = "search"
    #: ``cost_per_call``
    CALL = "call"
    #: ``cost_per_image``
    IMAGE = "image"


@dataclass(frozen=True)
class ApiAnswer:
    """What an API answered, whole, before anybody has judged it."""

    status: int
    #: Names are compared without case.
    headers: Mapping[str, str]
    text: str
    #: The parsed body; None when it is no JSON.
    data: Any


class ProviderApi(Protocol):
    """The way to one provider's API for one operation."""

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
        """GET ``base URL + path`` and parse the JSON; the call is counted before it is sent. With a ``body``: POST it.

        ``at`` names one of ``ProviderInfo.other_apis``. Redirects are not followed, so that no key travels on. Raises
        :class:`ProviderError`: what :meth:`Provider.api_error` made of the answer, or what its status stands for.
        """
        ...


@dataclass(frozen=True)
class HostLimit:
    """How an image host wants to be treated."""

    #: Downloads at once, over all workers.
    concurrency: int | None = None
    #: Requests in any one second, over all workers.
    per_second: int | None = None

    @property
    def per_window(self) -> dict[str, int]:
        """Requests by window, as ``rate_limits`` wants them."""
        return {} if self.per_second is None else {"second": self.per_second}


@dataclass(frozen=True)
class ProviderInfo:
    """What is known of a provider before anything is asked; the owner's row in the database overrides it."""

    #: The name in settings, rows and pages: ``google_places``.
    name: str
    #: Two letters that start the file name of an image.
    code: str
    title: str
    base_url: str = ""
    #: Base URLs of further APIs by name; ``<NAME>_BASE_URL`` overrides.
    other_apis: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    needs_key: bool = False
    metered: bool = False
    #: False: it only tells ids of places and hands on to other providers.
    has_photos: bool = True
    #: What its terms allow with the bytes: ``store``, ``hotlink`` or ``none``; ``<PROVIDER>_STORAGE_POLICY`` overrides.
    storage_policy: str = "store"
    #: Why the policy is what it is, in one sentence, and where that can be read.
    terms: str = ""
    terms_url: str = ""
    #: Whether its addresses die within minutes or hours, so that a retry has to come soon.
    short_lived: bool = False
    #: Whether a missing id is looked for by name and place; off by default where a search may cost.
    geocode: bool = False
    active: bool = True
    priority: int = 100
    cost_per_search: Decimal = field(default_factory=lambda: Decimal(0))
    cost_per_call: Decimal = field(default_factory=lambda: Decimal(0))
    cost_per_image: Decimal = field(default_factory=lambda: Decimal(0))
    #: Calls that new addresses for expired ones take: for each venue, and for each image.
    refresh_calls_per_venue: int = 1
    refresh_calls_per_image: int = 0
    limit_per_second: int | None = None
    limit_per_minute: int | None = None
    limit_per_hour: int | None = None
    limit_per_day: int | None = None
    #: Image hosts that want to be spared, by ``host``.
    hosts: Mapping[str, HostLimit] = field(default_factory=lambda: MappingProxyType({}))


class Provider(Protocol):
    info: ProviderInfo

    async def find_places(self, venue: VenueRecord, api: ProviderApi) -> list[PlaceCandidate]:
        """Places that may be the venue, found by its name and coordinates; asked only when its id is missing.

        Raises :class:`ProviderError`.
        """
        ...

    async def find_ids(self, venue: VenueRecord, api: ProviderApi) -> Mapping[str, str]:
        """The venue's ids at other providers, by their names. Raises :class:`ProviderError`."""
        ...

    async def list_photos(self, venue: VenueRecord, api: ProviderApi) -> list[Photo]:
        """The photos on offer, best guess first; empty when the provider does not know the venue.

        Raises :class:`ProviderError`.
        """
        ...

    async def resolve(self, photo: Photo, api: ProviderApi) -> Photo:
        """The photo with its key-free ``url``; called once for each photo that was chosen and has none yet."""
        ...

    async def refresh(self, stale: Sequence[Photo], venue: VenueRecord, api: ProviderApi) -> list[Photo | None]:
        """The same photos with new addresses, in the same order; None for one that can't be had any more.

        Each has the ``url`` that has expired. One that comes back without an address is resolved. Asked for only when
        somebody agreed to the price. Raises :class:`ProviderError`.
        """
        ...

    async def report(self, path: str, api: ProviderApi) -> None:
        """Tell the provider that a photo is used, as its terms want it. Raises :class:`ProviderError`."""
        ...

    def api_error(self, answer: ApiAnswer) -> ProviderError | None:
        """What an answer of the API means where its status alone does not tell; None: what the status says."""
        ...

    def classify(self, error: UploadError) -> ErrorType:
        """The error type that a failed download from this provider's hosts stands for.

        Called with the generic verdict; only the provider knows that its 403 means "expired".
        """
        ...


class PlainProvider:
    """What most providers have in common: the URLs come with the list, and failures mean what they say."""

    info: ProviderInfo

    async def find_places(self, _venue: VenueRecord, _api: ProviderApi) -> list[PlaceCandidate]:
        return []

    async def find_ids(self, _venue: VenueRecord, _api: ProviderApi) -> Mapping[str, str]:
        return {}

    async def list_photos(self, _venue: VenueRecord, _api: ProviderApi) -> list[Photo]:
        return []

    async def resolve(self, photo: Photo, _api: ProviderApi) -> Photo:
        return photo

    async def refresh(self, stale: Sequence[Photo], venue: VenueRecord, api: ProviderApi) -> list[Photo | None]:
        """List the venue's photos again and find each by its id."""
        offered = {photo.photo_id: photo for photo in await self.list_photos(venue, api) if photo.photo_id}
        return [offered.get(photo.photo_id) for photo in stale]

    async def report(self, path: str, api: ProviderApi) -> None:
        await api.get_json(path)

    def api_error(self, _answer: ApiAnswer) -> ProviderError | None:
        return None

    def classify(self, error: UploadError) -> ErrorType:
        return error.error_type

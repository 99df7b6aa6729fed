"""The contract of a provider: what it offers, and how it asks for it.

A provider lists photos, hands out the address of one, and judges the failures of its own image hosts. It sees its API
only through :class:`ProviderApi`, which counts and prices every call: code without one can make no call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from venue_images.errors import ErrorType, UploadError

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
    licence: str = ""

    def __post_init__(self) -> None:
        """Drop what no row can hold, whatever the provider sent: a photo can always be stored."""
        for name in ("url", "photo_id", "attribution", "licence"):
            object.__setattr__(self, name, plain_text(getattr(self, name)))
        for name in ("width", "height"):
            object.__setattr__(self, name, _pixels(getattr(self, name)))


def plain_text(value: Any) -> str:
    """The text as the database keeps it: no NUL, no half of a character; empty for what is no text."""
    return value.replace("\0", "").encode("utf-8", "replace").decode() if isinstance(value, str) else ""


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


class ProviderApi(Protocol):
    """The way to one provider's API for one operation."""

    async def get_json(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        cost: Decimal = Decimal(0),
    ) -> Any:
        """GET ``base URL + path`` and parse the JSON; the call is counted before it is sent.

        Redirects are not followed, so that no key travels on. Raises :class:`ProviderError`.
        """
        ...


@dataclass(frozen=True)
class ProviderInfo:
    """What is known of a provider before anything is asked; the owner's row in the database overrides it."""

    #: The name in settings, rows and pages: ``google_places``.
    name: str
    #: Two letters that start the file name of an image.
    code: str
    title: str
    base_url: str = ""
    needs_key: bool = False
    metered: bool = False
    #: What its terms allow with the bytes: ``store``, ``hotlink`` or ``none``; ``<PROVIDER>_STORAGE_POLICY`` overrides.
    storage_policy: str = "store"
    active: bool = True
    priority: int = 100
    cost_per_image: Decimal = field(default_factory=lambda: Decimal(0))
    limit_per_second: int | None = None
    limit_per_minute: int | None = None
    limit_per_hour: int | None = None
    limit_per_day: int | None = None


class Provider(Protocol):
    info: ProviderInfo

    async def list_photos(self, venue: VenueRecord, api: ProviderApi) -> list[Photo]:
        """The photos on offer, best guess first; empty when the provider does not know the venue.

        Raises :class:`ProviderError`.
        """
        ...

    async def resolve(self, photo: Photo, api: ProviderApi) -> Photo:
        """The photo with its key-free ``url``; called once for each photo that was chosen and has none yet."""
        ...

    def classify(self, error: UploadError) -> ErrorType:
        """The error type that a failed download from this provider's hosts stands for.

        Called with the generic verdict; only the provider knows that its 403 means "expired".
        """
        ...


class PlainProvider:
    """What most providers have in common: the URLs come with the list, and failures mean what they say."""

    async def resolve(self, photo: Photo, _api: ProviderApi) -> Photo:
        return photo

    def classify(self, error: UploadError) -> ErrorType:
        return error.error_type

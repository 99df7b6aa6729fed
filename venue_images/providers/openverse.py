"""``openverse``: openly licensed photos, found by text. No key is needed; one raises the limits.

The search knows no places, so a photo counts only when its title or tags name the venue. The photos lie on other hosts,
whose failures mean what they say. https://api.openverse.org
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field, OnErrorOmit, ValidationError

from venue_images import place_matching
from venue_images.conf import provider_setting
from venue_images.errors import ErrorType, ProviderError
from venue_images.providers.base import ApiAnswer, Photo, PlainProvider, ProviderApi, ProviderInfo, VenueRecord

#: Licences that allow selling and changing, by the words of the API; photos with any other are left out.
LICENCES = {"by": "CC BY", "by-sa": "CC BY-SA", "cc0": "CC0", "pdm": "Public Domain Mark"}
#: File types that can be stored; drawings (svg) and scans (tiff) can't.
FILE_TYPES = frozenset({"jpg", "jpeg", "png", "webp", "gif", "avif"})
#: The largest page for a client without a key; one more is answered with 401.
PAGE_SIZE = 20
#: Longest name in a search, in characters, and the longest search in all; the API cuts off the rest.
MAX_NAME, MAX_QUERY = 150, 200
ID = re.compile(r"[0-9A-Za-z-]+")
WAIT = re.compile(r"available in ([0-9]{1,6}) second")
TOO_LARGE_A_PAGE = re.compile(r"page.?size|less than or equal", re.IGNORECASE)


class Tag(BaseModel):
    name: str


class Image(BaseModel):
    """One result, as far as it is of use; the API may leave nearly everything null."""

    id: str = Field(pattern=r"^[0-9A-Za-z-]+$")
    url: str = Field(pattern=r"^https?://")
    license: str
    license_version: str | None = None
    title: str | None = None
    tags: list[OnErrorOmit[Tag]] | None = None
    creator: str | None = None
    attribution: str | None = None
    foreign_landing_url: str | None = None
    filetype: str | None = None
    width: int | None = None
    height: int | None = None

    @property
    def is_usable(self) -> bool:
        return self.license in LICENCES and (not self.filetype or self.filetype.lower() in FILE_TYPES)

    @property
    def text(self) -> str:
        """Everything that may name the venue."""
        return " ".join([self.title or "", *(tag.name for tag in self.tags or ())])


class Found(BaseModel):
    results: list[OnErrorOmit[Image]]


class Openverse(PlainProvider):
    info = ProviderInfo(
        name="openverse",
        code="ov",
        title="Openverse",
        base_url="https://api.openverse.org",
        terms="Each photo has an open licence that lets it be kept, changed and sold; its author has to be named.",
        terms_url="https://docs.openverse.org/terms_of_service.html",
        priority=50,
        refresh_calls_per_venue=0,
        refresh_calls_per_image=1,
        limit_per_minute=20,
        limit_per_day=200,
    )

    async def list_photos(self, venue: VenueRecord, api: ProviderApi) -> list[Photo]:
        query = {
            "q": _query(venue),
            "page_size": str(PAGE_SIZE),
            "license_type": "commercial,modification",
            "filter_dead": "true",
            "mature": "false",
        }
        found = _images(await api.get_json("/v1/images/", params=query, headers=_headers()))
        return [self._photo(image) for image in found if place_matching.mentions(image.text, venue.name)]

    async def refresh(self, stale: Sequence[Photo], _venue: VenueRecord, api: ProviderApi) -> list[Photo | None]:
        return [await self._again(photo, api) for photo in stale]

    def api_error(self, answer: ApiAnswer) -> ProviderError | None:
        detail = str(answer.data.get("detail")) if isinstance(answer.data, dict) else ""
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS and (wait := WAIT.search(detail)):
            message = f"Openverse has had too many requests and wants a pause of {wait[1]} seconds."
            return ProviderError(ErrorType.RATE_LIMITED, message, http_status=answer.status, retry_after=float(wait[1]))
        if answer.status == HTTPStatus.UNAUTHORIZED and TOO_LARGE_A_PAGE.search(detail):
            message = "Openverse refuses a page of that size to a client without a key."
            return ProviderError(ErrorType.AUTH_ERROR, message, http_status=answer.status)
        return None

    async def _again(self, photo: Photo, api: ProviderApi) -> Photo | None:
        if not ID.fullmatch(photo.photo_id):
            return None
        try:
            answer = await api.get_json(f"/v1/images/{photo.photo_id}/", headers=_headers())
        except ProviderError as error:
            if error.error_type is ErrorType.NOT_FOUND:
                return None
            raise
        return next((self._photo(image) for image in _images({"results": [answer]})), None)

    def _photo(self, image: Image) -> Photo:
        return Photo(
            provider=self.info.name,
            url=image.url,
            photo_id=image.id,
            width=image.width,
            height=image.height,
            attribution=image.attribution or image.creator or "",
            licence=f"{LICENCES[image.license]} {image.license_version or ''}".rstrip(),
            page_url=image.foreign_landing_url or "",
        )


def _query(venue: VenueRecord) -> str:
    """The name as a phrase, and the city; within the length that the API reads."""
    name = venue.name.replace('"', " ")[:MAX_NAME]
    return f'"{name}" {venue.city}'[:MAX_QUERY].rstrip()


def _headers() -> dict[str, str]:
    token = provider_setting("openverse", "API_KEY")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _images(answer: Any) -> list[Image]:
    try:
        found = Found.model_validate(answer).results
    except ValidationError:
        message = "Openverse answered with something that is no list of images."
        raise ProviderError(ErrorType.UNKNOWN_ERROR, message) from None
    return [image for image in found if image.is_usable]

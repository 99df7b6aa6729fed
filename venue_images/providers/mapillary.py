"""``mapillary``: street-level photos around the venue. Free; the addresses are signed and expire.

An address that is refused has expired, and asking again by the photo's id costs nothing.
https://www.mapillary.com/developer/api-documentation
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field, OnErrorOmit, ValidationError

from venue_images.conf import provider_setting
from venue_images.errors import ErrorType, ProviderError, UploadError
from venue_images.providers.base import (
    ApiAnswer,
    Photo,
    PlainProvider,
    ProviderApi,
    ProviderInfo,
    VenueRecord,
    plain_text,
)

FIELDS = "id,thumb_2048_url,width,height,creator"
#: Photos taken within so many metres north, south, east and west of the venue.
REACH = 30
METRES_PER_DEGREE = 111_320
#: Keeps the box narrow near the poles: a box of 0.01 square degrees is refused.
SMALLEST_COSINE = 0.01
#: Pixels of the longer side of ``thumb_2048_url``; the API tells the size of the original.
THUMB_SIDE = 2048
#: Photos of one street corner are much alike.
MAX_PHOTOS = 10
ID = re.compile(r"[0-9]+")
#: What an expired photo address is answered with.
EXPIRED_STATUS = frozenset({400, 403, 404, 410})
#: The API's own error codes; they come with the status 400, and now and then with 200.
CODES = {
    1: ErrorType.SERVICE_UNAVAILABLE,
    2: ErrorType.SERVICE_UNAVAILABLE,
    4: ErrorType.RATE_LIMITED,
    17: ErrorType.RATE_LIMITED,
    32: ErrorType.RATE_LIMITED,
    190: ErrorType.PROVIDER_KEY,
    613: ErrorType.RATE_LIMITED,
}
#: A status that says it all, and how long to wait.
TELLING_STATUS = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
#: Code and subcode of "there is no such object".
UNKNOWN_OBJECT = (100, 33)
MAX_REASON = 200


class Creator(BaseModel):
    username: str = ""


class Image(BaseModel):
    """One photo, as far as it is of use."""

    id: str = Field(pattern=r"^[0-9]+$")
    thumb_2048_url: str = Field(pattern=r"^https?://")
    width: int | None = None
    height: int | None = None
    creator: Creator | None = None


class Found(BaseModel):
    data: list[OnErrorOmit[Image]]


class Mapillary(PlainProvider):
    info = ProviderInfo(
        name="mapillary",
        code="ma",
        title="Mapillary",
        base_url="https://graph.mapillary.com",
        needs_key=True,
        terms="Photos are licensed CC BY-SA, which lets them be kept; the photographer and Mapillary have to be named.",
        terms_url="https://www.mapillary.com/terms",
        short_lived=True,
        # It shows the street, and the venue by chance: the owner decides whether that is good enough.
        active=False,
        priority=95,
        refresh_calls_per_venue=0,
        refresh_calls_per_image=1,
        limit_per_minute=1000,
    )

    async def list_photos(self, venue: VenueRecord, api: ProviderApi) -> list[Photo]:
        if venue.latitude is None or venue.longitude is None:
            return []
        query = {"bbox": _box(venue.latitude, venue.longitude), "fields": FIELDS, "limit": str(MAX_PHOTOS)}
        answer = await api.get_json("/images", params=query, headers=_headers())
        return [self._photo(image) for image in _images(answer)]

    async def refresh(self, stale: Sequence[Photo], _venue: VenueRecord, api: ProviderApi) -> list[Photo | None]:
        return [await self._again(photo, api) for photo in stale]

    def api_error(self, answer: ApiAnswer) -> ProviderError | None:
        error = answer.data.get("error") if isinstance(answer.data, dict) else None
        if not isinstance(error, dict) or answer.status in TELLING_STATUS:
            return None
        error_type = _error_type(error)
        if error_type is None and answer.status != HTTPStatus.OK:
            return None
        reason = plain_text(error.get("message"))[:MAX_REASON].rstrip(".")
        return ProviderError(
            error_type or ErrorType.UNKNOWN_ERROR,
            f"Mapillary answered with an error{reason and ': '}{reason}.",
            http_status=answer.status,
        )

    def classify(self, error: UploadError) -> ErrorType:
        if error.http_status in EXPIRED_STATUS:
            return ErrorType.URL_EXPIRED
        return error.error_type

    async def _again(self, photo: Photo, api: ProviderApi) -> Photo | None:
        if not ID.fullmatch(photo.photo_id):
            return None
        try:
            answer = await api.get_json(f"/{photo.photo_id}", params={"fields": FIELDS}, headers=_headers())
        except ProviderError as error:
            if error.error_type is ErrorType.NOT_FOUND:
                return None
            raise
        return next((self._photo(image) for image in _images({"data": [answer]})), None)

    def _photo(self, image: Image) -> Photo:
        width, height = _thumb_size(image)
        username = image.creator.username if image.creator else ""
        return Photo(
            provider=self.info.name,
            url=image.thumb_2048_url,
            photo_id=image.id,
            width=width,
            height=height,
            attribution=f"{username}, Mapillary" if username else "Mapillary",
            licence="CC BY-SA 4.0",
            page_url=f"https://www.mapillary.com/app/?pKey={image.id}",
        )


def _box(latitude: float, longitude: float) -> str:
    """``west,south,east,north`` around the place, in degrees."""
    high = REACH / METRES_PER_DEGREE
    wide = high / max(math.cos(math.radians(latitude)), SMALLEST_COSINE)
    corners = (longitude - wide, latitude - high, longitude + wide, latitude + high)
    return ",".join(f"{degrees:.7f}" for degrees in corners)


def _headers() -> dict[str, str]:
    return {"Authorization": f"OAuth {provider_setting('mapillary', 'API_KEY') or ''}"}


def _images(answer: Any) -> list[Image]:
    try:
        return Found.model_validate(answer).data
    except ValidationError:
        message = "Mapillary answered with something that is no list of images."
        raise ProviderError(ErrorType.UNKNOWN_ERROR, message) from None


def _thumb_size(image: Image) -> tuple[int | None, int | None]:
    """Width and height of the file on offer, which is never larger than the original."""
    if not image.width or not image.height:
        return None, None
    longer = max(image.width, image.height)
    if longer <= THUMB_SIDE:
        return image.width, image.height
    return image.width * THUMB_SIDE // longer, image.height * THUMB_SIDE // longer


def _error_type(error: dict[str, Any]) -> ErrorType | None:
    """What the error's code stands for; None when it stands for nothing of its own."""
    code = error.get("code")
    if (code, error.get("error_subcode")) == UNKNOWN_OBJECT:
        return ErrorType.NOT_FOUND
    known = CODES.get(code) if isinstance(code, int) else None
    return known or (ErrorType.SERVICE_UNAVAILABLE if error.get("is_transient") is True else None)

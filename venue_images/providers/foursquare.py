"""``foursquare``: Foursquare Places, with the records of the old v3 API readable too. Metered: a photo list is a paid call.

A photo comes as the two halves of an address with the size to be put between them; it carries no key and no end.
https://docs.foursquare.com/fsq-developers-places/reference/migration-guide
"""

from __future__ import annotations

import dataclasses
import re
from decimal import Decimal
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from venue_images.conf import provider_setting
from venue_images.errors import ErrorType, ProviderError, UploadError
from venue_images.providers.base import (
    ApiAnswer,
    Billing,
    Photo,
    PlaceCandidate,
    PlainProvider,
    ProviderApi,
    ProviderInfo,
    VenueRecord,
    items_of,
    plain_text,
)

API_VERSION = "2025-06-17"
MOST_PHOTOS = 50
MOST_PLACES = 5
#: Pixels: a longer side than the first is asked for with the second.
LARGEST_ORIGINAL, LONG_SIDE = 2000, 1600
#: What 429 says when it means money; otherwise it means haste.
MONEY = re.compile("credit|quota|balance", re.IGNORECASE)
NEVER_WORKS = frozenset({400, 404, 405, 409})
MAX_REASON = 200


class Foursquare(PlainProvider):
    info = ProviderInfo(
        name="foursquare",
        code="fs",
        title="Foursquare",
        base_url="https://places-api.foursquare.com",
        needs_key=True,
        metered=True,
        storage_policy="none",
        terms="Foursquare's terms allow its ids to be kept, and no photo to be cached.",
        terms_url="https://docs.foursquare.com/fsq-developers-places/reference/usage-guidelines",
        priority=30,
        # The only figure published is the old API's; what the new one asks for photos is not known.
        cost_per_call=Decimal("0.01875"),
        limit_per_second=50,
    )

    async def find_places(self, venue: VenueRecord, api: ProviderApi) -> list[PlaceCandidate]:
        """Places around the venue's coordinates; none without them, as no name alone is sure.

        Reported as free: 500 of these calls a month are, and those after them cost.
        """
        if venue.latitude is None or venue.longitude is None:
            return []
        found = await api.get_json(
            "/places/search",
            params={"query": venue.name, "ll": f"{venue.latitude},{venue.longitude}", "limit": str(MOST_PLACES)},
            headers=_headers(),
        )
        return [_candidate(place) for place in items_of(found, "results")]

    async def list_photos(self, venue: VenueRecord, api: ProviderApi) -> list[Photo]:
        place_id = venue.provider_ids.get(self.info.name)
        if not place_id:
            return []
        photos = await api.get_json(
            f"/places/{quote(place_id, safe='')}/photos",
            params={"limit": str(MOST_PHOTOS)},
            headers=_headers(),
            billing=Billing.CALL,
        )
        if not isinstance(photos, list):
            raise ProviderError(
                ErrorType.UNKNOWN_ERROR, "Foursquare answered with something that is no list of photos."
            )
        return [self._photo(photo) for photo in items_of({"photos": photos}, "photos") if _has_address(photo)]

    def api_error(self, answer: ApiAnswer) -> ProviderError | None:
        reason = plain_text(answer.data.get("message")) if isinstance(answer.data, dict) else ""
        error_type = _error_type(answer.status, reason)
        if error_type is None:
            return None
        message = f"Foursquare answered {answer.status}{reason and ': '}{reason[:MAX_REASON].rstrip('.')}."
        return ProviderError(error_type, message, http_status=answer.status)

    def classify(self, error: UploadError) -> ErrorType:
        """Its image host says 403 as well as 404 of a photo that was removed."""
        return ErrorType.NOT_FOUND if error.http_status in (403, 404) else error.error_type

    def _photo(self, photo: dict[str, Any]) -> Photo:
        known = Photo(
            provider=self.info.name,
            photo_id=photo.get("fsq_photo_id") or photo.get("id") or "",
            width=photo.get("width"),
            height=photo.get("height"),
            attribution=self.info.title,
            licence="Foursquare terms",
        )
        return dataclasses.replace(known, url=f"{photo['prefix']}{_size(known)}{photo['suffix']}")


def _headers() -> dict[str, str]:
    return {
        "Authorization": f"Bearer {provider_setting('foursquare', 'API_KEY') or ''}",
        "X-Places-Api-Version": API_VERSION,
    }


def _error_type(status: int, reason: str) -> ErrorType | None:
    if status in NEVER_WORKS:
        return ErrorType.NOT_FOUND
    if status == HTTPStatus.TOO_MANY_REQUESTS and MONEY.search(reason):
        return ErrorType.PROVIDER_QUOTA
    return ErrorType.SERVICE_UNAVAILABLE if status == HTTPStatus.INTERNAL_SERVER_ERROR else None


def _has_address(photo: dict[str, Any]) -> bool:
    return all(isinstance(photo.get(half), str) and photo[half] for half in ("prefix", "suffix"))


def _size(photo: Photo) -> str:
    """``original``, or a smaller size of the same shape: another shape would be cut to fit."""
    if not photo.width or not photo.height or max(photo.width, photo.height) <= LARGEST_ORIGINAL:
        return "original"
    scale = LONG_SIDE / max(photo.width, photo.height)
    return "x".join(str(max(1, round(side * scale))) for side in (photo.width, photo.height))


def _candidate(place: dict[str, Any]) -> PlaceCandidate:
    geocodes = place.get("geocodes")
    old = geocodes.get("main") if isinstance(geocodes, dict) else None
    spot = old if isinstance(old, dict) else place
    return PlaceCandidate(
        place_id=plain_text(place.get("fsq_place_id") or place.get("fsq_id")),
        name=place.get("name") or "",
        latitude=spot.get("latitude"),
        longitude=spot.get("longitude"),
    )

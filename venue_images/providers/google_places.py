"""``google_places``: Google Places API (New). Metered: the list is reported free, each photo's address is billed.

Place Details gives the photos' names, ``/media`` with ``skipHttpRedirect`` gives one photo's address without a key.
Names must not be kept and addresses are short-lived, so both are used at once and an address that is refused later has
expired. https://developers.google.com/maps/documentation/places/web-service/place-photos
"""

from __future__ import annotations

import dataclasses
import re
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from venue_images.conf import provider_setting
from venue_images.errors import ErrorType, ProviderError, UploadError
from venue_images.providers.base import Photo, ProviderApi, ProviderInfo, VenueRecord, plain_text

#: The largest that ``/media`` gives; the aspect ratio is kept and nothing is enlarged.
MAX_SIDE = 4800
#: A photo's name is the path of a billed call: nothing else may be asked.
PHOTO_NAME = re.compile(r"places/[\w-]+/photos/[\w-]+", re.ASCII)
#: What an expired photo address is answered with.
EXPIRED_STATUS = frozenset({400, 403, 404, 410})


class GooglePlaces:
    info = ProviderInfo(
        name="google_places",
        code="gp",
        title="Google Places",
        base_url="https://places.googleapis.com",
        needs_key=True,
        metered=True,
        priority=20,
        cost_per_image=Decimal("0.007"),
        limit_per_minute=600,
    )

    async def list_photos(self, venue: VenueRecord, api: ProviderApi) -> list[Photo]:
        place_id = venue.provider_ids.get(self.info.name)
        if not place_id:
            return []
        place = await api.get_json(f"/v1/places/{quote(place_id, safe='')}", headers=_headers("id,photos"))
        if not isinstance(place, dict):
            raise ProviderError(ErrorType.UNKNOWN_ERROR, "Google Places answered with something that is no place.")
        return [
            self._photo(photo) for photo in _list_of(place, "photos") if PHOTO_NAME.fullmatch(str(photo.get("name")))
        ]

    async def resolve(self, photo: Photo, api: ProviderApi) -> Photo:
        media = await api.get_json(
            f"/v1/{photo.photo_id}/media",
            params={"maxWidthPx": str(MAX_SIDE), "maxHeightPx": str(MAX_SIDE), "skipHttpRedirect": "true"},
            headers=_headers(),
            cost=self.info.cost_per_image,
        )
        url = media.get("photoUri") if isinstance(media, dict) else None
        if not isinstance(url, str) or not url:
            raise ProviderError(ErrorType.UNKNOWN_ERROR, "Google Places answered without a photoUri.")
        return dataclasses.replace(photo, url=url, photo_id="")

    def classify(self, error: UploadError) -> ErrorType:
        if error.http_status in EXPIRED_STATUS:
            return ErrorType.URL_EXPIRED
        return error.error_type

    def _photo(self, photo: dict[str, Any]) -> Photo:
        authors = [plain_text(author.get("displayName")) for author in _list_of(photo, "authorAttributions")]
        return Photo(
            provider=self.info.name,
            photo_id=photo["name"],
            width=photo.get("widthPx"),
            height=photo.get("heightPx"),
            attribution=", ".join(author for author in authors if author),
            licence="Google Maps Platform terms",
        )


def _headers(field_mask: str | None = None) -> dict[str, str]:
    headers = {"X-Goog-Api-Key": provider_setting("google_places", "API_KEY") or ""}
    return {**headers, "X-Goog-FieldMask": field_mask} if field_mask else headers


def _list_of(answer: dict[str, Any], name: str) -> list[dict[str, Any]]:
    items = answer.get(name)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []

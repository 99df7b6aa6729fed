"""``google_places``: Google Places API (New). Metered: the list is reported free, each photo's address is billed.

Place Details gives the photos' names, ``/media`` with ``skipHttpRedirect`` gives one photo's address without a key.
Names must not be kept and addresses are short-lived, so both are used at once and an address that is refused later has
expired. Of a name only a fingerprint is kept, which tells a photo that the venue has already, and nothing else. https://developers.google.com/maps/documentation/places/web-service/place-photos
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
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
    fingerprint,
    items_of,
    plain_text,
)

#: The largest that ``/media`` gives; the aspect ratio is kept and nothing is enlarged.
MAX_SIDE = 4800
#: Places that a search may bring, and metres around the venue in which they are preferred.
CANDIDATES = 5
SEARCH_RADIUS = 500.0
#: A photo's name is the path of a billed call: nothing else may be asked.
PHOTO_NAME = re.compile(r"places/[\w-]+/photos/[\w-]+", re.ASCII)
#: What Google says with status 400, and what it means; how much of it is kept.
MEANINGS_OF_400 = {
    "photo resource in the request is invalid": ErrorType.URL_EXPIRED,
    "api key": ErrorType.PROVIDER_KEY,
}
MAX_REASON = 200
#: What an expired photo address is answered with.
EXPIRED_STATUS = frozenset({400, 403, 404, 410})


class GooglePlaces(PlainProvider):
    info = ProviderInfo(
        name="google_places",
        code="gp",
        title="Google Places",
        base_url="https://places.googleapis.com",
        needs_key=True,
        metered=True,
        storage_policy="none",
        terms="Google's terms allow no caching of photos, and a photo's address is short-lived.",
        terms_url="https://developers.google.com/maps/documentation/places/web-service/policies",
        short_lived=True,
        refresh_calls_per_image=1,
        priority=20,
        cost_per_search=Decimal("0.032"),
        cost_per_image=Decimal("0.007"),
        limit_per_minute=600,
    )

    async def find_places(self, venue: VenueRecord, api: ProviderApi) -> list[PlaceCandidate]:
        """Text Search; its price is the one of a search that tells names and places (unconfirmed)."""
        if not venue.name:
            return []
        body: dict[str, Any] = {"textQuery": ", ".join(filter(None, (venue.name, venue.city))), "pageSize": CANDIDATES}
        if venue.latitude is not None and venue.longitude is not None:
            center = {"latitude": venue.latitude, "longitude": venue.longitude}
            body["locationBias"] = {"circle": {"center": center, "radius": SEARCH_RADIUS}}
        headers = _headers("places.id,places.displayName,places.location")
        found = await api.get_json("/v1/places:searchText", headers=headers, body=body, billing=Billing.SEARCH)
        return [_candidate(place) for place in items_of(found, "places")]

    async def list_photos(self, venue: VenueRecord, api: ProviderApi) -> list[Photo]:
        place_id = venue.provider_ids.get(self.info.name)
        if not place_id:
            return []
        place = await api.get_json(f"/v1/places/{quote(place_id, safe='')}", headers=_headers("id,photos"))
        if not isinstance(place, dict):
            raise ProviderError(ErrorType.UNKNOWN_ERROR, "Google Places answered with something that is no place.")
        return [
            self._photo(photo) for photo in items_of(place, "photos") if PHOTO_NAME.fullmatch(str(photo.get("name")))
        ]

    async def resolve(self, photo: Photo, api: ProviderApi) -> Photo:
        media = await api.get_json(
            f"/v1/{photo.photo_id}/media",
            params={"maxWidthPx": str(MAX_SIDE), "maxHeightPx": str(MAX_SIDE), "skipHttpRedirect": "true"},
            headers=_headers(),
            billing=Billing.IMAGE,
        )
        url = media.get("photoUri") if isinstance(media, dict) else None
        if not isinstance(url, str) or not url:
            raise ProviderError(ErrorType.UNKNOWN_ERROR, "Google Places answered without a photoUri.")
        return dataclasses.replace(photo, url=url, photo_id=fingerprint(photo))

    async def refresh(self, stale: Sequence[Photo], venue: VenueRecord, api: ProviderApi) -> list[Photo | None]:
        """List the photos again and tell the wanted ones by size and author.

        Names change, so nothing else tells which photo was meant; one whose size was never known gets what is left over.
        """
        offered = await self.list_photos(venue, api)
        chosen = [_taken(offered, photo) for photo in stale]
        for index, photo in enumerate(stale):
            if chosen[index] is None and photo.width is None and offered:
                chosen[index] = offered.pop(0)
        return chosen

    def api_error(self, answer: ApiAnswer) -> ProviderError | None:
        """400 is a photo's name that has expired since the list, a key that is none, or a question that is no good."""
        if answer.status != HTTPStatus.BAD_REQUEST:
            return None
        error = answer.data.get("error") if isinstance(answer.data, dict) else None
        said = plain_text(error.get("message")) if isinstance(error, dict) else ""
        types = [error_type for words, error_type in MEANINGS_OF_400.items() if words in said.lower()]
        message = f"{self.info.title} answered 400: {said[:MAX_REASON].rstrip('.') or 'no reason'}."
        return ProviderError([*types, ErrorType.NOT_FOUND][0], message, http_status=400)

    def classify(self, error: UploadError) -> ErrorType:
        if error.http_status in EXPIRED_STATUS:
            return ErrorType.URL_EXPIRED
        return error.error_type

    def _photo(self, photo: dict[str, Any]) -> Photo:
        authors = [plain_text(author.get("displayName")) for author in items_of(photo, "authorAttributions")]
        return Photo(
            provider=self.info.name,
            photo_id=photo["name"],
            width=photo.get("widthPx"),
            height=photo.get("heightPx"),
            attribution=", ".join(author for author in authors if author),
            licence="Google Maps Platform terms",
            page_url=photo.get("googleMapsUri") or "",
        )


def _taken(offered: list[Photo], wanted: Photo) -> Photo | None:
    """The offered photo that is the wanted one, taken out of the list."""
    for photo in offered:
        if (photo.width, photo.height, photo.attribution) == (wanted.width, wanted.height, wanted.attribution):
            offered.remove(photo)
            return photo
    return None


def _candidate(place: dict[str, Any]) -> PlaceCandidate:
    name, location = place.get("displayName"), place.get("location")
    return PlaceCandidate(
        place_id=place.get("id") or "",
        name=name.get("text") or "" if isinstance(name, dict) else "",
        latitude=location.get("latitude") if isinstance(location, dict) else None,
        longitude=location.get("longitude") if isinstance(location, dict) else None,
    )


def _headers(field_mask: str | None = None) -> dict[str, str]:
    headers = {"X-Goog-Api-Key": provider_setting("google_places", "API_KEY") or ""}
    return {**headers, "X-Goog-FieldMask": field_mask} if field_mask else headers

"""``here``: HERE Geocoding & Search. It has no photos, and says so; it tells a place's ids at other providers.

https://docs.here.com/geocoding-and-search
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from venue_images.conf import provider_setting
from venue_images.errors import ErrorType, ProviderError
from venue_images.providers.base import (
    ApiAnswer,
    PlaceCandidate,
    PlainProvider,
    ProviderApi,
    ProviderInfo,
    VenueRecord,
    items_of,
    plain_text,
)

MOST_PLACES = 5
#: HERE's names for providers that are ours too, which are the same.
SUPPLIERS = frozenset({"foursquare", "yelp"})


class Here(PlainProvider):
    info = ProviderInfo(
        name="here",
        code="he",
        title="HERE",
        base_url="https://discover.search.hereapi.com",
        other_apis=MappingProxyType({"here_lookup": "https://lookup.search.hereapi.com"}),
        needs_key=True,
        has_photos=False,
        storage_policy="none",
        terms="HERE has no photos; it only tells ids.",
        terms_url="https://docs.here.com/geocoding-and-search",
        priority=90,
        limit_per_second=5,
        limit_per_day=1000,
    )

    async def find_places(self, venue: VenueRecord, api: ProviderApi) -> list[PlaceCandidate]:
        """Places around the venue's coordinates; none without them, as HERE asks for them."""
        if venue.latitude is None or venue.longitude is None:
            return []
        spot = f"{venue.latitude},{venue.longitude}"
        found = await api.get_json(
            "/v1/discover", params={"q": venue.name, "at": spot, "limit": str(MOST_PLACES), **_key()}
        )
        return [_candidate(item) for item in items_of(found, "items") if item.get("resultType", "place") == "place"]

    async def find_ids(self, venue: VenueRecord, api: ProviderApi) -> Mapping[str, str]:
        place_id = venue.provider_ids.get(self.info.name)
        if not place_id:
            return {}
        place = await api.get_json("/v1/lookup", params={"id": place_id, **_key()}, at="here_lookup")
        told = {_supplier(reference): plain_text(reference.get("id")) for reference in items_of(place, "references")}
        return {supplier: its_id for supplier, its_id in told.items() if supplier in SUPPLIERS and its_id}

    def api_error(self, answer: ApiAnswer) -> ProviderError | None:
        """A question that HERE does not understand never will be; its own words may repeat the address and its key."""
        if answer.status != HTTPStatus.BAD_REQUEST:
            return None
        message = "HERE answered 400: it does not understand this name or id."
        return ProviderError(ErrorType.NOT_FOUND, message, http_status=answer.status)


def _key() -> dict[str, str]:
    """The API takes a plain key in the query alone."""
    return {"apiKey": provider_setting("here", "API_KEY") or ""}


def _supplier(reference: dict[str, Any]) -> str:
    supplier = reference.get("supplier")
    return plain_text(supplier.get("id")) if isinstance(supplier, dict) else ""


def _candidate(item: dict[str, Any]) -> PlaceCandidate:
    position = item.get("position")
    spot = position if isinstance(position, dict) else {}
    return PlaceCandidate(
        place_id=item.get("id") or "",
        name=item.get("title") or "",
        latitude=spot.get("lat"),
        longitude=spot.get("lng"),
    )

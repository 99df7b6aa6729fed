"""``catalog``: the photos that the imported catalogue lists itself. No key, no call, no price."""

from __future__ import annotations

from venue_images.providers.base import Photo, PlainProvider, ProviderApi, ProviderInfo, VenueRecord


class Catalog(PlainProvider):
    info = ProviderInfo(name="catalog", code="ct", title="Catalogue", priority=10)

    async def list_photos(self, venue: VenueRecord, _api: ProviderApi) -> list[Photo]:
        return [
            Photo(
                provider=self.info.name,
                url=photo["url"],
                width=photo.get("width"),
                height=photo.get("height"),
                attribution=photo.get("attribution") or "",
                licence=photo.get("licence") or "",
            )
            for photo in venue.photos
        ]

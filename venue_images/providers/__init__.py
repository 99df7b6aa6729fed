"""The photo providers: one file each, found in ``PROVIDERS``. How to add one: ``docs/adding-a-provider.md``."""

from __future__ import annotations

from venue_images.errors import UsageError
from venue_images.models import Provider as ProviderRow
from venue_images.providers.base import HostLimit, Photo, Provider, ProviderApi, ProviderInfo, VenueRecord
from venue_images.providers.catalog import Catalog
from venue_images.providers.foursquare import Foursquare
from venue_images.providers.geoapify import Geoapify
from venue_images.providers.google_places import GooglePlaces
from venue_images.providers.here import Here
from venue_images.providers.mapillary import Mapillary
from venue_images.providers.openverse import Openverse
from venue_images.providers.pexels import Pexels
from venue_images.providers.unsplash import Unsplash
from venue_images.providers.wikimedia_commons import WikimediaCommons
from venue_images.providers.yelp import Yelp

__all__ = [
    "POLICIES",
    "PROVIDERS",
    "Photo",
    "Provider",
    "ProviderApi",
    "ProviderInfo",
    "VenueRecord",
    "add_missing_rows",
    "by_name",
    "host_limit",
]

#: What may be done with a provider's photos: keep the bytes, show its URL, or nothing.
POLICIES = ("store", "hotlink", "none")
PROVIDERS: dict[str, Provider] = {
    provider.info.name: provider
    for provider in (
        Catalog(),
        GooglePlaces(),
        Foursquare(),
        Here(),
        Yelp(),
        Mapillary(),
        Openverse(),
        Pexels(),
        Unsplash(),
        WikimediaCommons(),
        Geoapify(),
    )
}


def by_name(name: str) -> Provider:
    """The provider of this name; raises :class:`UsageError` with the names there are."""
    if name not in PROVIDERS:
        raise UsageError(f"There is no provider {name!r}; known: {', '.join(sorted(PROVIDERS))}.")
    return PROVIDERS[name]


def host_limit(host: str) -> HostLimit:
    """How an image host wants to be treated, whichever provider sent us there."""
    return next(
        (info.hosts[host] for info in (each.info for each in PROVIDERS.values()) if host in info.hosts), HostLimit()
    )


def add_missing_rows(using: str) -> None:
    """Give every provider of the registry its row; what the owner changed stays."""
    ProviderRow.objects.using(using).bulk_create(
        [
            ProviderRow(
                name=info.name,
                active=info.active,
                priority=info.priority,
                metered=info.metered,
                geocode=info.geocode,
                cost_per_search=info.cost_per_search,
                cost_per_call=info.cost_per_call,
                cost_per_image=info.cost_per_image,
                limit_per_second=info.limit_per_second,
                limit_per_minute=info.limit_per_minute,
                limit_per_hour=info.limit_per_hour,
                limit_per_day=info.limit_per_day,
            )
            for info in (provider.info for provider in PROVIDERS.values())
        ],
        ignore_conflicts=True,
    )

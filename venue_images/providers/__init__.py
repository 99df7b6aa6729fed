"""The photo providers: one file each, found in ``PROVIDERS``. How to add one: ``docs/adding-a-provider.md``."""

from __future__ import annotations

from venue_images.errors import UsageError
from venue_images.models import Provider as ProviderRow
from venue_images.providers.base import Photo, Provider, ProviderApi, ProviderInfo, VenueRecord
from venue_images.providers.catalog import Catalog
from venue_images.providers.google_places import GooglePlaces

__all__ = [
    "PROVIDERS",
    "Photo",
    "Provider",
    "ProviderApi",
    "ProviderInfo",
    "VenueRecord",
    "add_missing_rows",
    "by_name",
]

PROVIDERS: dict[str, Provider] = {provider.info.name: provider for provider in (Catalog(), GooglePlaces())}


def by_name(name: str) -> Provider:
    """The provider of this name; raises :class:`UsageError` with the names there are."""
    if name not in PROVIDERS:
        raise UsageError(f"There is no provider {name!r}; known: {', '.join(sorted(PROVIDERS))}.")
    return PROVIDERS[name]


def add_missing_rows(using: str) -> None:
    """Give every provider of the registry its row; what the owner changed stays."""
    ProviderRow.objects.using(using).bulk_create(
        [
            ProviderRow(
                name=info.name,
                active=info.active,
                priority=info.priority,
                metered=info.metered,
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

"""The SQL of the venue rows that the jobs need: what a provider may know of a venue, and whether it is stale."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from venue_images import provider_ledger
from venue_images.errors import ErrorType
from venue_images.models import UploadStatus
from venue_images.provider_ledger import Check
from venue_images.providers.base import VenueRecord

#: Never checked; a week ago and nothing found; or three months ago.
STALE = f"""(
    venue.images_checked_at IS NULL
    OR venue.images_checked_at < now() - interval '90 days'
    OR (
        venue.images_checked_at < now() - interval '7 days'
        AND NOT EXISTS (
            SELECT FROM venue_images_venueimage AS image
            WHERE image.venue_id = venue.id AND image.upload_status IN ('{UploadStatus.UPLOADED}', '{UploadStatus.HOTLINKED}')
        )
    )
)"""


@dataclass(frozen=True)
class LoadedVenue:
    record: VenueRecord
    stale: bool
    #: Images that count towards the limit of the venue: all but those that are given up.
    images: int
    #: The URL hashes of all its images.
    known_hashes: frozenset[str]
    #: The ids at their providers of all its images.
    known_photo_ids: frozenset[str]
    #: Images by provider; one whose address has expired may be had anew.
    images_by_provider: dict[str, int]
    #: When the providers were last asked.
    checked_at: datetime | None
    #: How far each provider has been asked, by name.
    checks: dict[str, Check]


async def load(connection: AsyncConnection, venue_id: int) -> LoadedVenue | None:
    """The venue as it is now; None when it has been deleted."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            f"""
            SELECT id, slug, name, city, latitude, longitude, provider_ids, photos, images_checked_at, {STALE} AS stale, (
                SELECT count(*) FROM venue_images_venueimage AS image
                WHERE image.venue_id = venue.id AND image.upload_status <> '{UploadStatus.PERMANENTLY_FAILED}'
            ) AS images, ARRAY(
                SELECT url_hash FROM venue_images_venueimage AS image WHERE image.venue_id = venue.id
            ) AS known_hashes, ARRAY(
                SELECT provider_photo_id FROM venue_images_venueimage AS image WHERE image.venue_id = venue.id
                  AND image.error_type IS DISTINCT FROM '{ErrorType.URL_EXPIRED}'
            ) AS known_photo_ids, coalesce((
                SELECT jsonb_object_agg(provider, count) FROM (
                    SELECT provider, count(*) FROM venue_images_venueimage AS image
                    WHERE image.venue_id = venue.id AND image.error_type IS DISTINCT FROM '{ErrorType.URL_EXPIRED}'
                    GROUP BY provider
                ) AS counts
            ), '{{}}') AS images_by_provider
            FROM venue_images_venue AS venue WHERE id = %s
            """,
            [venue_id],
        )
        row = await cursor.fetchone()
    return _loaded(row, await provider_ledger.checks(connection, venue_id)) if row else None


async def slug_of(connection: AsyncConnection, venue_id: int) -> str | None:
    """The venue's slug; None when it has been deleted."""
    async with await connection.execute("SELECT slug FROM venue_images_venue WHERE id = %s", [venue_id]) as cursor:
        row = await cursor.fetchone()
    return str(row[0]) if row else None


def _loaded(row: dict[str, Any], checks: dict[str, Check]) -> LoadedVenue:
    names = ("id", "slug", "name", "city", "latitude", "longitude", "provider_ids")
    record = VenueRecord(**{name: row[name] for name in names}, photos=tuple(row["photos"]))
    return LoadedVenue(
        record=record,
        stale=row["stale"],
        images=row["images"],
        known_hashes=frozenset(row["known_hashes"]),
        known_photo_ids=frozenset(row["known_photo_ids"]),
        images_by_provider=row["images_by_provider"],
        checked_at=row["images_checked_at"],
        checks=checks,
    )

"""The SQL that makes image rows of photos: one statement for all photos of a venue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from venue_images import photo_ranking, photo_urls
from venue_images.errors import ErrorType
from venue_images.models import UploadStatus
from venue_images.providers.base import Photo

#: A longer id has no place in the row; half of one would be of no use.
LONGEST_PHOTO_ID = 500


def _row_of(photo: Photo, policy: str) -> dict[str, Any]:
    """An image row for a photo: pending, or failed at once when its address can't be meant."""
    row = {
        "provider": photo.provider,
        "provider_photo_id": photo.photo_id if len(photo.photo_id) <= LONGEST_PHOTO_ID else "",
        "provider_url": photo.url,
        "width": photo.width,
        "height": photo.height,
        "score": photo_ranking.score(photo.width, photo.height),
        "attribution": photo.attribution,
        "licence": photo.licence,
        "page_url": photo.page_url,
        "report_path": photo.report_path,
        "url": photo.url if policy == "hotlink" else "",
        "upload_status": UploadStatus.HOTLINKED if policy == "hotlink" else UploadStatus.PENDING,
        "error_type": None,
        "error_message": "",
    }
    try:
        return {**row, "url_hash": photo_urls.url_hash(photo.url), "host": photo_urls.host_of(photo.url)}
    except photo_urls.InvalidUrlError as error:
        return {
            **row,
            "url_hash": photo_urls.hash_of_text(photo.url),
            "provider_url": photo_urls.shorten(photo.url),
            "host": "",
            "url": "",
            "upload_status": UploadStatus.PERMANENTLY_FAILED,
            "error_type": str(ErrorType.INVALID_PROVIDER_URL),
            "error_message": str(error),
        }


DISCOVER = """
    INSERT INTO venue_images_venueimage (
        venue_id, provider, provider_photo_id, provider_url, url_hash, host, width, height, score, attribution, licence,
        page_url, report_path, url, upload_status, error_type, error_message, failed_at
    )
    SELECT %(venue)s, provider, provider_photo_id, provider_url, url_hash, host, width, height, score, attribution,
           licence, page_url, report_path, url, upload_status, error_type, error_message,
           CASE WHEN error_type IS NULL THEN NULL ELSE now() END
    FROM jsonb_to_recordset(%(rows)s) AS photo (
        provider text, provider_photo_id text, provider_url text, url_hash text, host text, width int, height int,
        score float8, attribution text, licence text, page_url text, report_path text, url text, upload_status text, error_type text, error_message text
    )
    ON CONFLICT (venue_id, url_hash) DO NOTHING
    RETURNING upload_status
"""


async def discover(
    connection: AsyncConnection,
    venue_id: int,
    photos: Sequence[Photo],
    policies: Mapping[str, str],
    *,
    checked: bool,
) -> list[str]:
    """Add a row for each new photo and note whether the venue was ``checked``; the new rows' states.

    ``policies``: by provider, ``store`` or ``hotlink``. A photo that the venue has already is left as it is.
    """
    rows = [_row_of(photo, policies.get(photo.provider, "store")) for photo in photos]
    async with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        if checked:
            await cursor.execute("UPDATE venue_images_venue SET images_checked_at = now() WHERE id = %s", [venue_id])
        await cursor.execute(DISCOVER, {"venue": venue_id, "rows": Jsonb(rows)})
        return [row["upload_status"] for row in await cursor.fetchall()]

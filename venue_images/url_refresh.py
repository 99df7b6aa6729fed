"""New addresses for images whose address has expired: what that would cost, and getting them once somebody agreed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count
from psycopg import AsyncConnection
from psycopg.rows import class_row

from venue_images import discovery, photo_urls
from venue_images.conf import unwanted_providers
from venue_images.discovery import Usable
from venue_images.errors import ErrorType
from venue_images.models import Provider as ProviderRow
from venue_images.models import UploadStatus, VenueImage
from venue_images.operation_log import OperationResult
from venue_images.providers import PROVIDERS, Photo
from venue_images.runtime import Runtime
from venue_images.venue_ledger import LoadedVenue


@dataclass(frozen=True)
class StaleImage:
    """An image that can't be had from the address that it has."""

    id: int
    provider: str
    provider_url: str
    provider_photo_id: str
    width: int | None
    height: int | None
    attribution: str

    @property
    def photo(self) -> Photo:
        return Photo(
            provider=self.provider,
            url=self.provider_url,
            photo_id=self.provider_photo_id,
            width=self.width,
            height=self.height,
            attribution=self.attribution,
        )


def offers(venue_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """What new addresses would cost, by provider: ``provider, images, venues, calls, cost_usd``.

    Of all venues, or of these. A provider that can't be asked now is left out.
    """
    stale = VenueImage.objects.filter(upload_status=UploadStatus.FAILED, error_type=ErrorType.URL_EXPIRED).exclude(
        provider__in=unwanted_providers()
    )
    if venue_ids is not None:
        stale = stale.filter(venue_id__in=venue_ids)
    counts = stale.order_by().values("provider").annotate(images=Count("id"), venues=Count("venue_id", distinct=True))
    rows = {row.name: row for row in ProviderRow.objects.filter(active=True)}
    return [
        {**count, **_price(rows[count["provider"]], count["images"], count["venues"])}
        for count in counts.order_by("provider")
        if count["provider"] in rows
        and count["provider"] in PROVIDERS
        and not discovery.obstacle(PROVIDERS[count["provider"]])
    ]


def _price(row: ProviderRow, images: int, venues: int) -> dict[str, Any]:
    info = PROVIDERS[row.name].info
    calls = (info.refresh_calls_per_venue * venues, info.refresh_calls_per_image * images)
    cost = calls[0] * row.cost_per_call + calls[1] * row.cost_per_image
    return {"calls": sum(calls), "cost_usd": float(cost)}


async def refresh(
    runtime: Runtime, venue: LoadedVenue, providers: Sequence[Usable], agreed_at: datetime | None = None
) -> OperationResult:
    """Ask for new addresses and set the images back to pending; one that its provider has no more stays as it is.

    What has expired since the price was agreed to is left for the next time.
    """
    async with runtime.pool.connection() as connection:
        stale = await _stale_images(connection, venue.record.id, agreed_at)
    result = OperationResult()
    for usable in providers:
        images = [image for image in stale if image.provider == usable.name]
        if images:
            result.add(await _refresh_provider(runtime, venue, usable, images))
    return result


async def _refresh_provider(
    runtime: Runtime, venue: LoadedVenue, usable: Usable, images: Sequence[StaleImage]
) -> OperationResult:
    asked = usable.asked_through(runtime)
    fresh: Sequence[Photo | None] = ()
    if not asked.held:
        question = usable.provider.refresh([image.photo for image in images], venue.record, asked.api)
        fresh = await discovery.answer(asked, question) or ()
    for image, photo in zip(images, fresh, strict=False):
        if photo and (resolved := await discovery.resolve(asked, photo)):
            # Written at once: it may have been paid.
            async with runtime.pool.connection() as connection:
                await _replace_url(connection, venue.record.id, image.id, resolved)
            asked.photos.append(resolved)
    if asked.is_done:
        # What is not there any more is not asked for again until somebody agrees to a price again.
        async with runtime.pool.connection() as connection:
            await _note_refusal(connection, [image.id for image in images])
    return OperationResult(
        metered_calls=asked.api.metered_calls,
        cost_usd=asked.api.cost_usd,
        provider_results={usable.name: asked.to_json()},
        due_in=asked.due_in,
    )


async def _stale_images(connection: AsyncConnection, venue_id: int, until: datetime | None) -> list[StaleImage]:
    async with connection.cursor(row_factory=class_row(StaleImage)) as cursor:
        await cursor.execute(
            """
            SELECT id, provider, provider_url, provider_photo_id, width, height, attribution
            FROM venue_images_venueimage
            WHERE venue_id = %s AND upload_status = %s AND error_type = %s AND provider <> ALL(%s)
              AND (failed_at IS NULL OR failed_at <= coalesce(%s, now()))
            ORDER BY score DESC, id
            """,
            [venue_id, UploadStatus.FAILED, ErrorType.URL_EXPIRED, unwanted_providers(), until],
        )
        return await cursor.fetchall()


async def _note_refusal(connection: AsyncConnection, image_ids: Sequence[int]) -> None:
    """Let those of the images that have no new address have failed now."""
    await connection.execute(
        "UPDATE venue_images_venueimage SET failed_at = now() WHERE id = ANY(%s) AND error_type = %s",
        [list(image_ids), ErrorType.URL_EXPIRED],
    )


async def _replace_url(connection: AsyncConnection, venue_id: int, image_id: int, photo: Photo) -> None:
    """Give the image its new address and set it back to pending, unless the venue has that photo already."""
    try:
        url = photo_urls.clean(photo.url)
    except photo_urls.InvalidUrlError:
        return
    await connection.execute(
        """
        UPDATE venue_images_venueimage
        SET provider_url = %(url)s, url_hash = %(hash)s, host = %(host)s, url_obtained_at = now(),
            upload_status = %(pending)s, error_type = NULL, error_message = '', http_status = NULL,
            retry_count = 0, next_attempt_at = NULL, not_before = NULL, claimed_at = NULL
        WHERE id = %(id)s AND upload_status = %(failed)s AND error_type = %(expired)s AND NOT EXISTS (
            SELECT FROM venue_images_venueimage AS other
            WHERE other.venue_id = %(venue)s AND other.url_hash = %(hash)s AND other.id <> %(id)s
        )
        """,
        {
            "id": image_id,
            "venue": venue_id,
            "url": url,
            "hash": photo_urls.url_hash(url),
            "host": photo_urls.host_of(url),
            "pending": UploadStatus.PENDING,
            "failed": UploadStatus.FAILED,
            "expired": ErrorType.URL_EXPIRED,
        },
    )

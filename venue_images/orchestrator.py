"""What is done to one venue: ask the providers and upload, or only upload what failed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from decimal import Decimal

import psycopg

from venue_images import discovery, image_ledger, operation_log, photo_ledger, uploads, venue_ledger
from venue_images.conf import settings
from venue_images.errors import ErrorType
from venue_images.image_ledger import Scope
from venue_images.models import Operation, UploadStatus, Venue
from venue_images.operation_log import OperationResult
from venue_images.providers import Provider
from venue_images.runtime import Runtime, open_runtime
from venue_images.venue_ledger import LoadedVenue

logger = logging.getLogger(__name__)

#: Venues under way at once in one process.
VENUES_AT_ONCE = 16

#: Upload what was found and not tried yet.
NEW_IMAGES = Scope(failed=False)


async def enrich_venue(
    venue: Venue | int,
    *,
    force: bool = False,
    providers: Sequence[str] | None = None,
    retry_failed_only: bool = False,
    scope: Scope | None = None,
    run_id: int | None = None,
    runtime: Runtime | None = None,
) -> OperationResult:
    """Give one venue its photos.

    Normally: ask the active ``providers`` if the venue is stale (or with ``force``), add rows for the best photos, and
    upload every image that was not tried yet. With ``retry_failed_only``: upload the images of ``scope`` again from the
    URLs that they have; no provider's API is called. Images that are stored already are never touched.

    A venue that has been deleted meanwhile is nothing to do. Raises :class:`UserError` for a provider that does not exist
    or can't be used.
    """
    venue_id = venue if isinstance(venue, int) else venue.pk
    async with _given_or_opened(runtime) as opened:
        if retry_failed_only:
            return await _retry(opened, venue_id, scope or Scope(), run_id)
        return await _enrich(opened, venue_id, force, providers)


def enrich_venue_sync(venue: Venue | int, **options: object) -> OperationResult:
    """:func:`enrich_venue` for shells and scripts."""
    return asyncio.run(enrich_venue(venue, **options))  # type: ignore[arg-type]


async def enrich_venues(
    runtime: Runtime,
    venue_ids: Sequence[int],
    *,
    done: Callable[[OperationResult], None],
    **options: object,
) -> OperationResult:
    """:func:`enrich_venue` for many, several at once; ``done`` hears of each. The figures are added up.

    A venue that the database refuses is skipped and counted; its images stay as they are.
    """
    total, waiting = OperationResult(), iter(venue_ids)

    async def work() -> None:
        for venue_id in waiting:
            try:
                result = await enrich_venue(venue_id, runtime=runtime, **options)  # type: ignore[arg-type]
            except psycopg.Error as error:
                logger.error("venue.skipped venue=%s error=%s", venue_id, type(error).__name__)  # noqa: TRY400
                result = OperationResult(venues_skipped=1)
            total.add(result)
            done(result)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(VENUES_AT_ONCE, len(venue_ids))):
            group.create_task(work())
    return total


@contextlib.asynccontextmanager
async def _given_or_opened(runtime: Runtime | None) -> AsyncIterator[Runtime]:
    if runtime is not None:
        yield runtime
        return
    async with open_runtime("command") as opened:
        yield opened


async def _retry(runtime: Runtime, venue_id: int, scope: Scope, run_id: int | None) -> OperationResult:
    async with runtime.pool.connection() as connection, connection.transaction():
        slug = await venue_ledger.slug_of(connection, venue_id)
        images = await image_ledger.claim(connection, venue_id, runtime.worker_id, scope, settings().max_attempts)
        if slug is None or not images:
            return OperationResult()
        operation_id = await operation_log.begin(connection, runtime.worker_id, venue_id, Operation.Kind.RETRY, run_id)
    result = OperationResult(venues=1)
    result.add(await _upload(runtime, slug, images, operation_id))
    await operation_log.complete(runtime, operation_id, result)
    return result


async def _enrich(runtime: Runtime, venue_id: int, force: bool, names: Sequence[str] | None) -> OperationResult:
    providers = await discovery.usable_providers(runtime, names)
    async with runtime.pool.connection() as connection:
        venue = await venue_ledger.load(connection, venue_id)
        if venue is None:
            return OperationResult()
        operation_id = await operation_log.begin(connection, runtime.worker_id, venue_id, Operation.Kind.ENRICHMENT)
    result = OperationResult(venues=1)
    if force or venue.stale:
        result.add(await _discover(runtime, venue, providers, complete=names is None))
    async with runtime.pool.connection() as connection:
        images = await image_ledger.claim(connection, venue_id, runtime.worker_id, NEW_IMAGES, settings().max_attempts)
    result.add(await _upload(runtime, venue.record.slug, images, operation_id))
    await operation_log.complete(runtime, operation_id, result)
    return result


async def _discover(
    runtime: Runtime, venue: LoadedVenue, providers: Sequence[Provider], *, complete: bool
) -> OperationResult:
    """Ask the providers and add rows for the best photos; a photo whose address is no URL counts as failed.

    The venue counts as checked when all providers were asked (``complete``) and none failed in a way that may pass. A
    venue without room for one more photo is not worth a call.
    """
    room = discovery.room_for(venue.images)
    photos, asked = await discovery.find_photos(runtime, venue, providers if room > 0 else (), room)
    checked = complete and all(one.error is None or one.is_final for one in asked)
    async with runtime.pool.connection() as connection:
        states = await photo_ledger.discover(connection, venue.record.id, photos, discovery.policies(), checked=checked)
    invalid = states.count(UploadStatus.PERMANENTLY_FAILED)
    return OperationResult(
        images_discovered=len(states),
        images_hotlinked=states.count(UploadStatus.HOTLINKED),
        images_failed=invalid,
        images_permanently_failed=invalid,
        metered_calls=sum(one.api.metered_calls for one in asked),
        cost_usd=sum((one.api.cost_usd for one in asked), Decimal(0)),
        failure_breakdown={str(ErrorType.INVALID_PROVIDER_URL): invalid} if invalid else {},
        provider_results={one.provider.info.name: one.to_json() for one in asked},
    )


async def _upload(
    runtime: Runtime, slug: str, images: Sequence[image_ledger.ClaimedImage], operation_id: int
) -> OperationResult:
    counts = await uploads.upload_images(runtime, slug, images, operation_id)
    return OperationResult(
        images_tried=len(images),
        images_uploaded=counts.uploaded,
        images_failed=counts.failed,
        images_permanently_failed=counts.permanently_failed,
        failure_breakdown=dict(counts.by_error_type),
    )

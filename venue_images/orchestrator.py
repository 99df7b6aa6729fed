"""What is done to one venue: ask the providers and upload, or only upload what failed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import psycopg

from venue_images import (
    circuits,
    discovery,
    image_ledger,
    operation_log,
    photo_ledger,
    provider_ledger,
    retry_policy,
    uploads,
    url_refresh,
    venue_ledger,
)
from venue_images.conf import settings
from venue_images.discovery import Asked, Usable
from venue_images.errors import ErrorClass, ErrorType
from venue_images.image_ledger import Scope
from venue_images.models import Operation, UploadStatus, Venue
from venue_images.operation_log import OperationResult
from venue_images.provider_ledger import Check, CheckResult
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
    geocode: bool = False,
    refresh_urls: bool = False,
    retry_failed_only: bool = False,
    asked_at: datetime | None = None,
    scope: Scope | None = None,
    run_id: int | None = None,
    runtime: Runtime | None = None,
) -> OperationResult:
    """Give one venue its photos.

    Normally: ask the active ``providers`` if the venue is stale (or with ``force``), add rows for the best photos, and
    upload every image that was not tried yet. A provider that has answered since ``asked_at`` is not asked twice.
    ``geocode``: look for the venue at every provider that has no id of it. ``refresh_urls``: get new addresses for images
    whose address has expired, and ask for nothing else; this may cost.

    With ``retry_failed_only``: upload the images of ``scope`` again from the URLs that they have; no provider's API is
    called. Images that are stored already are never touched.

    A venue that has been deleted meanwhile is nothing to do. Raises :class:`UserError` for a provider that does not exist
    or can't be used.
    """
    venue_id = venue if isinstance(venue, int) else venue.pk
    async with _given_or_opened(runtime) as opened:
        if retry_failed_only:
            return await _retry(opened, venue_id, scope or Scope(), run_id)
        wish = Wish(force, providers, geocode, refresh_urls, asked_at)
        return await _enrich(opened, venue_id, wish)


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
    result.saved_usd = await _saved(runtime, result.uploaded_by_provider)
    await operation_log.complete(runtime, operation_id, result)
    return result


@dataclass(frozen=True)
class Wish:
    """What an enrichment was asked for; see :func:`enrich_venue`."""

    force: bool = False
    names: Sequence[str] | None = None
    geocode: bool = False
    refresh_urls: bool = False
    asked_at: datetime | None = None


@dataclass(frozen=True)
class Round:
    """Who is asked about a venue now."""

    asked: Sequence[Asked] = ()
    #: Seconds until another provider may be asked; None: no other is left.
    due_in: float | None = None
    #: Every provider has answered, or is asked now.
    is_whole: bool = True


async def _enrich(runtime: Runtime, venue_id: int, wish: Wish) -> OperationResult:
    providers = await discovery.usable_providers(runtime, wish.names)
    async with runtime.pool.connection() as connection:
        venue = await venue_ledger.load(connection, venue_id)
    if venue is None:
        return OperationResult()
    result = OperationResult(venues=1)
    async with operation_log.operation(runtime, venue_id, Operation.Kind.ENRICHMENT, result) as operation:
        if wish.refresh_urls:
            await operation.begin()
            result.add(await url_refresh.refresh(runtime, venue, providers, wish.asked_at))
        elif wish.force or venue.stale:
            this_round = _round(runtime, venue, providers, wish)
            if any(one.provider.info.base_url for one in this_round.asked):
                await operation.begin()
            result.add(await _discover(runtime, venue, this_round, wish))
        result.add(await _report_uses(runtime, venue_id, providers))
        async with runtime.pool.connection() as connection:
            images = await image_ledger.claim(
                connection, venue_id, runtime.worker_id, NEW_IMAGES, settings().max_attempts
            )
        if images:
            result.add(await _upload(runtime, venue.record.slug, images, await operation.begin()))
    return result


async def _discover(runtime: Runtime, venue: LoadedVenue, this_round: Round, wish: Wish) -> OperationResult:
    """Ask the providers and add rows for the best photos; a photo whose address is no URL counts as failed.

    The venue counts as checked when all providers were asked and none has to be asked again.
    """
    asked = this_round.asked
    photos = await discovery.find_photos(asked, venue, discovery.room_for(venue.images), geocode=wish.geocode)
    checks = [_check(one, venue) for one in asked]
    checked = wish.names is None and this_round.is_whole and all(check.is_done for check in checks)
    policies = {one.name: discovery.policy_of(one.provider) for one in asked}
    found_ids = {name: place for one in asked for name, place in one.found_ids.items()}
    # One transaction, and so one time, for the venue and its providers.
    async with runtime.pool.connection() as connection, connection.transaction():
        states = await photo_ledger.discover(connection, venue.record.id, photos, policies, checked=checked)
        await provider_ledger.save_checks(connection, venue.record.id, checks)
        await provider_ledger.keep_ids(connection, venue.record.id, found_ids)
    invalid = states.count(UploadStatus.PERMANENTLY_FAILED)
    waits = [this_round.due_in, *(check.due_in for check in checks)]
    return OperationResult(
        images_discovered=len(states),
        images_hotlinked=states.count(UploadStatus.HOTLINKED),
        images_failed=invalid,
        images_permanently_failed=invalid,
        metered_calls=sum(one.api.metered_calls for one in asked),
        cost_usd=sum((one.api.cost_usd for one in asked), Decimal(0)),
        failure_breakdown={str(ErrorType.INVALID_PROVIDER_URL): invalid} if invalid else {},
        provider_results={one.name: one.to_json() for one in asked},
        due_in=min((wait for wait in waits if wait is not None), default=None),
    )


def _round(runtime: Runtime, venue: LoadedVenue, providers: Sequence[Usable], wish: Wish) -> Round:
    """Ask those that have not answered and whose time has come; one that failed for good in this job is left alone.

    Who asks anew does not wait for what came of an earlier wish: the gates know whether its reason still stands. A venue without room for one more photo is not worth a call.
    """
    asked, waits, is_whole = [], [], True
    for usable in providers if discovery.room_for(venue.images) > 0 else ():
        check = venue.checks.get(usable.name, Check(usable.name))
        if usable.provider.info.base_url and _has_answered(check, venue, wish):
            continue
        was_tried = check.was_tried_since(wish.asked_at)
        is_new_wish = wish.force or wish.asked_at is not None
        if check.due_in is not None and check.due_in > 0 and (was_tried or not is_new_wish):
            waits.append(check.due_in)
        elif was_tried and check.due_in is None and usable.provider.info.base_url:
            is_whole = False
        else:
            asked.append(usable.asked_through(runtime, is_retry=check.failures > 0))
    return Round(asked, min(waits, default=None), is_whole and not waits)


def _has_answered(check: Check, venue: LoadedVenue, wish: Wish) -> bool:
    """Whether the provider has said this time already what it has to say."""
    if not wish.force:
        return check.has_answered_since(venue.checked_at)
    return wish.asked_at is not None and check.has_answered_since(wish.asked_at)


def _check(asked: Asked, venue: LoadedVenue) -> CheckResult:
    """What goes into the row: done, or when somebody has to come back for it."""
    due_in = asked.due_in
    failures = venue.checks.get(asked.name, Check(asked.name)).failures + 1
    if asked.error:
        error_class = asked.error.error_type.error_class
        if error_class is ErrorClass.TRANSIENT and failures < settings().max_attempts:
            due_in = max(retry_policy.back_off(failures).total_seconds(), asked.error.retry_after or 0)
        elif error_class is ErrorClass.BLOCKED:
            due_in = circuits.FIRST_BLOCKED_PAUSE
    return CheckResult(
        provider=asked.name,
        is_done=asked.is_done,
        due_in=due_in,
        spread=asked.api.choices.seconds_per_call / 2 if asked.held else 0.0,
        has_failed=asked.error is not None,
        confidence=asked.match.confidence if asked.match else None,
        note=asked.note,
    )


async def _report_uses(runtime: Runtime, venue_id: int, providers: Sequence[Usable]) -> OperationResult:
    """Tell the providers which of their photos were chosen, once each, where their terms want it."""
    usable = {one.name: one for one in providers}
    async with runtime.pool.connection() as connection:
        chosen = await provider_ledger.unreported(connection, venue_id, list(usable))
    result = OperationResult()
    for image in chosen:
        asked = usable[image.provider].asked_through(runtime)
        if not asked.held:
            await discovery.answer(asked, asked.provider.report(image.report_path, asked.api))
        due_in, is_told = asked.due_in, asked.api.calls > 0
        if asked.error and asked.error.error_type is ErrorType.RATE_LIMITED:
            due_in, is_told = asked.error.retry_after or retry_policy.BASE.total_seconds(), False
        result.add(OperationResult(due_in=due_in))
        if not is_told:
            async with runtime.pool.connection() as connection:
                await provider_ledger.not_reported(connection, image.id)
    return result


async def _saved(runtime: Runtime, recovered: Mapping[str, int]) -> Decimal:
    """US dollars that asking the providers again would have cost for these images of one venue, by provider."""
    if not recovered:
        return Decimal(0)
    async with runtime.pool.connection() as connection:
        choices = await provider_ledger.choices(connection)
    known = [(choices[name], images) for name, images in recovered.items() if name in choices]
    return sum((row.cost_per_call + row.cost_per_image * images for row, images in known), Decimal(0))


async def _upload(
    runtime: Runtime, slug: str, images: Sequence[image_ledger.ClaimedImage], operation_id: int
) -> OperationResult:
    counts = await uploads.upload_images(runtime, slug, images, operation_id)
    return OperationResult(
        images_tried=counts.tried,
        images_uploaded=counts.uploaded,
        images_failed=counts.failed,
        images_permanently_failed=counts.permanently_failed,
        failure_breakdown=dict(counts.by_error_type),
        uploaded_by_provider=dict(counts.by_provider),
    )

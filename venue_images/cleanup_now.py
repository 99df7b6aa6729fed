"""The cleanup in this process: what will be done (preview), and doing it at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from django.db.models import Avg, Count
from psycopg.rows import tuple_row

from venue_images import cleanup_scheduler, image_ledger, job_queue, orchestrator
from venue_images.conf import settings, unwanted_providers
from venue_images.errors import ErrorType, retried_types
from venue_images.image_ledger import Scope
from venue_images.models import CleanupRun, Provider, Trigger, UploadAttempt, VenueImage
from venue_images.operation_log import OperationResult
from venue_images.runtime import CONCURRENCY, Runtime, open_runtime

#: A person at a terminal waits this long for a host's Retry-After; what is due later stays for the next run.
PATIENCE = 15
#: Seconds an upload takes, as long as nothing was measured.
GUESSED_SECONDS = 0.5
#: Attempts from which the usual time is taken.
MEASURED = 1000


def preview(*, include_ambiguous: bool = False) -> dict[str, Any]:
    """What a cleanup would do now: the keys of ``cleanup --dry-run``."""
    retryable = VenueImage.objects.retryable(include_ambiguous=include_ambiguous)
    images = retryable.count()
    return {
        "venues": retryable.aggregate(venues=Count("venue_id", distinct=True))["venues"],
        "images": images,
        "by_class": _by_class(retryable),
        "by_provider": _counts(retryable, "provider"),
        "by_host": _counts(retryable, "host"),
        "eta_seconds": round(images * _usual_seconds() / CONCURRENCY, 1),
        "metered_calls": 0,
        "reenrichment_cost_usd": _reenrichment_cost(retryable.values("venue_id")),
    }


def perform_now(
    *, include_ambiguous: bool = False, progress: Callable[[int, int], None] = lambda _done, _all: None
) -> dict[str, Any]:
    """Retry in this process, each image once, without waiting for our own back-off: the keys of ``cleanup --now``.

    ``progress`` hears how many of how many venues are done. A host's Retry-After is kept.
    """
    started = time.monotonic()
    run = CleanupRun.objects.create(trigger=Trigger.COMMAND, include_ambiguous=include_ambiguous)
    try:
        cleanup_scheduler.begin(run)
        retryable = cleanup_scheduler.retryable_venues(include_ambiguous=include_ambiguous)
        run.venues_queued = len(retryable)
        venues = list(dict.fromkeys([*retryable, *cleanup_scheduler.unfinished_venues()]))
        scope = Scope(ambiguous=include_ambiguous, asked_at=job_queue.database_time(), once=True)
        total = asyncio.run(_retry(venues, scope, run, progress))
    except BaseException:
        cleanup_scheduler.finish(run, CleanupRun.State.FAILED, message="Stopped before its end.")
        raise
    cleanup_scheduler.finish(run, CleanupRun.State.FINISHED, message=" ".join(total.problems()))
    return _report(run, total, time.monotonic() - started)


async def _retry(
    venues: list[int], scope: Scope, run: CleanupRun, progress: Callable[[int, int], None]
) -> OperationResult:
    finished = 0

    def done(_result: OperationResult) -> None:
        nonlocal finished
        finished += 1
        progress(min(finished, len(venues)), len(venues))

    async with open_runtime("command") as runtime:
        options: Mapping[str, Any] = {"retry_failed_only": True, "scope": scope, "run_id": run.pk, "done": done}
        total = await orchestrator.enrich_venues(runtime, venues, **options)
        while waiting := await _held_by_host(runtime, scope):
            await asyncio.sleep(max(waiting.values()))
            once_more = await orchestrator.enrich_venues(runtime, list(waiting), **options)
            if not once_more.images_tried and not max(waiting.values()):
                break
            # Counted already.
            once_more.venues_skipped = 0
            total.add(once_more)
    return total


async def _held_by_host(runtime: Runtime, scope: Scope) -> dict[int, float]:
    """Venues with images that were not tried yet: a host, a limit or a circuit wants a little time, and how much."""
    types = retried_types(on_request=scope.ambiguous)
    parameters = [types, settings().max_attempts, scope.asked_at, unwanted_providers(), PATIENCE]
    async with (
        runtime.pool.connection() as connection,
        psycopg.AsyncCursor(connection, row_factory=tuple_row) as cursor,
    ):
        await cursor.execute(
            f"""
            SELECT venue_id, greatest(extract(epoch FROM max(due) - now()), 0)::float8 FROM (
                SELECT venue_id, greatest(now(), not_before, {image_ledger.CIRCUIT_TRY}) AS due FROM venue_images_venueimage
                WHERE (upload_status = 'pending'
                       OR upload_status = 'failed' AND error_type = ANY(%s) AND retry_count < %s)
                  AND (claimed_at IS NULL OR claimed_at < %s) AND provider <> ALL(%s)
            ) AS held
            WHERE due <= now() + make_interval(secs => %s) GROUP BY venue_id
            """,
            parameters,
        )
        return dict(await cursor.fetchall())


def _report(run: CleanupRun, total: OperationResult, seconds: float) -> dict[str, Any]:
    return {
        "run_id": run.pk,
        "venues_scanned": run.venues_scanned,
        "venues_queued": run.venues_queued,
        "permanent_logged": run.permanent_logged,
        "ambiguous_skipped": run.ambiguous_skipped,
        "images_retried": total.images_tried,
        "images_recovered": total.images_uploaded,
        "images_still_failed": total.images_failed - total.images_permanently_failed,
        "images_permanently_failed": total.images_permanently_failed,
        "metered_calls": total.metered_calls,
        "saved_usd": float(total.saved_usd),
        "seconds": round(seconds, 3),
    }


def _by_class(images: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for error_type, count in _counts(images, "error_type").items():
        error_class = str(ErrorType(error_type).error_class)
        counts[error_class] = counts.get(error_class, 0) + count
    return counts


def _counts(images: Any, name: str) -> dict[str, int]:
    return {row[name]: row["images"] for row in images.order_by().values(name).annotate(images=Count("id"))}


def _usual_seconds() -> float:
    newest = UploadAttempt.objects.order_by("-id").values("seconds")[:MEASURED]
    return (
        UploadAttempt.objects.filter(pk__in=newest.values("pk")).aggregate(usual=Avg("seconds"))["usual"]
        or GUESSED_SECONDS
    )


def _reenrichment_cost(venues: Any) -> float:
    """US dollars that asking the providers again for all images of these venues would cost."""
    prices = Provider.objects.filter(metered=True).values_list("name", "cost_per_image")
    images = VenueImage.objects.filter(venue_id__in=venues, provider__in=[name for name, _ in prices])
    counts = dict(images.order_by().values_list("provider").annotate(images=Count("id")))
    return float(sum(price * counts.get(name, 0) for name, price in prices))

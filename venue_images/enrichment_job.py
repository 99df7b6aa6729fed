"""The enrichment of venues: asking the providers for photos and uploading them, one job a venue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from django.db import connection
from pgqueuer.domain.errors import RetryRequested

from venue_images import image_ledger, job_queue, orchestrator, venue_ledger
from venue_images.conf import settings
from venue_images.job_queue import NewJob
from venue_images.runtime import Runtime

PAGE = 5000


def enqueue(*, force: bool = False) -> int:
    """Queue every stale venue (with ``force``: every venue); the number that were not queued already."""
    return sum(enqueue_batch(page, force=force) for page in _pages(None, force))


def enqueue_venue(venue_id: int, *, force: bool = False, providers: Sequence[str] | None = None) -> bool:
    """Queue one venue; False when it is queued or running already."""
    return enqueue_batch([venue_id], force=force, providers=providers) > 0


def enqueue_batch(venue_ids: Iterable[int], *, force: bool = False, providers: Sequence[str] | None = None) -> int:
    """Queue these venues; the number that were not queued already."""
    payload = {"force": force, "providers": providers, "queued_at": job_queue.database_time().isoformat()}
    jobs = [NewJob({"venue": venue, **payload}, f"enrich:{venue}") for venue in venue_ids]
    return job_queue.enqueue(job_queue.ENRICH, jobs)


def enqueue_stale_venues(venue_ids: Sequence[int] | None = None) -> int:
    """Queue those of the venues (None: of all) that are stale; the number that were not queued already."""
    return sum(enqueue_batch(page) for page in _pages(venue_ids, everything=False))


def stale_venues(venue_ids: Sequence[int] | None = None) -> list[int]:
    """Those of the venues (None: of all) that are stale."""
    return [venue for page in _pages(venue_ids, everything=False) for venue in page]


async def perform(payload: Mapping[str, Any], runtime: Runtime) -> None:
    """Run one enrichment job; run again after a crash, it does not ask the providers a second time.

    Images that another worker is at, or that this one had to leave, make the job wait: :class:`RetryRequested`.
    """
    venue_id = int(payload["venue"])
    force = bool(payload.get("force")) and not await _checked_since(runtime, venue_id, payload["queued_at"])
    await orchestrator.enrich_venue(venue_id, force=force, providers=payload.get("providers"), runtime=runtime)
    async with runtime.pool.connection() as pooled:
        delay = await image_ledger.next_due(pooled, venue_id, orchestrator.NEW_IMAGES, settings().max_attempts)
    if delay is not None:
        raise RetryRequested(delay=delay, reason="images of this venue are not done yet")


async def _checked_since(runtime: Runtime, venue_id: int, queued_at: str) -> bool:
    async with runtime.pool.connection() as pooled:
        cursor = await pooled.execute(
            "SELECT images_checked_at >= %s::timestamptz FROM venue_images_venue WHERE id = %s", [queued_at, venue_id]
        )
        row = await cursor.fetchone()
    return bool(row and row[0])


def _pages(venue_ids: Sequence[int] | None, everything: bool) -> Iterator[list[int]]:
    last, ids = 0, None if venue_ids is None else list(venue_ids)
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                SELECT id FROM venue_images_venue AS venue
                WHERE id > %s AND (%s::bigint[] IS NULL OR id = ANY(%s::bigint[])) AND (%s OR {venue_ledger.STALE})
                ORDER BY id LIMIT %s
                """,
                [last, ids, ids, everything, PAGE],
            )
            page = [int(row[0]) for row in cursor.fetchall()]
        if not page:
            return
        yield page
        last = page[-1]

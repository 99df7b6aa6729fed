"""The enrichment of venues: asking the providers for photos and uploading them, one job a venue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
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


def enqueue_venue(
    venue_id: int, *, force: bool = False, providers: Sequence[str] | None = None, geocode: bool = False
) -> bool:
    """Queue one venue; False when it is queued or running already."""
    return enqueue_batch([venue_id], force=force, providers=providers, geocode=geocode) > 0


def enqueue_batch(
    venue_ids: Iterable[int],
    *,
    force: bool = False,
    providers: Sequence[str] | None = None,
    geocode: bool = False,
    refresh_urls: bool = False,
) -> int:
    """Queue these venues; the number that were not queued already. The options are those of ``enrich_venue``."""
    payload = {
        "force": force,
        "providers": providers,
        "geocode": geocode,
        "refresh_urls": refresh_urls,
        "queued_at": job_queue.database_time().isoformat(),
    }
    prefix = "refresh" if refresh_urls else "enrich"
    jobs = [NewJob({"venue": venue, **payload}, f"{prefix}:{venue}") for venue in venue_ids]
    return job_queue.enqueue(job_queue.ENRICH, jobs)


def enqueue_stale_venues(venue_ids: Sequence[int] | None = None) -> int:
    """Queue those of the venues (None: of all) that are stale; the number that were not queued already."""
    return sum(enqueue_batch(page) for page in _pages(venue_ids, everything=False))


def stale_venues(venue_ids: Sequence[int] | None = None) -> list[int]:
    """Those of the venues (None: of all) that are stale."""
    return [venue for page in _pages(venue_ids, everything=False) for venue in page]


async def perform(payload: Mapping[str, Any], runtime: Runtime) -> None:
    """Run one enrichment job; run again after a crash, it asks no provider a second time.

    A provider that may be asked later, and images that another worker is at or that this one had to leave, make the job
    wait: :class:`RetryRequested`.
    """
    venue_id = int(payload["venue"])
    result = await orchestrator.enrich_venue(
        venue_id,
        force=bool(payload.get("force")),
        providers=payload.get("providers"),
        geocode=bool(payload.get("geocode")),
        refresh_urls=bool(payload.get("refresh_urls")),
        asked_at=datetime.fromisoformat(payload["queued_at"]),
        runtime=runtime,
    )
    async with runtime.pool.connection() as pooled:
        delay = await image_ledger.next_due(pooled, venue_id, orchestrator.NEW_IMAGES, settings().max_attempts)
    if result.due_in is not None:
        asked = timedelta(seconds=result.due_in)
        delay = asked if delay is None else min(delay, asked)
    if delay is not None:
        raise RetryRequested(delay=delay, reason="a provider or an image of this venue is due later")


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

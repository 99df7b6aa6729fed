"""The retry of one venue's failed uploads: from the URLs that they have, without one provider call."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pgqueuer.domain.errors import RetryRequested

from venue_images import circuits, image_ledger, job_queue, orchestrator
from venue_images.conf import settings
from venue_images.image_ledger import Scope
from venue_images.job_queue import NewJob
from venue_images.models import Venue
from venue_images.operation_log import OperationResult
from venue_images.runtime import Runtime, open_runtime


def enqueue_venue(venue_id: int) -> bool:
    """Queue the retry of the venue's transient failures; False when one is queued or running already."""
    return enqueue_venues({venue_id: timedelta(0)}) > 0


def enqueue_venue_images(venue_id: int, image_ids: Iterable[int]) -> bool:
    """Queue the retry of these images alone, ambiguous failures included; False when it is queued already."""
    ids = sorted(set(image_ids))
    digest = hashlib.sha256(repr(ids).encode()).hexdigest()[:16]
    payload = {"venue": venue_id, "images": ids, "ambiguous": True, "asked_at": _now()}
    return job_queue.enqueue(job_queue.RETRY, [NewJob(payload, f"retry:{venue_id}:{digest}")], bring_forward=True) > 0


def enqueue_venues(
    delays: Mapping[int, timedelta],
    *,
    run_id: int | None = None,
    include_ambiguous: bool = False,
    urgent: Container[int] = (),
) -> int:
    """Queue one retry for each venue, after its delay, the urgent ones first; the number that were not queued already.

    A retry that waits for a later time is brought forward, because somebody asks now. One for ambiguous failures is a job
    of its own, so that neither takes the other's place.
    """
    prefix = "retry-ambiguous" if include_ambiguous else "retry"
    payload = {"run": run_id, "ambiguous": include_ambiguous, "asked_at": _now()}
    jobs = [
        NewJob({"venue": venue, **payload}, f"{prefix}:{venue}", delay, is_urgent=venue in urgent)
        for venue, delay in delays.items()
    ]
    return job_queue.enqueue(job_queue.RETRY, jobs, bring_forward=True)


def enqueue_lost(venue_ids: Sequence[int]) -> int:
    """Queue the venues whose worker died; only what it left undone is taken up."""
    jobs = [NewJob({"venue": venue, "lost": True}, f"lost:{venue}") for venue in venue_ids]
    return job_queue.enqueue(job_queue.RETRY, jobs)


def perform_now(venue: Venue | int) -> OperationResult:
    """Retry the venue's transient failures in this process, each once, without waiting for our own back-off."""
    venue_id = venue if isinstance(venue, int) else venue.pk
    circuits.let_try()
    scope = Scope(asked_at=job_queue.database_time(), once=True)
    return asyncio.run(_perform_now(venue_id, scope))


async def _perform_now(venue_id: int, scope: Scope) -> OperationResult:
    async with open_runtime("command") as runtime:
        return await orchestrator.enrich_venue(venue_id, retry_failed_only=True, scope=scope, runtime=runtime)


async def perform(payload: Mapping[str, Any], runtime: Runtime) -> None:
    """Run one retry job. What is due later makes the job wait for that time: :class:`RetryRequested`."""
    scope = _scope(payload)
    venue_id = int(payload["venue"])
    await orchestrator.enrich_venue(
        venue_id, retry_failed_only=True, scope=scope, run_id=payload.get("run"), runtime=runtime
    )
    async with runtime.pool.connection() as connection:
        scope = _scope(await job_queue.latest_payload(connection, payload))
        delay = await image_ledger.next_due(connection, venue_id, scope, settings().max_attempts)
    if delay is not None:
        raise RetryRequested(delay=delay, reason="images of this venue are due later")


def _scope(payload: Mapping[str, Any]) -> Scope:
    asked_at, image_ids = payload.get("asked_at"), payload.get("images")
    return Scope(
        pending=image_ids is None,
        ambiguous=bool(payload.get("ambiguous")),
        only_lost=bool(payload.get("lost")),
        image_ids=None if image_ids is None else tuple(image_ids),
        asked_at=datetime.fromisoformat(asked_at) if asked_at else None,
    )


def _now() -> str:
    return job_queue.database_time().isoformat()

"""The cleanup: one scan of all failures that queues a retry for every venue with transient ones.

The button, the nightly run and the command all come through here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.db import connection, transaction
from django.db.models import Count, Min, Q, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from venue_images import circuits, failed_upload_retry_worker, image_ledger, job_queue
from venue_images.job_queue import NewJob
from venue_images.models import CleanupRun, Trigger, UploadStatus, VenueImage
from venue_images.providers import PROVIDERS

logger = logging.getLogger(__name__)

#: Only one cleanup waits or runs at a time.
DEDUPE_KEY = "cleanup"
PAGE = 5000
#: Providers whose addresses die within minutes or hours.
SHORT_LIVED = [name for name, provider in PROVIDERS.items() if provider.info.short_lived]


@dataclass(frozen=True)
class Enqueued:
    """The cleanup run that will happen, and whether it was queued before."""

    run_id: int
    already_queued: bool


def enqueue(
    *,
    trigger: Trigger = Trigger.COMMAND,
    user: AbstractBaseUser | AnonymousUser | None = None,
    include_ambiguous: bool = False,
) -> Enqueued:
    """Queue a cleanup, unless one waits or runs already."""
    with transaction.atomic():
        run = CleanupRun.objects.create(
            trigger=trigger, requested_by_id=user.pk if user else None, include_ambiguous=include_ambiguous
        )
        if not job_queue.enqueue(job_queue.CLEANUP, [NewJob({"run": run.pk}, DEDUPE_KEY)]):
            run.delete()
            return Enqueued(run_id=_waiting_run(include_ambiguous), already_queued=True)
    logger.info("cleanup.queued run=%s trigger=%s", run.pk, trigger)
    return Enqueued(run_id=run.pk, already_queued=False)


def _waiting_run(include_ambiguous: bool) -> int:
    """The run that waits or runs already; one that waits takes the wish for ambiguous failures along."""
    waiting = job_queue.waiting_payload(DEDUPE_KEY)
    run_id = waiting["run"] if waiting else CleanupRun.objects.order_by("-id").values_list("id", flat=True).first()
    if include_ambiguous and run_id:
        CleanupRun.objects.filter(pk=int(run_id), state=CleanupRun.State.QUEUED).update(include_ambiguous=True)
    return int(run_id or 0)


def perform(run_id: int) -> None:
    """Scan all failures and queue the retries; run again after a crash, it queues nothing twice."""
    run = CleanupRun.objects.filter(pk=run_id).first()
    if run is None or run.state in (CleanupRun.State.FINISHED, CleanupRun.State.FAILED):
        return
    try:
        begin(run)
        run.venues_queued = sum(_queue(run, page) for page in retryable_pages(run.include_ambiguous))
        _queue_unfinished(run)
        job_queue.forget_old_log()
    except Exception as error:
        finish(run, CleanupRun.State.FAILED, message=f"{type(error).__name__}: the log has the details.")
        raise
    finish(run, CleanupRun.State.FINISHED)


def begin(run: CleanupRun) -> None:
    """Start the run: give back what dead workers held, let stopped services be tried, then count what there is."""
    circuits.let_try()
    with connection.cursor() as cursor:
        cursor.execute(image_ledger.SWEEP)
    run.state, run.started_at = CleanupRun.State.RUNNING, timezone.now()
    failing = VenueImage.objects.failing()
    run.venues_scanned = failing.aggregate(venues=Count("venue_id", distinct=True))["venues"]
    run.permanent_logged = _log_permanent(run)
    run.ambiguous_skipped = 0 if run.include_ambiguous else VenueImage.objects.ambiguous().count()
    run.save()


def finish(run: CleanupRun, state: CleanupRun.State, message: str = "") -> None:
    run.state, run.finished_at, run.message = state, timezone.now(), message
    run.save()
    logger.info("cleanup.%s run=%s venues_queued=%s", state, run.pk, run.venues_queued)


class Retryable(NamedTuple):
    """A venue with failures to retry."""

    #: When the first of them may be tried.
    first_due: datetime
    #: One of them has an address that dies soon.
    is_urgent: bool


def retryable_pages(include_ambiguous: bool) -> Iterator[dict[int, Retryable]]:
    """The venues with failures to retry, by their ids: by pages, in the order of the ids."""
    last, now = 0, timezone.now()
    while True:
        rows = (
            VenueImage.objects.retryable(include_ambiguous=include_ambiguous)
            .filter(venue_id__gt=last)
            .values("venue_id")
            .annotate(
                first_due=Min(Coalesce("not_before", Value(now))),
                urgent=Count("id", filter=Q(provider__in=SHORT_LIVED)),
            )
            .order_by("venue_id")[:PAGE]
        )
        page = {row["venue_id"]: Retryable(row["first_due"], row["urgent"] > 0) for row in rows}
        if not page:
            return
        yield page
        last = max(page)


def retryable_venues(*, include_ambiguous: bool) -> list[int]:
    """All of them, those whose addresses die soon first."""
    venues = {venue: one for page in retryable_pages(include_ambiguous) for venue, one in page.items()}
    return sorted(venues, key=lambda venue: (not venues[venue].is_urgent, venue))


def _queue(run: CleanupRun, page: dict[int, Retryable]) -> int:
    now = timezone.now()
    delays = {venue: max(one.first_due - now, timedelta(0)) for venue, one in page.items()}
    failed_upload_retry_worker.enqueue_venues(
        delays,
        run_id=run.pk,
        include_ambiguous=run.include_ambiguous,
        urgent={venue for venue, one in page.items() if one.is_urgent},
    )
    return len(page)


def unfinished_venues() -> list[int]:
    """Venues with images that nobody has tried yet."""
    waiting = VenueImage.objects.filter(upload_status=UploadStatus.PENDING)
    return list(waiting.order_by("venue_id").values_list("venue_id", flat=True).distinct())


def _queue_unfinished(run: CleanupRun) -> None:
    delays = dict.fromkeys(unfinished_venues(), timedelta(0))
    if delays:
        queued = failed_upload_retry_worker.enqueue_venues(delays, run_id=run.pk)
        logger.info("cleanup.unfinished_queued run=%s venues=%s", run.pk, queued)


def _log_permanent(run: CleanupRun) -> int:
    groups = VenueImage.objects.for_review().order_by().values("provider", "error_type").annotate(images=Count("id"))
    for group in groups:
        logger.warning(
            "cleanup.permanent run=%s provider=%s error_type=%s images=%s",
            run.pk,
            group["provider"],
            group["error_type"],
            group["images"],
        )
    return sum(group["images"] for group in groups)

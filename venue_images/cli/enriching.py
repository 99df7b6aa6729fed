"""``enrich`` and ``retry``: which venues are meant, then either queued or done in this process."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from venue_images import (
    catalog,
    cleanup_scheduler,
    discovery,
    enrichment_job,
    failed_upload_retry_worker,
    job_queue,
    orchestrator,
)
from venue_images.cli import output
from venue_images.errors import ErrorType, UsageError, UserError
from venue_images.image_ledger import Scope
from venue_images.models import Venue, VenueImage
from venue_images.monitor import title_of
from venue_images.operation_log import OperationResult
from venue_images.providers import by_name
from venue_images.runtime import open_runtime


@dataclass(frozen=True)
class Wish:
    """What ``enrich`` was asked for."""

    names: Sequence[str] = ()
    stale: bool = False
    everything: bool = False
    force: bool = False
    providers: Sequence[str] | None = None
    retry_failed_only: bool = False

    def check(self) -> None:
        """Raises :class:`UsageError` for options that contradict each other, and for a provider that can't be used."""
        if self.everything and (self.names or self.stale):
            raise UsageError("--all means every venue: leave out the venues and --stale.")
        if self.retry_failed_only and (self.force or self.stale or self.providers is not None):
            raise UsageError("--retry-failed-only asks no provider: leave out --force, --stale and --providers.")
        for name in self.providers or ():
            if problem := discovery.obstacle(by_name(name)):
                raise UserError(problem)

    def venues(self) -> list[int]:
        """The ids of the venues that are meant."""
        named = [venue.pk for venue in catalog.find_venues(self.names)] if self.names else None
        if self.retry_failed_only:
            return named if named is not None else _failing_venues()
        if self.everything:
            return list(Venue.objects.order_by("id").values_list("id", flat=True))
        if named is not None and not self.stale:
            return named
        return enrichment_job.stale_venues(named)


def enrich(wish: Wish, *, now: bool) -> int:
    wish.check()
    venues = wish.venues()
    if not wish.retry_failed_only and not wish.force:
        _remark_fresh(venues)
    if wish.retry_failed_only:
        return _retry(venues, now=now)
    if now:
        return perform(venues, force=wish.force, providers=wish.providers)
    return _queued(enrichment_job.enqueue_batch(venues, force=wish.force, providers=wish.providers))


def retry(name: str, image_ids: Sequence[int], *, now: bool) -> int:
    [venue] = catalog.find_venues([name])
    if not image_ids:
        return _retry([venue.pk], now=now)
    known = set(VenueImage.objects.filter(venue=venue, pk__in=image_ids).values_list("pk", flat=True))
    if missing := [str(image) for image in image_ids if image not in known]:
        raise UserError(f"{venue.slug} has no image {', '.join(missing)}: venue-images export lists the ids.")
    if now:
        scope = _scope(pending=False, ambiguous=True, image_ids=tuple(image_ids))
        return perform([venue.pk], retry_failed_only=True, scope=scope)
    return _queued(int(failed_upload_retry_worker.enqueue_venue_images(venue.pk, image_ids)))


def perform(venues: Sequence[int], **options: Any) -> int:
    """Do the work here; exit status 1 when the storage or a provider could not be used at all."""
    started, troubles = timezone.now(), Troubles()
    with output.progress("Venues") as tell:

        def done(result: OperationResult) -> None:
            troubles.note(result)
            tell(troubles.venues, len(venues))

        total = asyncio.run(_perform(venues, done, options))
    output.finish(total.to_json(), lambda: output.figures(total.to_json()))
    if total.images_failed:
        output.remark(f"{total.images_failed:,} photos failed: “venue-images failures --by error” shows why.")
    return report_problems([*total.problems(), *troubles.problems(), *storage_problems(started)])


def report_problems(problems: Sequence[str]) -> int:
    for problem in problems:
        output.remark(problem)
    return 1 if problems else 0


def storage_problems(since: datetime) -> list[str]:
    """What a person has to mend about the storage, from the uploads that failed for it."""
    failed = VenueImage.objects.filter(error_type=ErrorType.STORAGE_CONFIG, failed_at__gte=since)
    count = failed.count()
    newest = failed.order_by("-failed_at").first()
    remedy = "Then run venue-images cleanup --now --include-ambiguous."
    return [f"{count:,} photos could not be stored: {newest.error_message} {remedy}"] if newest else []


@dataclass
class Troubles:
    """Which providers answered, over all venues."""

    venues: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    errors: dict[str, str] = field(default_factory=dict)

    def note(self, result: OperationResult) -> None:
        self.venues += 1
        for name, answer in result.provider_results.items():
            self.asked[name] += answer["calls"] > 0
            if "error" in answer:
                self.failed[name] += 1
                self.errors[name] = answer["error"]

    def problems(self) -> list[str]:
        return [
            f"{title_of(name)} could not be used for any of {failed:,} venues: {self.errors[name]}"
            for name, failed in self.failed.items()
            if failed >= self.asked[name]
        ]


async def _perform(venues: Sequence[int], done: Any, options: dict[str, Any]) -> OperationResult:
    async with open_runtime("command") as runtime:
        return await orchestrator.enrich_venues(runtime, venues, done=done, **options)


def _retry(venues: Sequence[int], *, now: bool) -> int:
    if now:
        return perform(venues, retry_failed_only=True, scope=_scope())
    return _queued(failed_upload_retry_worker.enqueue_venues(dict.fromkeys(venues, timedelta(0))))


def _scope(**limits: Any) -> Scope:
    return Scope(asked_at=job_queue.database_time(), once=True, **limits)


def _failing_venues() -> list[int]:
    retryable = [venue for page in cleanup_scheduler.retryable_pages(include_ambiguous=False) for venue in page]
    return list(dict.fromkeys([*retryable, *cleanup_scheduler.unfinished_venues()]))


def _queued(count: int) -> int:
    text = f"{count:,} jobs queued." if count else "Nothing was queued: no venue is due, or its job waits already."
    output.finish({"queued": count}, lambda: output.say(text))
    return 0


def _remark_fresh(venues: Sequence[int]) -> None:
    fresh = len(venues) - len(enrichment_job.stale_venues(venues))
    if fresh:
        output.remark(f"{fresh:,} venues were checked recently and are only completed; --force asks again.")

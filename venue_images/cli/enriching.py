"""``enrich`` and ``retry``: which venues are meant, then either queued or done in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from venue_images import (
    catalog,
    cleanup_scheduler,
    discovery,
    enrichment_job,
    failed_upload_retry_worker,
    job_queue,
    owner_actions,
)
from venue_images.cli import output, performing
from venue_images.errors import UsageError, UserError
from venue_images.image_ledger import Scope
from venue_images.models import Venue, VenueImage
from venue_images.providers import by_name


@dataclass(frozen=True)
class Wish:
    """What ``enrich`` was asked for."""

    names: Sequence[str] = ()
    stale: bool = False
    everything: bool = False
    force: bool = False
    providers: Sequence[str] | None = None
    retry_failed_only: bool = False
    geocode: bool = False
    refresh_urls: bool = False
    #: US dollars.
    up_to: float | None = None

    def check(self) -> None:
        """Raises :class:`UsageError` for options that contradict each other, and for a provider that can't be used."""
        if self.everything and (self.names or self.stale):
            raise UsageError("--all means every venue: leave out the venues and --stale.")
        asks = self.force or self.stale or self.geocode or self.providers is not None
        if self.retry_failed_only and asks:
            raise UsageError(
                "--retry-failed-only asks no provider: leave out --force, --stale, --geocode and --providers."
            )
        if self.refresh_urls and (self.force or self.stale or self.geocode or self.retry_failed_only):
            raise UsageError(
                "--refresh-urls gets new addresses and nothing else: "
                "leave out --force, --stale, --geocode and --retry-failed-only."
            )
        if self.refresh_urls and not (self.names or self.everything):
            raise UsageError("--refresh-urls may cost: name the venues, or say --all.")
        if self.up_to is not None and not self.refresh_urls:
            raise UsageError("--up-to is a limit for --refresh-urls: leave it out, or say both.")
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
    if wish.refresh_urls:
        return _refresh(wish, now=now)
    venues = wish.venues()
    if not wish.retry_failed_only and not wish.force:
        _remark_fresh(venues)
    if wish.retry_failed_only:
        return _retry(venues, now=now)
    options: dict[str, Any] = {"force": wish.force, "providers": wish.providers, "geocode": wish.geocode}
    if now:
        # What has answered by now is not asked again when the command comes back to a venue.
        options["asked_at"] = job_queue.database_time()
        return performing.perform(venues, named=wish.providers or (), comes_back=True, **options)
    return _queued(enrichment_job.enqueue_batch(venues, **options))


def _refresh(wish: Wish, *, now: bool) -> int:
    """New addresses, after saying what they take."""
    venues = None if wish.everything else [venue.pk for venue in catalog.find_venues(wish.names)]
    offer = owner_actions.refresh_offer(wish.providers, venues)
    output.remark(str(offer) if offer.images else "No photo needs a new address from a provider that can be asked.")
    if wish.up_to is not None:
        offer.check(wish.up_to)
    if now:
        return performing.perform(
            offer.venue_ids, named=wish.providers or (), refresh_urls=True, providers=offer.providers
        )
    return _queued(owner_actions.queue_refresh(offer).queued)


def retry(name: str, image_ids: Sequence[int], *, now: bool) -> int:
    [venue] = catalog.find_venues([name])
    if not image_ids:
        return _retry([venue.pk], now=now)
    known = set(VenueImage.objects.filter(venue=venue, pk__in=image_ids).values_list("pk", flat=True))
    if missing := [str(image) for image in image_ids if image not in known]:
        raise UserError(f"{venue.slug} has no image {', '.join(missing)}: venue-images export lists the ids.")
    if now:
        scope = _scope(pending=False, ambiguous=True, image_ids=tuple(image_ids))
        return performing.perform([venue.pk], retry_failed_only=True, scope=scope)
    return _queued(int(failed_upload_retry_worker.enqueue_venue_images(venue.pk, image_ids)))


def _retry(venues: Sequence[int], *, now: bool) -> int:
    if now:
        return performing.perform(venues, retry_failed_only=True, scope=_scope())
    return _queued(failed_upload_retry_worker.enqueue_venues(dict.fromkeys(venues, timedelta(0))))


def _scope(**limits: Any) -> Scope:
    return Scope(asked_at=job_queue.database_time(), once=True, **limits)


def _failing_venues() -> list[int]:
    retryable = cleanup_scheduler.retryable_venues(include_ambiguous=False)
    return list(dict.fromkeys([*retryable, *cleanup_scheduler.unfinished_venues()]))


def _queued(count: int) -> int:
    text = f"{count:,} jobs queued." if count else "Nothing was queued: no venue is due, or its job waits already."
    output.finish({"queued": count}, lambda: output.say(text))
    return 0


def _remark_fresh(venues: Sequence[int]) -> None:
    fresh = len(venues) - len(enrichment_job.stale_venues(venues))
    if fresh:
        output.remark(f"{fresh:,} venues were checked recently and are only completed; --force asks again.")

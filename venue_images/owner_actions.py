"""What the owner does about providers: choose, try a stopped service at once, buy new addresses for expired ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from venue_images import circuits, discovery, enrichment_job, failed_upload_retry_worker, job_queue, url_refresh
from venue_images.alerts import usd
from venue_images.errors import ErrorType, UsageError, UserError
from venue_images.job_queue import NewJob
from venue_images.models import Circuit, ProviderCheck, UploadStatus, VenueImage
from venue_images.models import Provider as ProviderRow
from venue_images.providers import by_name

#: Venues that come at once when a service is tried by hand; the others come in their own time.
MOST_VENUES = 100
#: The largest numbers that a provider's row holds.
MOST_PRIORITY = 32_767
MOST_CALLS = 2**31 - 1
MOST_PRICE = Decimal(9_999)
MOST_BUDGET = Decimal(99_999_999)
WORDS = {"yes": True, "on": True, "true": True, "1": True, "no": False, "off": False, "false": False, "0": False}
NOTHING = (None, "none", "")


def set_provider(name: str, /, **choices: object) -> ProviderRow:
    """Change the owner's row of a provider; the row as it is now.

    ``active``, ``geocode``; ``priority`` (lower is asked first); ``cost_per_search``, ``_call`` and ``_image`` and
    ``monthly_budget_usd`` in US dollars; ``limit_per_second``, ``_minute``, ``_hour`` and ``_day`` in calls. Values may
    be texts. None or ``none`` takes a limit or the budget away. Raises :class:`UsageError`, and changes nothing then.
    """
    row = _row(name)
    for choice, value in choices.items():
        if choice not in CHOICES:
            raise UsageError(f"A provider has no {choice!r} to set; there are {', '.join(CHOICES)}.")
        setattr(row, choice, CHOICES[choice](choice, value))
    if choices:
        row.save(update_fields=list(choices))
    return row


def try_now(service: str) -> int:
    """Let a stopped service be tried by the next request, and bring forward what waits for it; how many venues that is.

    ``provider:<name>``, ``host:<host>`` or ``storage``. At most ``MOST_VENUES`` come at once. Raises
    :class:`UsageError` for a service that does not exist, and :class:`UserError` for a provider that can't be asked.
    """
    kind, _, name = service.partition(":")
    if kind == "provider":
        return _try_provider(name)
    images = VenueImage.objects.all()
    if kind == "host" and Circuit.objects.filter(service=service).exists():
        images = images.filter(host=name)
    elif service != circuits.STORAGE:
        raise UsageError(
            f"There is no service {service!r}; name provider:NAME, storage, or a host:HOST that was in use."
        )
    circuits.let_try(service)
    # Apart, because each has an index of its own.
    waiting = _first_venues(images.retryable()) + _first_venues(images.filter(upload_status=UploadStatus.PENDING))
    venues = sorted(set(waiting))[:MOST_VENUES]
    failed_upload_retry_worker.enqueue_venues(dict.fromkeys(venues, timedelta(0)))
    return len(venues)


@dataclass(frozen=True)
class RefreshOffer:
    """What new addresses for expired ones would cost now, and whom that concerns."""

    providers: Sequence[str]
    venue_ids: Sequence[int]
    images: int
    calls: int
    cost_usd: float

    def __str__(self) -> str:
        photos = "1 photo" if self.images == 1 else f"{self.images:,} photos"
        venues = "1 venue" if len(self.venue_ids) == 1 else f"{len(self.venue_ids):,} venues"
        calls = "1 call" if self.calls == 1 else f"{self.calls:,} calls"
        return f"New addresses for {photos} of {venues}: {calls}, {usd(self.cost_usd)}."

    def check(self, up_to_usd: Decimal | float) -> None:
        """Raises :class:`UserError` when that is not enough."""
        if round(Decimal(str(self.cost_usd)), 6) > round(Decimal(str(up_to_usd)), 6):
            raise UserError(f"{self} That is more than the {usd(up_to_usd)} agreed to: nothing was asked for.")


@dataclass(frozen=True)
class RefreshQueued:
    """What was queued: ``calls`` and ``cost_usd`` are what it will take, ``queued`` the jobs that are new."""

    venues: int
    images: int
    calls: int
    cost_usd: float
    queued: int


def refresh_offer(providers: Sequence[str] | None = None, venue_ids: Sequence[int] | None = None) -> RefreshOffer:
    """The price of new addresses from these providers (None: all) for these venues (None: all).

    Raises :class:`UserError` for a provider that can't be asked.
    """
    for name in providers or ():
        if problem := discovery.obstacle(by_name(name)):
            raise UserError(problem)
    offers = [offer for offer in url_refresh.offers(venue_ids) if providers is None or offer["provider"] in providers]
    names = [offer["provider"] for offer in offers]
    stale = VenueImage.objects.filter(
        upload_status=UploadStatus.FAILED, error_type=ErrorType.URL_EXPIRED, provider__in=names
    )
    if venue_ids is not None:
        stale = stale.filter(venue_id__in=venue_ids)
    return RefreshOffer(
        providers=names,
        venue_ids=list(stale.order_by("venue_id").values_list("venue_id", flat=True).distinct()),
        images=sum(offer["images"] for offer in offers),
        calls=sum(offer["calls"] for offer in offers),
        cost_usd=sum(offer["cost_usd"] for offer in offers),
    )


def refresh_urls(
    *, provider: str | None = None, venue_ids: Sequence[int] | None = None, up_to_usd: Decimal | float
) -> RefreshQueued:
    """Queue the refresh of expired addresses, of one provider or of all, for these venues or for all.

    Raises :class:`UserError` with the price when it is higher now than ``up_to_usd``.
    """
    offer = refresh_offer(None if provider is None else [provider], venue_ids)
    offer.check(up_to_usd)
    return queue_refresh(offer)


def queue_refresh(offer: RefreshOffer) -> RefreshQueued:
    """Queue what the offer names, one job a venue."""
    queued = enrichment_job.enqueue_batch(offer.venue_ids, refresh_urls=True, providers=list(offer.providers))
    return RefreshQueued(len(offer.venue_ids), offer.images, offer.calls, offer.cost_usd, queued)


def _row(name: str) -> ProviderRow:
    row = ProviderRow.objects.filter(name=name).first()
    if row is None:
        known = ", ".join(sorted(ProviderRow.objects.values_list("name", flat=True)))
        raise UsageError(f"There is no provider {name!r}; known: {known}.")
    return row


def _switch(name: str, value: object) -> bool:
    known = WORDS.get(str(value).strip().lower())
    if known is None:
        raise UsageError(f"{name}={value}: say yes or no.")
    return known


def _whole(least: int, most: int) -> Callable[[str, object], int]:
    def parsed(name: str, value: object) -> int:
        text = str(value).strip()
        if not text.isascii() or not text.isdecimal() or not least <= int(text) <= most:
            raise UsageError(f"{name}={value}: must be a whole number from {least:,} to {most:,}.")
        return int(text)

    return parsed


def _dollars(most: Decimal, places: int) -> Callable[[str, object], Decimal]:
    def parsed(name: str, value: object) -> Decimal:
        try:
            amount = Decimal(str(value).strip().removeprefix("$"))
        except InvalidOperation:
            amount = Decimal(-1)
        if not amount.is_finite() or not 0 <= amount <= most or amount != round(amount, places):
            raise UsageError(
                f"{name}={value}: must be US dollars from 0 to {most:,}, with at most {places} digits after the point."
            )
        return amount

    return parsed


def _or_none(parse: Callable[[str, object], Any]) -> Callable[[str, object], Any]:
    def parsed(name: str, value: object) -> Any:
        nothing = value.strip().lower() if isinstance(value, str) else value
        return None if nothing in NOTHING else parse(name, value)

    return parsed


#: What can be set, and what makes a value of what was said.
CHOICES: Mapping[str, Callable[[str, object], Any]] = {
    "active": _switch,
    "priority": _whole(0, MOST_PRIORITY),
    "cost_per_search": _dollars(MOST_PRICE, 6),
    "cost_per_call": _dollars(MOST_PRICE, 6),
    "cost_per_image": _dollars(MOST_PRICE, 6),
    "monthly_budget_usd": _or_none(_dollars(MOST_BUDGET, 2)),
    "geocode": _switch,
    "limit_per_second": _or_none(_whole(1, MOST_CALLS)),
    "limit_per_minute": _or_none(_whole(1, MOST_CALLS)),
    "limit_per_hour": _or_none(_whole(1, MOST_CALLS)),
    "limit_per_day": _or_none(_whole(1, MOST_CALLS)),
}


def _first_venues(images: QuerySet[VenueImage]) -> list[int]:
    return list(images.order_by("venue_id").values_list("venue_id", flat=True).distinct()[:MOST_VENUES])


def _try_provider(name: str) -> int:
    if problem := discovery.obstacle(by_name(name)):
        raise UserError(problem)
    if not _row(name).active:
        raise UserError(f"{name} is turned off: “venue-images providers enable {name}” first.")
    circuits.let_try(circuits.of_provider(name))
    venues = _unanswered(name)
    ProviderCheck.objects.filter(provider=name, venue_id__in=venues, due_at__isnull=False).update(due_at=Now())
    _bring_forward(venues, name)
    return len(venues)


def _unanswered(provider: str) -> list[int]:
    """Venues that wait for the provider, those that have waited longest first; then those that it failed for good."""
    checks = ProviderCheck.objects.filter(provider=provider)
    waiting = list(
        checks.filter(due_at__isnull=False).order_by("due_at").values_list("venue_id", flat=True)[:MOST_VENUES]
    )
    left_alone = checks.filter(Q(checked_at__isnull=True) | Q(failures__gt=0), due_at__isnull=True)
    room = MOST_VENUES - len(waiting)
    return waiting + list(left_alone.order_by("venue_id").values_list("venue_id", flat=True)[:room])


def _bring_forward(venues: Sequence[int], provider: str) -> None:
    """Let waiting jobs come at once, as they are; a venue without one gets a job that asks this provider alone."""
    now = job_queue.database_time().isoformat()
    waiting = {venue: job_queue.waiting_payload(f"enrich:{venue}") for venue in venues}
    jobs = [
        # Only a payload that differs is brought forward.
        NewJob({**payload, "brought_forward_at": now}, f"enrich:{venue}")
        for venue, payload in waiting.items()
        if payload
    ]
    job_queue.enqueue(job_queue.ENRICH, jobs, bring_forward=True)
    without = [venue for venue, payload in waiting.items() if not payload]
    enrichment_job.enqueue_batch(without, force=True, providers=[provider])

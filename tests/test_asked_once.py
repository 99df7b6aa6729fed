"""One wish asks a provider once: a job that comes back for something else does not ask, and pay, again."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import F
from django.db.models.functions import Now
from pgqueuer.domain.errors import RetryRequested

from tests.factories import make_image, make_venue
from tests.runtimes import in_runtime
from tests.world import BY_ID, LATITUDE, LONGITUDE
from venue_images import enrichment_job, job_queue, orchestrator, url_refresh
from venue_images.errors import ErrorType
from venue_images.models import (
    Circuit,
    Operation,
    Provider,
    ProviderCheck,
    ProviderSpend,
    UploadStatus,
    Venue,
    VenueImage,
)
from venue_images.sandbox import Fault, Sandbox

pytestmark = pytest.mark.usefixtures("jobs", "images_folder")

GOOGLE = "google_places"
PLACE = "/google_places/v1/places/sandbox-odeon"
PRICE = Decimal("0.007")
REPORTS = "/unsplash/photos/*"


def new_job(venue: Venue, **wishes: Any) -> dict[str, Any]:
    """The payload of a job that is queued now."""
    return {"venue": venue.pk, "queued_at": job_queue.database_time().isoformat(), **wishes}


def run(job: dict[str, Any]) -> timedelta | None:
    """Run the job as a worker does; how long it then wants to wait, None: it has ended."""
    try:
        in_runtime(lambda runtime: enrichment_job.perform(job, runtime))
    except RetryRequested as retry:
        return retry.delay
    return None


def odeon(**fields: Any) -> Venue:
    return make_venue(slug="odeon", provider_ids={GOOGLE: "sandbox-odeon"}, **fields)


def google_calls(sandbox: Sandbox) -> int:
    return sandbox.calls.get(GOOGLE, 0)


# Asking for photos


def image_behind_a_stopped_host(venue: Venue) -> VenueImage:
    image = make_image(venue)
    Circuit.objects.create(
        service=f"host:{image.host}",
        state=Circuit.State.OPEN,
        error_type=ErrorType.SERVICE_UNAVAILABLE,
        try_at=Now() + timedelta(hours=1),
    )
    return image


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(("fails", "calls", "cost"), [(PLACE, 1, 0 * PRICE), (f"{PLACE}/photos/*", 3, 2 * PRICE)])
def test_a_job_that_waits_for_an_image_asks_a_failing_provider_once(
    sandbox: Sandbox, force: bool, fails: str, calls: int, cost: Decimal
) -> None:
    sandbox.place("sandbox-odeon", photos=2)
    sandbox.script(fails, Fault("status", status=500))
    venue = odeon()
    image = image_behind_a_stopped_host(venue)
    job = new_job(venue, force=force)
    for _ in range(3):
        assert run(job)
        assert google_calls(sandbox) == calls
        assert ProviderSpend.objects.values_list("calls", "cost_usd").get(provider=GOOGLE) == (calls, cost)
    image.refresh_from_db()
    assert image.upload_status == UploadStatus.PENDING
    assert enrichment_job.stale_venues() == [venue.pk]

    run(new_job(venue, force=force))

    assert google_calls(sandbox) == 2 * calls
    assert ProviderSpend.objects.get(provider=GOOGLE).cost_usd == 2 * cost


def test_a_venue_that_has_become_stale_again_is_asked_for_at_all_its_providers(sandbox: Sandbox) -> None:
    Provider.objects.update(active=True)
    for provider in BY_ID:
        sandbox.place(f"sandbox-{provider}", slug=provider.replace("_", "-"), photos=0)
    ids = {provider: f"sandbox-{provider}" for provider in BY_ID}
    venue = make_venue(city="New York", latitude=LATITUDE, longitude=LONGITUDE, provider_ids=ids)
    rounds = []
    for _ in range(3):
        sandbox.reset_counters()
        job = new_job(venue)
        assert (run(job), run(job), run(new_job(venue))) == (None, None, None)
        rounds.append(sandbox.calls)
        assert enrichment_job.stale_venues() == []
        let_eight_days_pass(venue)
        assert enrichment_job.stale_venues() == [venue.pk]
    assert rounds[0].keys() >= {*BY_ID, "wikimedia_commons", "openverse", "unsplash", "pexels", "mapillary"}
    assert rounds[1:] == rounds[:1] * 2


def let_eight_days_pass(venue: Venue) -> None:
    days = timedelta(days=8)
    Venue.objects.filter(pk=venue.pk).update(images_checked_at=F("images_checked_at") - days)
    ProviderCheck.objects.filter(venue=venue).update(checked_at=F("checked_at") - days, tried_at=F("tried_at") - days)


# Asking for new addresses


def expired(venue: Venue, **fields: Any) -> VenueImage:
    return make_image(venue, UploadStatus.FAILED, ErrorType.URL_EXPIRED, provider=GOOGLE, **fields)


def test_an_image_that_its_provider_has_no_more_is_asked_for_once_per_agreement(sandbox: Sandbox) -> None:
    sandbox.place("sandbox-odeon", photos=1)
    venue = odeon()
    there, gone = expired(venue), expired(venue, width=1, height=1)
    job = new_job(venue, refresh_urls=True)
    for _ in range(3):
        assert run(job) is None
        assert google_calls(sandbox) == 2
    assert ProviderSpend.objects.get(provider=GOOGLE).cost_usd == PRICE
    there.refresh_from_db()
    gone.refresh_from_db()
    assert (there.upload_status, gone.upload_status, gone.error_type) == ("uploaded", "failed", "url_expired")
    assert [offer["images"] for offer in url_refresh.offers()] == [1]

    assert run(new_job(venue, refresh_urls=True)) is None

    assert google_calls(sandbox) == 3


def test_an_address_that_expires_after_the_agreement_waits_for_the_next_one(sandbox: Sandbox) -> None:
    venue = odeon()
    job = new_job(venue, refresh_urls=True)
    expired(venue)
    assert run(job) is None
    assert google_calls(sandbox) == 0
    run(new_job(venue, refresh_urls=True))
    assert google_calls(sandbox) == 2


def test_a_provider_that_was_turned_off_is_neither_offered_nor_asked_for_new_addresses(sandbox: Sandbox) -> None:
    venue = odeon()
    image = expired(venue)
    assert url_refresh.offers()
    Provider.objects.filter(name=GOOGLE).update(active=False)
    before = VenueImage.objects.values().get()
    assert url_refresh.offers() == []
    assert run(new_job(venue, refresh_urls=True)) is None
    assert google_calls(sandbox) == 0
    assert VenueImage.objects.values().get(pk=image.pk) == before
    assert not Operation.objects.exists()


def test_without_a_budget_nobody_is_asked_for_new_addresses(sandbox: Sandbox) -> None:
    sandbox.place("sandbox-odeon", photos=1)
    venue = odeon()
    expired(venue)
    Provider.objects.filter(name=GOOGLE).update(monthly_budget_usd=0)
    assert run(new_job(venue, refresh_urls=True)) is None
    assert google_calls(sandbox) == 0


# Telling which photos were chosen


def told(sandbox: Sandbox) -> list[str]:
    return [hit.path for hit in sandbox.hits(REPORTS) if hit.path.endswith("/download")]


def test_reports_that_meet_a_limit_are_made_later_each_exactly_once(sandbox: Sandbox) -> None:
    sandbox.offer("unsplash", "odeon", "Odeon", photos=3)
    Provider.objects.filter(name="unsplash").update(limit_per_hour=2)
    venue = make_venue("Odeon", slug="odeon")
    job = new_job(venue, providers=["unsplash"])
    for _ in range(2):
        delay = run(job)
        assert delay
        assert timedelta(minutes=30) < delay < timedelta(hours=2)
        assert len(told(sandbox)) == 1
        assert VenueImage.objects.filter(reported_at__isnull=True).count() == 2
    assert orchestrator.enrich_venue_sync(venue, providers=["unsplash"]).due_in

    Provider.objects.filter(name="unsplash").update(limit_per_hour=50)
    assert (run(job), run(job)) == (None, None)

    assert len(told(sandbox)) == len(set(told(sandbox))) == VenueImage.objects.count() == 3
    assert not VenueImage.objects.filter(reported_at__isnull=True).exists()


def test_a_report_that_its_provider_refuses_for_now_makes_the_job_come_back(sandbox: Sandbox) -> None:
    sandbox.offer("unsplash", "odeon", "Odeon", photos=1)
    sandbox.script(REPORTS, Fault("status", status=429), times=1)
    venue = make_venue("Odeon", slug="odeon")
    job = new_job(venue, providers=["unsplash"])
    assert run(job)
    Circuit.objects.update(try_at=Now())
    assert run(job) is None
    assert len(told(sandbox)) == 2
    assert not VenueImage.objects.filter(reported_at__isnull=True).exists()

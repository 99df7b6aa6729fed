"""What the owner does about providers, with the real job queue."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from tests.catalogue import import_venue
from tests.conftest import Workers
from tests.factories import make_image, make_venue
from venue_images import enrichment_job, failed_upload_retry_worker, job_queue, monitor, orchestrator, owner_actions
from venue_images.errors import ErrorType, UsageError, UserError
from venue_images.job_queue import NewJob
from venue_images.models import Circuit, Provider, ProviderCheck, UploadStatus, Venue, VenueImage
from venue_images.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("jobs")
LATER = timedelta(hours=1)


@pytest.fixture(autouse=True)
def google(set_environment: Callable[..., None]) -> None:
    set_environment(GOOGLE_PLACES_API_KEY="a-key", GOOGLE_PLACES_STORAGE_POLICY="store")


def payloads(*, due: bool = True) -> dict[str, dict[str, Any]]:
    """The queued jobs that are due, or those that are not, by their key."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT dedupe_key, payload FROM pgqueuer WHERE (execute_after <= clock_timestamp()) = %s", [due]
        )
        return {key: job_queue.payload_of(bytes(payload)) for key, payload in cursor.fetchall()}


def stop(service: str, error_type: str = "service_unavailable") -> None:
    Circuit.objects.create(service=service, state="open", error_type=error_type, try_at=timezone.now() + LATER)


def seconds_until_try(service: str) -> float:
    try_at = Circuit.objects.values_list("try_at", flat=True).get(service=service)
    assert try_at is not None
    return (try_at - timezone.now()).total_seconds()


def waiting_check(venue: Venue, provider: str = "google_places", **fields: Any) -> ProviderCheck:
    return ProviderCheck.objects.create(venue=venue, provider=provider, **{"due_at": timezone.now() + LATER, **fields})


def failed_on(host: str, *, provider: str = "catalog") -> Venue:
    venue = make_venue()
    make_image(venue, UploadStatus.FAILED, ErrorType.SERVICE_UNAVAILABLE, host=host, provider=provider)
    return venue


def stale_image(venue: Venue, provider: str = "google_places") -> VenueImage:
    return make_image(venue, UploadStatus.FAILED, ErrorType.URL_EXPIRED, provider=provider)


# What can be set


def test_every_choice_can_be_set_as_text_or_as_a_value() -> None:
    texts = {
        "active": "no",
        "geocode": "yes",
        "priority": "5",
        "cost_per_search": "0",
        "cost_per_call": "0.02",
        "cost_per_image": "$0.001234",
        "monthly_budget_usd": "10.50",
        "limit_per_second": "1",
        "limit_per_minute": "20",
        "limit_per_hour": "300",
        "limit_per_day": "4000",
    }
    assert set(texts) == set(owner_actions.CHOICES)
    values: dict[str, object] = {
        "active": False,
        "geocode": True,
        "priority": 5,
        "cost_per_search": Decimal(0),
        "cost_per_call": Decimal("0.02"),
        "cost_per_image": Decimal("0.001234"),
        "monthly_budget_usd": Decimal("10.50"),
        "limit_per_second": 1,
        "limit_per_minute": 20,
        "limit_per_hour": 300,
        "limit_per_day": 4000,
    }
    for choices in (texts, values):
        Provider.objects.filter(name="google_places").update(active=True, priority=99, limit_per_day=None)
        owner_actions.set_provider("google_places", **choices)
        assert Provider.objects.filter(name="google_places").values(*values).get() == values


@pytest.mark.parametrize("nothing", [None, "none", "None", ""])
def test_none_takes_a_limit_or_the_budget_away(nothing: str | None) -> None:
    owner_actions.set_provider("google_places", limit_per_day=7, monthly_budget_usd=3)
    row = owner_actions.set_provider("google_places", limit_per_day=nothing, monthly_budget_usd=nothing)
    assert (row.limit_per_day, row.monthly_budget_usd) == (None, None)


@pytest.mark.parametrize(
    ("choice", "value", "says"),
    [
        ("active", "perhaps", "active=perhaps: say yes or no"),
        ("priority", "-1", "priority=-1: must be a whole number from 0"),
        ("priority", "40000", "32,767"),
        ("priority", "none", "must be a whole number"),
        ("limit_per_second", "0", "limit_per_second=0: must be a whole number from 1"),
        ("limit_per_second", "1.5", "must be a whole number"),
        ("limit_per_day", "²", "must be a whole number"),
        ("limit_per_day", str(2**31), "must be a whole number"),
        ("cost_per_call", "-1", "cost_per_call=-1: must be US dollars"),
        ("cost_per_call", "cheap", "must be US dollars"),
        ("cost_per_call", "NaN", "must be US dollars"),
        ("cost_per_call", "1e9", "must be US dollars"),
        ("cost_per_image", "0.0000001", "at most 6 digits"),
        ("cost_per_image", "none", "must be US dollars"),
        ("monthly_budget_usd", "1.005", "at most 2 digits"),
        ("name", "other", "has no 'name' to set; there are active, priority"),
        ("metered", "yes", "has no 'metered' to set"),
    ],
)
def test_a_value_that_makes_no_sense_changes_nothing(choice: str, value: str, says: str) -> None:
    before = Provider.objects.filter(name="google_places").values().get()
    with pytest.raises(UsageError, match=says):
        owner_actions.set_provider("google_places", **{"priority": 77, choice: value})
    assert Provider.objects.filter(name="google_places").values().get() == before


def test_a_provider_that_does_not_exist_can_not_be_set() -> None:
    with pytest.raises(UsageError, match="no provider 'gogle'; known: catalog"):
        owner_actions.set_provider("gogle", active=True)


# Trying a stopped service


def test_a_host_is_tried_at_once_with_what_waits_for_it() -> None:
    stop("host:photos.example", "rate_limited")
    stop("host:other.example")
    here, pending, elsewhere, given_up = (
        failed_on("photos.example"),
        make_venue(),
        failed_on("other.example"),
        make_venue(),
    )
    make_image(pending, UploadStatus.PENDING, host="photos.example")
    make_image(given_up, UploadStatus.PERMANENTLY_FAILED, ErrorType.GONE, host="photos.example")
    failed_upload_retry_worker.enqueue_venues({here.pk: LATER, elsewhere.pk: LATER})

    assert owner_actions.try_now("host:photos.example") == 2

    assert set(payloads()) == {f"retry:{here.pk}", f"retry:{pending.pk}"}
    assert seconds_until_try("host:photos.example") <= 0 < seconds_until_try("host:other.example")


def test_the_storage_is_tried_at_once_with_a_hundred_venues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner_actions, "MOST_VENUES", 2)
    stop("storage", "storage_config")
    first, second, _third = failed_on("a.example"), failed_on("b.example"), failed_on("c.example")
    assert owner_actions.try_now("storage") == 2
    assert set(payloads()) == {f"retry:{first.pk}", f"retry:{second.pk}"}
    assert seconds_until_try("storage") <= 0


def test_a_job_that_waits_for_a_provider_comes_at_once_as_it_was_asked_for() -> None:
    stop("provider:google_places", "provider_quota")
    forced, plain, other = make_venue(), make_venue(), make_venue()
    for venue in (forced, plain):
        waiting_check(venue)
    waiting_check(other, "openverse")
    payload = {"venue": forced.pk, "force": True, "providers": None, "queued_at": job_queue.database_time().isoformat()}
    job_queue.enqueue(job_queue.ENRICH, [NewJob(payload, f"enrich:{forced.pk}", LATER)])

    assert owner_actions.try_now("provider:google_places") == 2

    due = payloads()
    assert set(due) == {f"enrich:{forced.pk}", f"enrich:{plain.pk}"}
    assert {**due[f"enrich:{forced.pk}"], **payload} == due[f"enrich:{forced.pk}"]
    assert (due[f"enrich:{plain.pk}"]["providers"], due[f"enrich:{plain.pk}"]["force"]) == (["google_places"], True)
    put_off = ProviderCheck.objects.filter(due_at__gt=timezone.now())
    assert list(put_off.values_list("venue_id", flat=True)) == [other.pk]
    assert seconds_until_try("provider:google_places") <= 0


def test_venues_that_a_blocked_provider_left_without_an_answer_come_again_too() -> None:
    refused, answered = make_venue(), make_venue()
    waiting_check(refused, due_at=None, failures=1)
    waiting_check(answered, due_at=None, checked_at=timezone.now())
    assert owner_actions.try_now("provider:google_places") == 1
    assert set(payloads()) == {f"enrich:{refused.pk}"}


def test_those_that_wait_longest_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner_actions, "MOST_VENUES", 2)
    late, refused, early = make_venue(), make_venue(), make_venue()
    waiting_check(late)
    waiting_check(refused, due_at=None, failures=1)
    waiting_check(early, due_at=timezone.now() + LATER / 2)
    assert owner_actions.try_now("provider:google_places") == 2
    assert set(payloads()) == {f"enrich:{early.pk}", f"enrich:{late.pk}"}


@pytest.mark.parametrize("service", ["nonsense", "host:", "host:never.example", "provider:nobody", ""])
def test_a_service_that_does_not_exist_is_wrong_usage(service: str) -> None:
    with pytest.raises(UsageError):
        owner_actions.try_now(service)


def test_a_provider_that_can_not_be_asked_is_not_tried(set_environment: Callable[..., None]) -> None:
    stop("provider:google_places")
    owner_actions.set_provider("google_places", active=False)
    with pytest.raises(UserError, match="providers enable google_places"):
        owner_actions.try_now("provider:google_places")
    set_environment(GOOGLE_PLACES_API_KEY="")
    with pytest.raises(UserError, match="set GOOGLE_PLACES_API_KEY"):
        owner_actions.try_now("provider:google_places")
    assert seconds_until_try("provider:google_places") > 0


def test_a_mended_provider_gives_its_photos_after_one_try(sandbox: Sandbox, workers: Workers, tmp_path: Path) -> None:
    venue = import_venue(tmp_path, "odeon", [], provider_ids={"google_places": "sandbox-odeon"})
    stop("provider:google_places", "provider_key")
    enrichment_job.enqueue_venue(venue.pk)
    workers.drain()
    assert not VenueImage.objects.exists()

    assert owner_actions.try_now("provider:google_places") == 1
    workers.drain()

    assert VenueImage.objects.filter(upload_status=UploadStatus.UPLOADED).count() == 5
    assert sandbox.calls["google_places"] > 0
    assert monitor.get_provider_stats("google_places")["circuit"] is None


# New addresses


def test_new_addresses_are_queued_at_the_price_that_was_agreed_to() -> None:
    first, second = make_venue(), make_venue()
    for venue in (first, first, second):
        stale_image(venue)
    stale_image(make_venue(), "openverse")
    offer = monitor.get_provider_stats("google_places")["stale_urls"]

    queued = owner_actions.refresh_urls(provider="google_places", up_to_usd=offer["cost_usd"])

    assert queued == owner_actions.RefreshQueued(
        venues=2, images=3, calls=offer["calls"], cost_usd=offer["cost_usd"], queued=2
    )
    due = payloads()
    assert set(due) == {f"refresh:{first.pk}", f"refresh:{second.pk}"}
    assert {(job["refresh_urls"], tuple(job["providers"])) for job in due.values()} == {(True, ("google_places",))}
    assert owner_actions.refresh_urls(provider="google_places", up_to_usd=1).queued == 0


def test_a_price_that_has_risen_queues_nothing_and_is_told() -> None:
    stale_image(make_venue())
    agreed = owner_actions.refresh_offer(["google_places"]).cost_usd
    owner_actions.set_provider("google_places", cost_per_image="0.5")
    with pytest.raises(UserError, match=r"\$0\.50\. That is more than the \$0\.007 agreed to"):
        owner_actions.refresh_urls(provider="google_places", up_to_usd=agreed)
    assert payloads() == {}


def test_only_the_venues_that_are_named_are_refreshed() -> None:
    meant, other = make_venue(), make_venue()
    stale_image(meant)
    stale_image(other)
    assert owner_actions.refresh_urls(venue_ids=[meant.pk], up_to_usd=1).images == 1
    assert set(payloads()) == {f"refresh:{meant.pk}"}


def test_a_provider_that_can_not_be_asked_gives_no_addresses(set_environment: Callable[..., None]) -> None:
    stale_image(make_venue())
    set_environment(GOOGLE_PLACES_API_KEY="")
    with pytest.raises(UserError, match="set GOOGLE_PLACES_API_KEY"):
        owner_actions.refresh_urls(provider="google_places", up_to_usd=1)
    assert owner_actions.refresh_urls(up_to_usd=0) == owner_actions.RefreshQueued(0, 0, 0, 0, 0)


def test_expired_addresses_are_replaced_and_paid_for_once(sandbox: Sandbox, workers: Workers, tmp_path: Path) -> None:
    sandbox.photo_uri_lifetime = 0
    venue = import_venue(tmp_path, "odeon", [], provider_ids={"google_places": "sandbox-odeon"})
    orchestrator.enrich_venue_sync(venue)
    offer = owner_actions.refresh_offer()
    assert (offer.providers, offer.images, offer.venue_ids) == (["google_places"], 5, [venue.pk])

    sandbox.photo_uri_lifetime = 600
    before = monitor.get_provider_stats("google_places")
    owner_actions.refresh_urls(up_to_usd=offer.cost_usd)
    workers.drain()

    after = monitor.get_provider_stats("google_places")
    assert after["spent_this_month_usd"] - before["spent_this_month_usd"] == pytest.approx(offer.cost_usd)
    assert after["calls_this_month"] - before["calls_this_month"] == offer.calls
    assert VenueImage.objects.filter(upload_status=UploadStatus.UPLOADED).count() == 5

"""The image rows under many hands: who gets an image, and when the next one is due."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from tests.factories import make_image, make_venue
from tests.ledger import (
    HOUR,
    MAX_ATTEMPTS,
    claim,
    claimed_ids,
    failure,
    living_worker,
    next_due,
    settle,
    waiting,
)
from tests.runtimes import connected, new_connection
from venue_images import image_ledger
from venue_images.errors import ERROR_TYPES, ErrorClass, ErrorType
from venue_images.image_ledger import ClaimedImage, Scope
from venue_images.models import Circuit, UploadStatus, VenueImage

pytestmark = pytest.mark.usefixtures("transactional_db")


# Claim


def test_of_many_claims_at_once_each_image_goes_to_exactly_one() -> None:
    venue = make_venue()
    images = [make_image(venue).pk for _ in range(100)]

    async def everybody() -> list[list[ClaimedImage]]:
        connections = [await new_connection() for _ in range(12)]
        try:
            return await asyncio.gather(
                *(image_ledger.claim(each, venue.pk, uuid.uuid4(), Scope(), MAX_ATTEMPTS) for each in connections)
            )
        finally:
            await asyncio.gather(*(each.close() for each in connections))

    shares = asyncio.run(everybody())

    assert Counter(image.id for share in shares for image in share) == Counter(images)
    tokens = dict(VenueImage.objects.values_list("pk", "claim_token"))
    assert all(tokens[image.id] == image.claim_token for share in shares for image in share)
    assert set(VenueImage.objects.values_list("upload_status", flat=True)) == {UploadStatus.UPLOADING}


def test_claims_settlements_and_sweeps_at_once_never_lock_each_other_out() -> None:
    """Settled in another order than claimed, and swept by everybody because nobody shows a heartbeat."""
    venue = make_venue()
    for _ in range(120):
        make_image(venue)

    async def work(number: int) -> None:
        async with await new_connection() as connection:
            for _ in range(5):
                images = await image_ledger.claim(connection, venue.pk, uuid.uuid4(), Scope(), 10_000)
                ordered = sorted(images, key=lambda image: hash((number, image.id)))
                await image_ledger.settle(connection, None, [failure(image) for image in ordered])
                await image_ledger.sweep(connection)

    async def everybody() -> None:
        await asyncio.gather(*(work(number) for number in range(8)))

    asyncio.run(everybody())
    assert not VenueImage.objects.filter(upload_status=UploadStatus.UPLOADING).exists()


@pytest.mark.parametrize("status", list(UploadStatus))
def test_only_pending_and_failed_images_are_claimed(status: UploadStatus) -> None:
    venue = make_venue()
    image = make_image(venue, status, worker_id=living_worker().pk)
    claimable = status in (UploadStatus.PENDING, UploadStatus.FAILED)
    assert claimed_ids(venue, Scope(ambiguous=True)) == ({image.pk} if claimable else set())


@pytest.mark.parametrize("error_type", list(ErrorType))
def test_only_transient_failures_are_claimed_and_ambiguous_and_blocked_ones_when_asked_for(
    error_type: ErrorType,
) -> None:
    venue = make_venue()
    image = waiting(venue, error_type)
    error_class = ERROR_TYPES[error_type]
    assert claimed_ids(venue, Scope()) == ({image.pk} if error_class is ErrorClass.TRANSIENT else set())
    VenueImage.objects.update(upload_status=UploadStatus.FAILED, claimed_at=None)
    retried = error_class in (ErrorClass.TRANSIENT, ErrorClass.AMBIGUOUS, ErrorClass.BLOCKED)
    assert claimed_ids(venue, Scope(ambiguous=True)) == ({image.pk} if retried else set())


def test_an_image_without_attempts_left_is_not_claimed() -> None:
    venue = make_venue()
    last_chance = waiting(venue, retry_count=2)
    waiting(venue, retry_count=3)
    waiting(venue, retry_count=30)
    assert claimed_ids(venue) == {last_chance.pk}


def test_only_images_of_the_venue_are_claimed() -> None:
    venue, other = make_venue(), make_venue()
    make_image(other)
    assert claim(venue) == []


def test_the_scope_picks_the_images() -> None:
    venue = make_venue()
    pending, failed, lost = make_image(venue), waiting(venue), waiting(venue, "worker_lost")
    everything = {pending.pk, failed.pk, lost.pk}

    def scoped(scope: Scope) -> set[int]:
        found = claimed_ids(venue, scope)
        VenueImage.objects.filter(pk=pending.pk).update(upload_status=UploadStatus.PENDING)
        VenueImage.objects.filter(pk__in=[failed.pk, lost.pk]).update(upload_status=UploadStatus.FAILED)
        return found

    assert scoped(Scope()) == everything
    assert scoped(Scope(failed=False)) == {pending.pk}
    assert scoped(Scope(pending=False)) == {failed.pk, lost.pk}
    assert scoped(Scope(only_lost=True)) == {pending.pk, lost.pk}
    assert scoped(Scope(image_ids=(failed.pk,))) == {failed.pk}
    assert scoped(Scope(image_ids=())) == set()


def test_back_off_holds_until_somebody_asks_and_the_hosts_wish_always() -> None:
    venue, now = make_venue(), timezone.now()
    ours = waiting(venue, next_attempt_at=now + HOUR, claimed_at=now - HOUR)
    waiting(venue, not_before=now + HOUR, next_attempt_at=now - HOUR, claimed_at=now - HOUR)
    assert claimed_ids(venue) == set()
    assert claimed_ids(venue, Scope(asked_at=now - 2 * HOUR)) == set()
    assert claimed_ids(venue, Scope(asked_at=datetime.now(UTC))) == {ours.pk}


def test_what_is_due_is_claimed() -> None:
    venue, past = make_venue(), timezone.now() - timedelta(seconds=1)
    image = waiting(venue, not_before=past, next_attempt_at=past, claimed_at=past - HOUR)
    assert claimed_ids(venue) == {image.pk}


def test_once_means_once_since_it_was_asked() -> None:
    venue = make_venue()
    image = waiting(venue)
    scope = Scope(asked_at=datetime.now(UTC), once=True)
    [claimed] = claim(venue, scope)
    assert settle(failure(claimed)) == {image.pk}
    assert claim(venue, scope) == []
    assert next_due(venue, scope) is None
    assert claimed_ids(venue, Scope(asked_at=datetime.now(UTC), once=True)) == {image.pk}


def test_what_is_blocked_is_tried_once_each_time_somebody_asks() -> None:
    venue = make_venue()
    image = waiting(venue, "storage_config", claimed_at=timezone.now() - HOUR, retry_count=0)
    assert claimed_ids(venue, Scope(ambiguous=True)) == set()
    scope = Scope(ambiguous=True, asked_at=datetime.now(UTC))
    [claimed] = claim(venue, scope)
    settle(failure(claimed, ErrorType.STORAGE_CONFIG, retry_count=0))
    assert claimed_ids(venue, scope) == set()
    assert next_due(venue, scope) is None
    assert claimed_ids(venue, Scope(ambiguous=True, asked_at=datetime.now(UTC))) == {image.pk}


def test_a_claim_tells_what_the_upload_needs() -> None:
    venue, worker = make_venue(), living_worker()
    image = waiting(venue, "storage_unavailable", retry_count=2)
    [claimed] = claim(venue, worker=worker.pk)
    image.refresh_from_db()
    assert (claimed.provider_url, claimed.url_hash, claimed.host) == (image.provider_url, image.url_hash, image.host)
    assert (claimed.retry_count, claimed.error_type) == (2, "storage_unavailable")
    assert (image.upload_status, image.worker_id) == (UploadStatus.UPLOADING, worker.pk)
    assert image.claimed_at


# What would only meet an open circuit


def open_circuit(service: str, seconds: float = 3600) -> None:
    Circuit.objects.create(
        service=service, state=Circuit.State.OPEN, try_at=timezone.now() + timedelta(seconds=seconds), pause=seconds
    )


def test_images_of_a_host_that_is_left_alone_stay_as_they_are() -> None:
    venue = make_venue()
    here = make_image(venue, provider_url="https://photos.example/1.jpg")
    make_image(venue, provider_url="https://busy.example/1.jpg")
    waiting(venue, provider_url="https://busy.example/2.jpg")
    before = list(VenueImage.objects.exclude(pk=here.pk).order_by("pk").values())
    open_circuit("host:busy.example")
    assert claimed_ids(venue, Scope(asked_at=datetime.now(UTC))) == {here.pk}
    assert list(VenueImage.objects.exclude(pk=here.pk).order_by("pk").values()) == before


def test_while_the_storage_is_left_alone_no_image_is_claimed_at_all() -> None:
    venue = make_venue()
    images = {make_image(venue).pk, waiting(venue).pk}
    open_circuit("storage")
    assert claimed_ids(venue, Scope(asked_at=datetime.now(UTC))) == set()
    Circuit.objects.update(try_at=timezone.now() - timedelta(seconds=1))
    assert claimed_ids(venue) == images


@pytest.mark.parametrize("service", ["provider:catalog", "host:another.example"])
def test_the_circuit_of_another_service_keeps_no_image_back(service: str) -> None:
    """A provider that is stopped has no say in its photos: they are on a host."""
    venue = make_venue()
    image = make_image(venue)
    open_circuit(service)
    assert claimed_ids(venue) == {image.pk}


def test_those_who_wait_for_a_circuit_come_back_when_it_may_be_tried_and_not_all_at_once() -> None:
    venue = make_venue()
    make_image(venue)
    open_circuit("storage", seconds=3600)
    delays = {delay for _ in range(5) if (delay := next_due(venue))}
    assert len(delays) == 5
    assert all(HOUR - timedelta(seconds=5) < delay <= HOUR + timedelta(seconds=10) for delay in delays)
    Circuit.objects.update(try_at=timezone.now() - HOUR)
    assert_about(next_due(venue), timedelta(0))


def test_what_a_limit_held_back_waits_for_its_time_and_keeps_its_attempts() -> None:
    venue, later = make_venue(), timezone.now() + HOUR
    fresh = make_image(venue)
    failed = waiting(venue, retry_count=2, error_message="busy")
    untouched, patient = make_image(venue), make_image(venue, not_before=timezone.now())
    claimed = {image.id: image for image in claim(venue)}
    VenueImage.objects.filter(pk=patient.pk).update(not_before=later)
    seconds = {fresh.pk: 60.0, failed.pk: 120.0, untouched.pk: 0.0, patient.pk: 60.0}
    held = {claimed[image_id]: wait for image_id, wait in seconds.items()}

    connected(lambda connection: image_ledger.hold_back(connection, held))

    for image in (fresh, failed, untouched, patient):
        image.refresh_from_db()
    assert (fresh.upload_status, fresh.error_type, fresh.retry_count) == (UploadStatus.PENDING, None, 0)
    assert (failed.upload_status, failed.error_type, failed.retry_count) == (UploadStatus.FAILED, "rate_limited", 2)
    assert (failed.error_message, failed.claimed_at, failed.claim_token) == ("busy", None, None)
    assert (untouched.upload_status, untouched.not_before) == (UploadStatus.PENDING, None)
    assert patient.not_before == later
    assert fresh.not_before
    assert failed.not_before
    assert 59 < (failed.not_before - fresh.not_before).total_seconds() < 61
    assert claimed_ids(venue, Scope(asked_at=datetime.now(UTC))) == {untouched.pk}


def test_what_the_owner_does_not_want_to_be_stored_is_not_claimed(set_environment: Callable[..., None]) -> None:
    venue = make_venue()
    wanted = make_image(venue)
    make_image(venue, provider="yelp")
    waiting(venue, provider="unsplash")
    set_environment(YELP_STORAGE_POLICY="none", UNSPLASH_STORAGE_POLICY="hotlink", CATALOG_STORAGE_POLICY="store")
    assert claimed_ids(venue, Scope(ambiguous=True)) == {wanted.pk}
    wanted.delete()
    assert next_due(venue, Scope(ambiguous=True)) is None


# When is the next one due?


def assert_about(delay: timedelta | None, expected: timedelta) -> None:
    assert delay is not None
    assert expected - timedelta(seconds=5) < delay <= expected


def test_nothing_is_due_when_nothing_can_be_tried() -> None:
    venue = make_venue()
    for status in (UploadStatus.UPLOADED, UploadStatus.PERMANENTLY_FAILED, UploadStatus.HOTLINKED):
        make_image(venue, status)
    waiting(venue, "not_found")
    waiting(venue, "url_expired")
    waiting(venue, retry_count=3)
    assert next_due(venue) is None


def test_the_earliest_image_decides_and_each_waits_for_both_its_times() -> None:
    venue, now = make_venue(), timezone.now()
    waiting(venue, next_attempt_at=now + HOUR, not_before=now + 3 * HOUR, claimed_at=now)
    waiting(venue, next_attempt_at=now + 2 * HOUR, not_before=now + HOUR, claimed_at=now)
    assert_about(next_due(venue), 2 * HOUR)
    assert_about(next_due(venue, Scope(asked_at=now + HOUR)), HOUR)
    make_image(venue)
    assert_about(next_due(venue), timedelta(0))


def test_an_image_under_way_is_looked_at_again_when_its_worker_would_be_known_to_be_dead() -> None:
    venue = make_venue()
    make_image(venue, UploadStatus.UPLOADING, worker_id=living_worker().pk)
    assert_about(next_due(venue), timedelta(seconds=image_ledger.WORKER_SILENCE))

"""The image rows under many hands: whose result counts, what dead workers leave, how many statements it takes."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.utils import timezone
from psycopg import AsyncConnection

from tests.factories import make_image, make_venue
from tests.ledger import (
    HOUR,
    MAX_ATTEMPTS,
    claim,
    failure,
    living_worker,
    settle,
    success,
    sweep,
    waiting,
)
from tests.runtimes import connected, new_connection
from venue_images import image_ledger, photo_ledger
from venue_images.errors import ErrorType
from venue_images.image_ledger import Scope
from venue_images.models import UploadAttempt, UploadStatus, VenueImage
from venue_images.providers import Photo

pytestmark = pytest.mark.usefixtures("transactional_db")


# Settle


def test_a_failure_is_written_with_an_attempt() -> None:
    venue, started = make_venue(), timezone.now()
    make_image(venue)
    [claimed] = claim(venue)
    settle(failure(claimed, back_off=60.5, retry_after=3600.0))

    image, attempt = VenueImage.objects.get(), UploadAttempt.objects.get()
    assert (image.upload_status, image.error_type, image.http_status) == (UploadStatus.FAILED, "rate_limited", 429)
    assert image.retry_count == 1
    assert image.next_attempt_at
    assert image.not_before
    assert 60.5 <= (image.next_attempt_at - started).total_seconds() < 70
    assert 3600 <= (image.not_before - started).total_seconds() < 3610
    assert (image.claim_token, image.worker_id, image.storage_key) == (None, None, "")
    assert image.failed_at
    assert (attempt.error_type, attempt.http_status, attempt.host) == ("rate_limited", 429, image.host)
    assert (attempt.seconds, attempt.byte_size) == (0.25, 0)


def test_a_success_is_written_and_takes_the_failure_away() -> None:
    venue = make_venue()
    waiting(venue, retry_count=2, width=4000, height=3000, error_message="no", not_before=timezone.now())
    [claimed] = claim(venue)
    settle(success(claimed))

    image, attempt = VenueImage.objects.get(), UploadAttempt.objects.get()
    assert (image.upload_status, image.error_type, image.error_message) == (UploadStatus.UPLOADED, None, "")
    assert (image.storage_key, image.sha256, image.byte_size) == ("venues/x/ct-1.jpg", "a" * 64, 1234)
    assert (image.width, image.height, image.content_type) == (800, 600, "image/jpeg")
    assert (image.retry_count, image.not_before, image.next_attempt_at) == (2, None, None)
    assert image.uploaded_at
    assert (attempt.error_type, attempt.byte_size) == (None, 1234)


def test_a_result_whose_row_has_moved_on_is_dropped_and_its_attempt_kept() -> None:
    venue = make_venue()
    make_image(venue)
    [slow] = claim(venue)
    sweep()
    [quick] = claim(venue)
    assert quick.claim_token != slow.claim_token

    assert settle(success(slow)) == set()
    assert VenueImage.objects.get().upload_status == UploadStatus.UPLOADING
    assert settle(failure(quick)) == {quick.id}
    assert settle(success(slow)) == set()
    assert settle(failure(quick, ErrorType.NOT_FOUND)) == set()

    image = VenueImage.objects.get()
    assert (image.upload_status, image.error_type, image.retry_count) == (UploadStatus.FAILED, "rate_limited", 1)
    assert UploadAttempt.objects.count() == 5


def test_a_result_for_a_row_that_is_gone_is_dropped() -> None:
    venue = make_venue()
    make_image(venue)
    kept = make_image(venue)
    claimed = claim(venue)
    VenueImage.objects.exclude(pk=kept.pk).delete()
    assert settle(*map(success, claimed)) == {kept.pk}
    assert UploadAttempt.objects.count() == 1


def test_settling_nothing_asks_the_database_nothing() -> None:
    async def work() -> set[int]:
        connection = await new_connection()
        await connection.close()
        return await image_ledger.settle(connection, None, [])

    assert asyncio.run(work()) == set()


@pytest.mark.parametrize(
    ("status", "key", "wanted"),
    [
        (UploadStatus.UPLOADED, "venues/x/ct-1.jpg", True),
        (UploadStatus.UPLOADED, "venues/x/ct-1.png", False),
        (UploadStatus.PERMANENTLY_FAILED, "", False),
        (UploadStatus.HOTLINKED, "", False),
        (UploadStatus.PENDING, "", True),
        (UploadStatus.UPLOADING, "", True),
        (UploadStatus.FAILED, "", True),
    ],
)
def test_an_object_is_wanted_by_its_row_and_by_one_that_may_still_adopt_it(
    status: UploadStatus, key: str, wanted: bool
) -> None:
    image = make_image(make_venue(), status, **({"storage_key": key} if key else {}))
    assert connected(lambda each: image_ledger.is_wanted(each, image.pk, "venues/x/ct-1.jpg")) is wanted


def test_an_object_without_a_row_is_not_wanted() -> None:
    assert connected(lambda each: image_ledger.is_wanted(each, 4711, "venues/x/ct-1.jpg")) is False


# Sweep


def test_the_sweep_gives_back_what_dead_workers_held_and_leaves_the_living_alone() -> None:
    venue, floor = make_venue(), timezone.now() + HOUR
    begun: dict[str, Any] = {"status": UploadStatus.UPLOADING, "claimed_at": floor - 2 * HOUR}
    alive, dead = living_worker(timedelta(seconds=25)), living_worker(timedelta(seconds=31))
    kept = make_image(venue, worker_id=alive.pk, **begun)
    silent = make_image(venue, worker_id=dead.pk, retry_count=2, not_before=floor, **begun)
    unknown = make_image(make_venue(), worker_id=uuid.uuid4(), **begun)
    nobody = make_image(venue, **begun)
    others = [make_image(venue, status) for status in UploadStatus if status != UploadStatus.UPLOADING]
    before = list(VenueImage.objects.filter(pk__in=[each.pk for each in others]).order_by("pk").values())

    assert sweep() == [venue.pk, unknown.venue_id]

    for image in (silent, unknown, nobody):
        image.refresh_from_db()
        assert (image.upload_status, image.error_type) == (UploadStatus.FAILED, "worker_lost")
        assert (image.claim_token, image.worker_id) == (None, None)
        attempt = image.attempts.get()
        assert (attempt.error_type, round(attempt.seconds / 60)) == ("worker_lost", 60)
    assert (silent.retry_count, silent.not_before) == (2, floor)
    kept.refresh_from_db()
    assert (kept.upload_status, kept.worker_id) == (UploadStatus.UPLOADING, alive.pk)
    assert list(VenueImage.objects.filter(pk__in=[each.pk for each in others]).order_by("pk").values()) == before
    assert UploadAttempt.objects.count() == 3


def test_venues_of_an_earlier_sweep_are_told_until_their_images_are_taken_up() -> None:
    venue = make_venue()
    make_image(venue, UploadStatus.UPLOADING, claimed_at=timezone.now())
    make_image(make_venue(), UploadStatus.FAILED, "worker_lost")
    assert sweep() == sweep() == [venue.pk]
    [claimed] = claim(venue, worker=living_worker().pk)
    assert sweep() == []
    settle(success(claimed))
    assert sweep() == []


def test_images_that_were_not_begun_are_given_back_as_they_were() -> None:
    venue = make_venue()
    make_image(venue)
    waiting(venue, retry_count=2, http_status=429, next_attempt_at=timezone.now() - HOUR)
    before = list(VenueImage.objects.order_by("pk").values())
    claimed = claim(venue, worker=living_worker().pk)

    connected(lambda connection: image_ledger.give_back(connection, claimed, begun=False))

    assert [{**row, "claimed_at": None} for row in VenueImage.objects.order_by("pk").values()] == before
    assert len(claim(venue)) == 2


def test_a_process_that_stops_gives_its_images_back_and_nobody_elses() -> None:
    venue = make_venue()
    mine, settled, taken = make_image(venue, retry_count=1), make_image(venue), make_image(venue)
    claimed = claim(venue)
    settle(*(success(each) for each in claimed if each.id == settled.pk))
    VenueImage.objects.filter(pk=taken.pk).update(claim_token=uuid.uuid4())

    connected(lambda connection: image_ledger.give_back(connection, claimed, begun=True))

    for image in (mine, settled, taken):
        image.refresh_from_db()
    assert (mine.upload_status, mine.error_type, mine.retry_count) == (UploadStatus.FAILED, "worker_lost", 1)
    assert (settled.upload_status, taken.upload_status) == (UploadStatus.UPLOADED, UploadStatus.UPLOADING)


# How many statements


class CountingCursor(psycopg.AsyncCursor[Any]):
    statements = 0

    async def execute(self, *args: Any, **options: Any) -> Any:
        type(self).statements += 1
        return await super().execute(*args, **options)


@pytest.mark.parametrize("images", [1, 60])
def test_the_number_of_statements_does_not_depend_on_the_number_of_images(images: int) -> None:
    venue = make_venue()
    photos = [Photo("catalog", f"https://photos.example/{number}.jpg") for number in range(images)]

    async def whole_way(connection: AsyncConnection) -> None:
        connection.cursor_factory = CountingCursor
        await photo_ledger.discover(connection, venue.pk, photos, {}, checked=True)
        claimed = await image_ledger.claim(connection, venue.pk, uuid.uuid4(), Scope(), MAX_ATTEMPTS)
        await image_ledger.settle(connection, None, [failure(image) for image in claimed])
        await image_ledger.next_due(connection, venue.pk, Scope(), MAX_ATTEMPTS)
        await image_ledger.sweep(connection)

    CountingCursor.statements = 0
    connected(whole_way)
    assert VenueImage.objects.filter(error_type="rate_limited").count() == images
    assert CountingCursor.statements == 7

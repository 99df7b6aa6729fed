"""The image rows under many hands: who gets an image, whose result counts, what dead workers leave."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.utils import timezone
from psycopg import AsyncConnection

from tests.factories import make_image, make_venue
from tests.runtimes import connected, new_connection
from venue_images import image_ledger, photo_ledger, photo_urls
from venue_images.errors import ERROR_TYPES, ErrorClass, ErrorType
from venue_images.image_ledger import ClaimedImage, Scope, Settlement
from venue_images.models import UploadAttempt, UploadStatus, Venue, VenueImage, Worker
from venue_images.providers import Photo

pytestmark = pytest.mark.usefixtures("transactional_db")

HOUR = timedelta(hours=1)
MAX_ATTEMPTS = 3


def claim(venue: Venue, scope: Scope | None = None, worker: uuid.UUID | None = None) -> list[ClaimedImage]:
    return connected(
        lambda connection: image_ledger.claim(
            connection, venue.pk, worker or uuid.uuid4(), scope or Scope(), MAX_ATTEMPTS
        )
    )


def claimed_ids(venue: Venue, scope: Scope | None = None) -> set[int]:
    return {image.id for image in claim(venue, scope)}


def next_due(venue: Venue, scope: Scope | None = None) -> timedelta | None:
    return connected(lambda connection: image_ledger.next_due(connection, venue.pk, scope or Scope(), MAX_ATTEMPTS))


def settle(*results: Settlement) -> set[int]:
    return connected(lambda connection: image_ledger.settle(connection, None, results))


def sweep() -> list[int]:
    return connected(image_ledger.sweep)


def discover(venue: Venue, photos: Sequence[Photo], *, checked: bool = True, **policies: str) -> list[str]:
    return connected(lambda connection: photo_ledger.discover(connection, venue.pk, photos, policies, checked=checked))


def failure(image: ClaimedImage, error_type: ErrorType | None = ErrorType.RATE_LIMITED, **fields: Any) -> Settlement:
    defaults: dict[str, Any] = {
        "image_id": image.id,
        "claim_token": image.claim_token,
        "status": UploadStatus.FAILED,
        "started_at": datetime.now(UTC),
        "seconds": 0.25,
        "host": image.host,
        "byte_size": 0,
        "retry_count": image.retry_count + 1,
        "error_type": error_type and str(error_type),
        "error_message": "the host answered 429",
        "http_status": 429,
    }
    return Settlement(**{**defaults, **fields})


def success(image: ClaimedImage, **fields: Any) -> Settlement:
    stored = {
        "status": UploadStatus.UPLOADED,
        "error_type": None,
        "error_message": "",
        "http_status": 200,
        "retry_count": image.retry_count,
        "byte_size": 1234,
        "url": "/media/venues/x/ct-1.jpg",
        "storage_key": "venues/x/ct-1.jpg",
        "sha256": "a" * 64,
        "content_type": "image/jpeg",
        "width": 800,
        "height": 600,
    }
    return failure(image, **{**stored, **fields})


def living_worker(silent_for: timedelta = timedelta(0)) -> Worker:
    return Worker.objects.create(kind="worker", hostname="here", pid=1, heartbeat_at=timezone.now() - silent_for)


def waiting(venue: Venue, error_type: str = "rate_limited", **fields: Any) -> VenueImage:
    return make_image(venue, UploadStatus.FAILED, error_type, **fields)


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


# Discover


def test_new_photos_become_rows_and_known_ones_stay_as_they_are() -> None:
    venue = make_venue()
    uploaded = make_image(venue, UploadStatus.UPLOADED, provider_url="https://photos.example/1.jpg", width=10)
    given_up = make_image(venue, UploadStatus.PERMANENTLY_FAILED, "gone", provider_url="https://photos.example/2.jpg")
    before = list(VenueImage.objects.order_by("pk").values())
    photos = [
        Photo("google_places", f"http://PHOTOS.example/{number}.jpg?utm_source=x", width=4000, height=3000)
        for number in (1, 2, 3)
    ]

    assert discover(venue, photos) == [UploadStatus.PENDING]
    assert discover(venue, photos) == []

    assert list(VenueImage.objects.filter(pk__in=[uploaded.pk, given_up.pk]).order_by("pk").values()) == before
    new = VenueImage.objects.exclude(pk__in=[uploaded.pk, given_up.pk]).get()
    assert (new.provider, new.host, new.width, new.height) == ("google_places", "photos.example", 4000, 3000)
    assert (new.score, new.retry_count, new.url) == (1.0, 0, "")


def test_discovering_at_once_makes_each_row_once() -> None:
    venue = make_venue()
    photos = [Photo("catalog", f"https://photos.example/{number}.jpg") for number in range(20)]

    async def everybody() -> list[list[str]]:
        async def one(offers: Sequence[Photo]) -> list[str]:
            async with await new_connection() as connection:
                return await photo_ledger.discover(connection, venue.pk, offers, {}, checked=True)

        return await asyncio.gather(*(one(photos if number % 2 else photos[::-1]) for number in range(6)))

    assert sum(map(len, asyncio.run(everybody()))) == VenueImage.objects.count() == 20


def test_whether_the_venue_was_checked_is_noted_only_when_it_was() -> None:
    venue = make_venue()
    discover(venue, [], checked=False)
    venue.refresh_from_db()
    assert venue.images_checked_at is None
    discover(venue, [], checked=True)
    venue.refresh_from_db()
    assert venue.images_checked_at


def test_a_photo_to_be_hotlinked_gets_the_address_of_the_provider() -> None:
    venue = make_venue()
    states = discover(venue, [Photo("unsplash", "https://photos.example/1.jpg")], unsplash="hotlink")
    image = VenueImage.objects.get()
    assert states == [image.upload_status] == [UploadStatus.HOTLINKED]
    assert image.url == image.provider_url == "https://photos.example/1.jpg"


@pytest.mark.parametrize("policy", ["store", "hotlink"])
def test_an_address_that_is_none_becomes_a_row_that_says_so(policy: str) -> None:
    venue = make_venue()
    photos = [Photo("catalog", url) for url in ("nonsense?key=secret", "ftp://photos.example/1.jpg")]
    assert discover(venue, photos, catalog=policy) == [UploadStatus.PERMANENTLY_FAILED] * 2
    assert discover(venue, photos, catalog=policy) == []
    for image in VenueImage.objects.all():
        assert (image.error_type, image.url, image.host) == ("invalid_provider_url", "", "")
        assert image.failed_at
        assert "secret" not in image.provider_url + image.error_message


@pytest.mark.parametrize(
    "photo",
    [
        {"width": "abc", "height": None},
        {"width": -1, "height": -2},
        {"width": 0, "height": 10**30},
        {"width": 2**31, "height": 1.5},
        {"width": True, "height": [1]},
        {"attribution": "NUL \0, half \ud800", "licence": None},
        {"attribution": {"name": "Ana"}},
        {"photo_id": "x" * 10_000},
        {"photo_id": 7},
        {"url": "https://photos.example/\0\ud800.jpg"},
        {"url": "\0"},
        {"url": f"https://{'a' * 300}.example/1.jpg"},
        {"url": f"https://photos.example/{'a' * 5000}"},
    ],
)
def test_a_photo_can_be_stored_whatever_the_provider_sends(photo: dict[str, Any]) -> None:
    venue = make_venue()
    fields = {"provider": "google_places", "url": "https://photos.example/1.jpg", **photo}
    assert len(discover(venue, [Photo(**fields), Photo("catalog", "https://photos.example/2.jpg")])) == 2
    image = VenueImage.objects.get(provider="google_places")
    assert image.width is None
    assert image.height is None


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


def test_the_hash_of_a_row_is_the_one_of_its_address() -> None:
    venue = make_venue()
    discover(venue, [Photo("catalog", "https://photos.example/1.jpg?b=2&a=1")])
    image = VenueImage.objects.get()
    assert image.url_hash == photo_urls.url_hash("http://photos.example/1.jpg?a=1&b=2#x")

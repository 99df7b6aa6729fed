"""What can't be done now is left in peace: no loop without end, no row for nothing, no image that nobody comes back for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone
from pgqueuer.domain.errors import RetryRequested

from tests.factories import make_image, make_venue
from tests.runtimes import in_runtime
from tests.uploading import SLUG, claimed, make, upload
from venue_images import (
    cleanup_now,
    enrichment_job,
    failed_upload_retry_worker,
    gates,
    job_queue,
    orchestrator,
    uploads,
)
from venue_images.errors import ErrorType
from venue_images.models import Circuit, CleanupRun, Operation, ProviderCheck, UploadStatus, Venue, VenueImage
from venue_images.runtime import connection_string, open_runtime
from venue_images.sandbox import Fault, Sandbox
from venue_images.uploads import UploadCounts

pytestmark = pytest.mark.usefixtures("jobs", "images_folder")

PENDING, FAILED, UPLOADED = UploadStatus.PENDING, UploadStatus.FAILED, UploadStatus.UPLOADED
STORAGE = "storage"


def stop(service: str, *, try_in: timedelta) -> None:
    """Open the circuit of a service; a negative time: its first try is due."""
    Circuit.objects.create(
        service=service,
        state=Circuit.State.OPEN,
        error_type=ErrorType.SERVICE_UNAVAILABLE,
        try_at=Now() + try_in,
        pause=5,
    )


# A cleanup at the terminal


class Rounds:
    """Hears of a cleanup's progress, and ends one that goes round and round."""

    def __init__(self) -> None:
        self.heard = 0

    def __call__(self, _done: int, _all: int) -> None:
        self.heard += 1
        assert self.heard < 5, "it goes round and round"


def test_a_cleanup_ends_when_what_is_left_belongs_to_a_provider_that_the_owner_does_not_want(
    set_environment: Callable[..., None],
) -> None:
    make_image(
        make_venue(),
        FAILED,
        provider="yelp",
        not_before=timezone.now() - timedelta(minutes=1),
        claimed_at=timezone.now(),
    )
    set_environment(YELP_STORAGE_POLICY="none")
    before = VenueImage.objects.values().get()
    rounds = Rounds()
    report = cleanup_now.perform_now(progress=rounds)
    assert (report["venues_queued"], report["images_retried"], rounds.heard) == (0, 0, 0)
    assert report["seconds"] < cleanup_now.PATIENCE
    assert VenueImage.objects.values().get() == before
    assert CleanupRun.objects.get().state == CleanupRun.State.FINISHED


def test_a_cleanup_ends_when_somebody_else_has_what_is_left(sandbox: Sandbox) -> None:
    image = make(sandbox, "arena/1.jpg", status=FAILED, not_before=timezone.now() - timedelta(minutes=1))
    with psycopg.connect(connection_string()) as somebody:
        somebody.execute("SELECT FROM venue_images_venueimage FOR UPDATE")
        report = cleanup_now.perform_now(progress=Rounds())
    assert (report["venues_queued"], report["images_retried"]) == (1, 0)
    assert cleanup_now.perform_now(progress=Rounds())["images_recovered"] == 1
    assert len(sandbox.hits(image.provider_url)) == 1


# Operations


def run(venue: Venue, **wishes: Any) -> None:
    """Run one enrichment job of a minute ago three times, as a worker does that comes back for it."""
    queued_at = job_queue.database_time() - timedelta(minutes=1)
    job = {"venue": venue.pk, "queued_at": queued_at.isoformat(), **wishes}
    for _ in range(3):
        try:
            in_runtime(lambda runtime: enrichment_job.perform(job, runtime))
        except RetryRequested:
            continue


def nothing_to_do() -> Venue:
    return make_venue(images_checked_at=timezone.now())


def behind_a_stopped_host() -> Venue:
    image = make_image(nothing_to_do())
    stop(f"host:{image.host}", try_in=timedelta(hours=1))
    return image.venue


def behind_a_stopped_provider() -> Venue:
    venue = make_venue(provider_ids={"google_places": "sandbox-odeon"})
    hour = timezone.now() + timedelta(hours=1)
    ProviderCheck.objects.create(venue=venue, provider="google_places", tried_at=timezone.now(), due_at=hour)
    return venue


@pytest.mark.parametrize(
    ("make_it", "wishes"),
    [
        (nothing_to_do, {}),
        (nothing_to_do, {"refresh_urls": True}),
        (behind_a_stopped_host, {}),
        (behind_a_stopped_provider, {"providers": ["google_places"]}),
    ],
)
def test_a_job_that_asks_nobody_and_uploads_nothing_leaves_no_row(
    sandbox: Sandbox, make_it: Callable[[], Venue], wishes: dict[str, Any]
) -> None:
    run(make_it(), **wishes)
    assert not Operation.objects.exists()
    assert sandbox.hits() == []


def test_an_enrichment_whose_images_were_all_held_back_leaves_no_row(sandbox: Sandbox) -> None:
    image = make_image(nothing_to_do(), provider_url=sandbox.photo_url("arena/1.jpg"))
    Circuit.objects.create(service=f"host:{image.host}", limit_per_second=0)
    run(image.venue)
    assert not Operation.objects.exists()
    assert_held(image, PENDING, sandbox)


def test_a_retry_whose_images_were_all_held_back_leaves_no_row(sandbox: Sandbox) -> None:
    image = make(sandbox, "arena/1.jpg", status=FAILED)
    Circuit.objects.create(service=f"host:{image.host}", limit_per_second=0)
    assert failed_upload_retry_worker.perform_now(image.venue).images_tried == 0
    assert not Operation.objects.exists()
    assert_held(image, FAILED, sandbox)


def test_a_retry_of_which_one_image_was_tried_keeps_its_row(sandbox: Sandbox) -> None:
    venue = make_venue()
    held, tried = (
        make_image(venue, FAILED, provider_url=sandbox.photo_url("arena/1.jpg", host=host)) for host in (0, 1)
    )
    Circuit.objects.create(service=f"host:{held.host}", limit_per_second=0)
    assert orchestrator.enrich_venue_sync(venue, retry_failed_only=True).images_tried == 1
    operation = Operation.objects.get()
    assert (operation.state, operation.images_uploaded) == (Operation.State.SUCCEEDED, 1)
    assert_held(held, FAILED, sandbox)
    assert len(sandbox.hits(tried.provider_url)) == 1


# What is held back


def assert_held(image: VenueImage, status: UploadStatus, sandbox: Sandbox) -> None:
    """The image is as it was, and has a time."""
    before = (image.error_type, image.error_message, image.retry_count, image.next_attempt_at, image.failed_at)
    image.refresh_from_db()
    assert image.upload_status == status
    assert (image.error_type, image.error_message, image.retry_count, image.next_attempt_at, image.failed_at) == before
    assert (image.claim_token, image.worker_id, image.claimed_at) == (None, None, None)
    assert image.not_before
    assert timedelta(0) < image.not_before - timezone.now() < timedelta(hours=2)
    assert sandbox.hits(image.provider_url) == []


def upload_in_a_worker(*images: VenueImage) -> UploadCounts:
    """Upload with the little patience that a worker has."""

    async def work() -> UploadCounts:
        async with open_runtime("worker") as runtime:
            return await uploads.upload_images(runtime, SLUG, await claimed(runtime, images), None)

    return asyncio.run(work())


def test_images_over_the_limit_of_their_host_are_as_they_were_and_have_a_time(sandbox: Sandbox) -> None:
    venue = make_venue()
    images = [
        make_image(venue, (PENDING, FAILED)[number % 2], provider_url=sandbox.photo_url(f"arena/{number}.jpg"))
        for number in range(8)
    ]
    Circuit.objects.create(service=f"host:{images[0].host}", limit_per_second=1)
    counts = upload_in_a_worker(*images)
    held = [image for image in images if not sandbox.hits(image.provider_url)]
    assert 6 <= len(held) == 8 - counts.tried < 8
    for image in held:
        assert_held(image, UploadStatus(image.upload_status), sandbox)


@pytest.mark.parametrize("column", ["limit_per_second", "concurrency"])
@pytest.mark.parametrize("status", [PENDING, FAILED])
def test_a_host_that_may_not_be_asked_at_all_leaves_its_images_as_they_were(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, column: str, status: UploadStatus
) -> None:
    monkeypatch.setattr(gates, "TURN_PATIENCE", 0.2)
    image = make(sandbox, "arena/1.jpg", status=status)
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO venue_images_circuit (service, {column}) VALUES (%s, 0)", [f"host:{image.host}"])
    assert upload_in_a_worker(image).tried == 0
    assert_held(image, status, sandbox)


def test_a_photo_that_is_missing_leaves_the_storages_try_to_the_next_one(sandbox: Sandbox) -> None:
    missing, good = make(sandbox, "arena/1.jpg"), make(sandbox, "arena/2.jpg")
    sandbox.script(missing.provider_url, Fault("status", status=404))
    stop(STORAGE, try_in=-timedelta(seconds=1))

    assert upload(missing).failed == 1
    circuit = Circuit.objects.get(service=STORAGE)
    assert (missing.error_type, circuit.state) == ("not_found", Circuit.State.OPEN)
    assert circuit.try_at
    assert circuit.try_at < timezone.now()

    assert upload(good).uploaded == 1
    assert Circuit.objects.get(service=STORAGE).state == Circuit.State.CLOSED


def test_a_photo_that_its_host_holds_back_leaves_the_storages_try_to_the_next_one(sandbox: Sandbox) -> None:
    held, good = (
        make(sandbox, "arena/1.jpg"),
        make_image(make_venue(), provider_url=sandbox.photo_url("a/2.jpg", host=1)),
    )
    Circuit.objects.create(service=f"host:{held.host}", limit_per_second=0)
    stop(STORAGE, try_in=-timedelta(seconds=1))

    assert upload(held).tried == 0
    assert Circuit.objects.get(service=STORAGE).state == Circuit.State.OPEN
    assert upload(good).uploaded == 1

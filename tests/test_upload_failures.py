"""Uploads that fail: no failure loses anything, and who is unwell is left alone."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from psycopg import AsyncConnection
from psycopg.rows import scalar_row

from tests.factories import make_image, make_venue
from tests.runtimes import in_runtime, new_connection
from tests.uploading import SLUG, claimed, make, refuse, stored_files, upload
from venue_images import circuits, uploads
from venue_images.errors import ErrorType, UploadError
from venue_images.models import Circuit, UploadAttempt, UploadStatus, VenueImage
from venue_images.runtime import Runtime
from venue_images.sandbox import Fault, Sandbox
from venue_images.uploads import UploadCounts

pytestmark = pytest.mark.usefixtures("transactional_db", "images_folder")

UPLOADED, FAILED = UploadStatus.UPLOADED, UploadStatus.FAILED


# The storage


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_storage_that_a_person_has_to_mend_costs_no_attempt(
    sandbox: Sandbox, images_folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    image = make(sandbox, "opera/1.jpg")
    with monkeypatch.context() as broken:
        refuse(broken, "fsync", number)
        for _ in range(4):
            VenueImage.objects.update(error_type="rate_limited", retry_count=0)
            circuits.let_try()
            counts = upload(image)
    assert (image.upload_status, image.error_type, image.retry_count) == (FAILED, "storage_config", 0)
    assert dict(counts.by_error_type) == {"storage_config": 1}
    assert image.error_message
    assert stored_files(images_folder) == set()
    assert UploadAttempt.objects.count() == len(sandbox.hits(image.provider_url)) == 4
    assert upload(image).uploaded == 0

    VenueImage.objects.update(upload_status=UploadStatus.PENDING)
    circuits.let_try()
    assert upload(image).uploaded == 1
    assert (images_folder / image.storage_key).read_bytes() == sandbox.photo_bytes(image.provider_url)
    assert Circuit.objects.get(service="storage").state == Circuit.State.CLOSED


def test_a_storage_that_a_person_has_to_mend_stops_all_uploads_before_they_begin(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, "fsync", errno.ENOSPC)
    upload(make(sandbox, "opera/1.jpg"))
    circuit = Circuit.objects.get(service="storage")
    assert (circuit.state, circuit.error_type) == (Circuit.State.OPEN, "storage_config")

    other = make(sandbox, "arena/1.jpg")
    assert upload(other).tried == 0
    assert (other.upload_status, other.error_type, other.claimed_at) == (UploadStatus.PENDING, None, None)
    assert sandbox.hits(other.provider_url) == []


def test_a_storage_that_does_not_answer_costs_attempts_and_is_given_up(
    sandbox: Sandbox, images_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = make(sandbox, "opera/1.jpg")
    refuse(monkeypatch, "fsync", errno.EIO)
    seen = []
    for _ in range(4):
        upload(image)
        seen.append((image.upload_status, image.error_type, image.retry_count))
    given_up = (UploadStatus.PERMANENTLY_FAILED, "storage_unavailable", 3)
    assert seen == [(FAILED, "storage_unavailable", 1), (FAILED, "storage_unavailable", 2), given_up, given_up]
    assert len(sandbox.hits(image.provider_url)) == 3


class UnheardOfError(Exception):
    """Something that nobody has thought of."""


@contextmanager
def storage_that_raises(runtime: Runtime, error: Exception, only: str) -> Iterator[None]:
    put = runtime.storage.put

    async def broken(key: str, body: bytes, content_type: str) -> bool:
        if only in key:
            raise error
        return await put(key, body, content_type)

    runtime.storage.put = broken  # type: ignore[method-assign]
    yield


def test_an_error_that_nobody_has_thought_of_loses_nothing(
    sandbox: Sandbox, images_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    venue = make_venue()
    images = [make_image(venue, provider_url=sandbox.photo_url(f"opera/{number}.jpg")) for number in range(1, 6)]
    odd = images[2]

    async def work(runtime: Runtime) -> UploadCounts:
        with storage_that_raises(runtime, UnheardOfError("sk-secret"), only=odd.url_hash):
            return await uploads.upload_images(runtime, SLUG, await claimed(runtime, images), None)

    with caplog.at_level(logging.ERROR):
        counts = in_runtime(work)

    assert (counts.uploaded, counts.failed, dict(counts.by_error_type)) == (4, 1, {"unknown_error": 1})
    odd.refresh_from_db()
    assert (odd.upload_status, odd.error_type, odd.retry_count) == (FAILED, "unknown_error", 1)
    assert odd.error_message == "Unexpected: UnheardOfError"
    assert f"image.unexpected_error image={odd.pk}" in caplog.text
    assert UploadAttempt.objects.count() == 5


def test_a_storage_that_refuses_one_image_does_not_spoil_the_others(sandbox: Sandbox) -> None:
    venue = make_venue()
    images = [make_image(venue, provider_url=sandbox.photo_url(f"opera/{number}.jpg")) for number in (1, 2, 3)]
    refusal = UploadError(ErrorType.STORAGE_UNAVAILABLE, "busy")

    async def work(runtime: Runtime) -> UploadCounts:
        with storage_that_raises(runtime, refusal, only=images[0].url_hash):
            return await uploads.upload_images(runtime, SLUG, await claimed(runtime, images), None)

    assert in_runtime(work).uploaded == 2
    assert dict(VenueImage.objects.values_list("error_type", "retry_count")) == {"storage_unavailable": 1, None: 0}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what happens elsewhere sets no event here
            await asyncio.sleep(0.01)


def test_images_whose_upload_is_cancelled_are_given_back_at_once(sandbox: Sandbox) -> None:
    image = make(sandbox, "opera/1.jpg", retry_count=1)
    sandbox.script(image.provider_url, Fault("delay", delay=20), times=1)

    async def work(runtime: Runtime) -> None:
        images = await claimed(runtime, [image])
        task = asyncio.create_task(uploads.upload_images(runtime, SLUG, images, None))
        await until(lambda: bool(sandbox.hits(image.provider_url)))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    in_runtime(work)
    image.refresh_from_db()
    assert (image.upload_status, image.error_type, image.retry_count) == (FAILED, "worker_lost", 1)
    assert upload(image).uploaded == 1


def test_images_that_have_not_begun_when_the_process_is_to_end_are_given_back_untouched(sandbox: Sandbox) -> None:
    venue = make_venue()
    fresh = make_image(venue, provider_url=sandbox.photo_url("opera/1.jpg"))
    failed = make_image(venue, FAILED, "rate_limited", provider_url=sandbox.photo_url("opera/2.jpg"))

    async def work(runtime: Runtime) -> UploadCounts:
        images = await claimed(runtime, [fresh, failed])
        runtime.stopping.set()
        return await uploads.upload_images(runtime, SLUG, images, None)

    counts = in_runtime(work)
    fresh.refresh_from_db()
    failed.refresh_from_db()
    assert (counts.uploaded, counts.failed) == (0, 0)
    assert (fresh.upload_status, fresh.error_type) == (UploadStatus.PENDING, None)
    assert (failed.upload_status, failed.error_type, failed.retry_count) == (FAILED, "rate_limited", 1)
    assert sandbox.hits("*") == []
    assert upload(fresh, failed).uploaded == 2


def test_a_connection_that_is_lost_while_settling_loses_no_result(
    sandbox: Sandbox, images_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settling waits for a lock when the server ends its connection."""
    monkeypatch.setattr(uploads, "SETTLE_PAUSES", (0.05, 0.05))
    image = make(sandbox, "opera/1.jpg")

    async def work(runtime: Runtime) -> UploadCounts:
        images = await claimed(runtime, [image])
        async with await new_connection() as other:
            async with other.transaction():
                await other.execute("SELECT FROM venue_images_venueimage FOR UPDATE")
                upload = asyncio.create_task(uploads.upload_images(runtime, SLUG, images, None))
                await cut_the_waiting(other)
            return await upload

    assert in_runtime(work).uploaded == 1
    image.refresh_from_db()
    assert image.upload_status == UPLOADED
    assert len(sandbox.hits(image.provider_url)) == UploadAttempt.objects.count() == 1


async def cut_the_waiting(connection: AsyncConnection) -> None:
    """End the connection that waits for a lock, once there is one."""
    async with asyncio.timeout(10):
        async with connection.cursor(row_factory=scalar_row) as cursor:
            while True:
                await cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                )
                if await cursor.fetchone():
                    return
                await asyncio.sleep(0.01)


# Retry-After


@pytest.mark.parametrize(("retry_after", "as_date"), [(120.0, False), (120.0, True)])
def test_what_the_host_asked_for_is_the_floor(sandbox: Sandbox, retry_after: float, as_date: bool) -> None:
    image = make(sandbox, "arena/1.jpg")
    fault = Fault("status", status=503, retry_after=retry_after, retry_after_date=as_date)
    sandbox.script(image.provider_url, fault, times=1)
    started = timezone.now()
    upload(image)
    assert image.not_before
    assert 120 <= (image.not_before - started).total_seconds() < 130
    assert upload(image).uploaded == 0
    assert len(sandbox.hits(image.provider_url)) == 1


def test_a_failure_waits_for_our_own_back_off_and_a_final_one_for_nothing(sandbox: Sandbox) -> None:
    venue = make_venue()
    again, never = (make_image(venue, provider_url=sandbox.photo_url(f"arena/{number}.jpg")) for number in (1, 2))
    sandbox.script(again.provider_url, Fault("status", status=502))
    sandbox.script(never.provider_url, Fault("status", status=410))
    upload(again, never)
    assert again.next_attempt_at
    assert timezone.now() - again.next_attempt_at < timedelta(minutes=1)
    assert again.not_before is None
    assert never.next_attempt_at is None


# A host that is unwell


def images_of_one_host(sandbox: Sandbox, count: int) -> list[VenueImage]:
    venue = make_venue()
    return [make_image(venue, provider_url=sandbox.photo_url(f"arena/{n}.jpg")) for n in range(1, count + 1)]


def test_after_ten_failures_in_a_row_the_host_is_left_alone_and_the_rest_is_as_it_was(
    sandbox: Sandbox, set_environment: Callable[..., None]
) -> None:
    set_environment(VENUE_IMAGES_HOST_CONCURRENCY="1")
    sandbox.script("/arena/*", Fault("status", status=503))
    images = images_of_one_host(sandbox, 20)

    counts = upload(*images)

    assert (counts.tried, counts.failed) == (10, 10)
    assert dict(counts.by_error_type) == {"service_unavailable": 10}
    assert len(sandbox.hits("/arena/*")) == UploadAttempt.objects.count() == 10
    held = [image for image in images if image.upload_status == UploadStatus.PENDING]
    assert len(held) == 10
    assert {(image.retry_count, image.not_before, image.claimed_at, image.claim_token) for image in held} == {
        (0, None, None, None)
    }
    circuit = Circuit.objects.get(service=f"host:{images[0].host}")
    assert (circuit.state, circuit.error_type) == (Circuit.State.OPEN, "service_unavailable")


def test_a_host_that_may_have_recovered_gets_one_request_first_and_then_the_rest(sandbox: Sandbox) -> None:
    sandbox.script("/arena/*", Fault("status", status=503))
    images = images_of_one_host(sandbox, 12)
    upload(*images)
    failed = VenueImage.objects.filter(upload_status=FAILED).count()
    assert failed >= 10
    sandbox.heal()
    sandbox.script("/arena/*", Fault("delay", delay=1))
    assert upload(*images).tried == 0

    circuits.let_try()
    first, rest = upload(*images), upload(*images)

    assert (first.tried, first.uploaded) == (1, 1)
    assert (rest.tried, rest.uploaded) == (11, 11)
    assert len(sandbox.hits("/arena/*")) == failed + 12
    assert Circuit.objects.get(service=f"host:{images[0].host}").state == Circuit.State.CLOSED


def test_photos_that_are_gone_say_nothing_against_their_host(
    sandbox: Sandbox, set_environment: Callable[..., None]
) -> None:
    set_environment(VENUE_IMAGES_HOST_CONCURRENCY="1")
    sandbox.script("/arena/*", Fault("status", status=404))
    assert upload(*images_of_one_host(sandbox, 12)).tried == 12
    assert not Circuit.objects.exclude(state=Circuit.State.CLOSED).exists()


def test_what_a_host_asks_for_holds_for_all_its_photos_and_for_no_other_host(sandbox: Sandbox) -> None:
    busy, same_host = make(sandbox, "arena/1.jpg"), make(sandbox, "opera/1.jpg")
    elsewhere = make_image(make_venue(), provider_url=sandbox.photo_url("opera/2.jpg", host=1))
    sandbox.script(busy.provider_url, Fault("status", status=429, retry_after=600), times=1)
    upload(busy)

    counts = upload(same_host, elsewhere)

    assert (counts.tried, counts.uploaded) == (1, 1)
    assert (same_host.upload_status, same_host.retry_count) == (UploadStatus.PENDING, 0)
    assert sandbox.hits(same_host.provider_url) == []
    circuits.let_try()
    assert upload(same_host).tried == 0

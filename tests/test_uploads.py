"""The upload of claimed images: what is stored, what is adopted, what is taken back, and what no failure can lose."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connections
from django.utils import timezone
from psycopg import AsyncConnection
from psycopg.rows import scalar_row

from tests.factories import make_image, make_venue
from tests.runtimes import in_runtime, new_connection
from venue_images import image_ledger, uploads
from venue_images.errors import ErrorType, UploadError
from venue_images.image_ledger import ClaimedImage, Scope
from venue_images.models import UploadAttempt, UploadStatus, VenueImage
from venue_images.providers import PROVIDERS
from venue_images.runtime import Runtime
from venue_images.sandbox import Fault, Sandbox
from venue_images.uploads import UploadCounts

pytestmark = pytest.mark.usefixtures("transactional_db", "images_folder")

SLUG = "blue-note"
UPLOADED, FAILED = UploadStatus.UPLOADED, UploadStatus.FAILED


def make(sandbox: Sandbox, path: str, **fields: Any) -> VenueImage:
    """A pending image of a photo of the sandbox; every one has a venue of its own."""
    return make_image(make_venue(), provider_url=sandbox.photo_url(path), **fields)


async def claimed(runtime: Runtime, images: Sequence[VenueImage]) -> list[ClaimedImage]:
    found: list[ClaimedImage] = []
    async with runtime.pool.connection() as connection:
        for venue in dict.fromkeys(image.venue_id for image in images):
            scope = Scope(asked_at=timezone.now())
            found += await image_ledger.claim(connection, venue, runtime.worker_id, scope, 3)
    return found


def upload(*images: VenueImage, slug: str = SLUG) -> UploadCounts:
    """Claim, download, store, settle; the rows are read again."""

    async def work(runtime: Runtime) -> UploadCounts:
        return await uploads.upload_images(runtime, slug, await claimed(runtime, images), None)

    counts = in_runtime(work)
    for image in images:
        image.refresh_from_db()
    return counts


def key_of(image: VenueImage, extension: str = "jpg", slug: str = SLUG) -> str:
    return f"venues/{slug}/ct-{image.url_hash}.{extension}"


def place(folder: Path, key: str, body: bytes) -> Path:
    """An object that lies in the storage already."""
    file = folder / key
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(body)
    return file


def stored_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# Success


@pytest.mark.parametrize(
    ("extension", "content_type"), [("jpg", "image/jpeg"), ("png", "image/png"), ("webp", "image/webp")]
)
def test_the_stored_bytes_are_the_downloaded_bytes(
    sandbox: Sandbox, images_folder: Path, extension: str, content_type: str
) -> None:
    image = make(sandbox, f"louvre/1.{extension}")
    counts = upload(image)

    body = sandbox.photo_bytes(image.provider_url)
    assert (counts.uploaded, counts.failed) == (1, 0)
    assert (image.upload_status, image.storage_key) == (UPLOADED, key_of(image, extension))
    assert (images_folder / image.storage_key).read_bytes() == body
    assert (image.sha256, image.byte_size) == (hashlib.sha256(body).hexdigest(), len(body))
    assert (image.content_type, (image.width, image.height)) == (content_type, sandbox.photo_size(image.provider_url))
    assert image.url.endswith(image.storage_key)
    attempt = UploadAttempt.objects.get()
    assert (attempt.error_type, attempt.http_status, attempt.byte_size) == (None, 200, len(body))
    assert attempt.host == urlsplit(image.provider_url).netloc


def test_the_extension_comes_from_the_content(sandbox: Sandbox, images_folder: Path) -> None:
    image = make(sandbox, "louvre/1.jpg")
    sandbox.script(image.provider_url, Fault("redirect", location=sandbox.photo_url("louvre/2.png")))
    upload(image)
    assert image.storage_key == key_of(image, "png")


def test_every_provider_has_a_file_name_of_its_own_and_unknown_ones_share_one(sandbox: Sandbox) -> None:
    names = {uploads.key_prefix("x", name, "0" * 16) for name in (*PROVIDERS, "of_the_old_system")}
    assert len(names) == len(PROVIDERS) + 1
    assert uploads.key_prefix("x", "of_the_old_system", "0" * 16) == f"venues/x/xx-{'0' * 16}"


def test_a_row_of_a_provider_that_is_not_known_any_more_is_uploaded_and_judged(
    sandbox: Sandbox, images_folder: Path
) -> None:
    venue = make_venue()
    good, gone = (
        make_image(venue, provider="old_provider", provider_url=sandbox.photo_url(f"old/{number}.jpg"))
        for number in (1, 2)
    )
    sandbox.script(gone.provider_url, Fault("status", status=403))
    upload(good, gone)
    assert good.storage_key == f"venues/{SLUG}/xx-{good.url_hash}.jpg"
    assert (images_folder / good.storage_key).read_bytes() == sandbox.photo_bytes(good.provider_url)
    assert (gone.upload_status, gone.error_type) == (UploadStatus.PERMANENTLY_FAILED, "forbidden")


# What lies there already


@pytest.mark.parametrize("error_type", ["worker_lost", "storage_unavailable"])
def test_what_a_lost_attempt_stored_is_adopted_without_a_second_download(
    sandbox: Sandbox, images_folder: Path, error_type: str
) -> None:
    image = make(sandbox, "tresor/1.jpg", status=FAILED, error_type=error_type, retry_count=0)
    body = sandbox.photo_bytes(image.provider_url)
    place(images_folder, key_of(image), body)

    counts = upload(image)

    assert sandbox.hits(image.provider_url) == []
    assert (counts.uploaded, image.upload_status, image.storage_key) == (1, UPLOADED, key_of(image))
    assert (image.sha256, image.byte_size) == (hashlib.sha256(body).hexdigest(), len(body))
    assert (image.width, image.height) == sandbox.photo_size(image.provider_url)
    assert image.content_type == "image/jpeg"


def test_what_a_lost_attempt_left_broken_is_replaced(sandbox: Sandbox, images_folder: Path) -> None:
    image = make(sandbox, "tresor/1.jpg", status=FAILED, error_type="worker_lost")
    body = sandbox.photo_bytes(image.provider_url)
    file = place(images_folder, key_of(image), body[: len(body) // 2])
    upload(image)
    assert image.upload_status == UPLOADED
    assert file.read_bytes() == body


def test_an_object_of_another_photo_is_not_taken_for_the_lost_one(sandbox: Sandbox, images_folder: Path) -> None:
    image = make(sandbox, "tresor/1.jpg", status=FAILED, error_type="worker_lost")
    place(images_folder, key_of(image).replace(".jpg", "0.jpg"), sandbox.photo_bytes("other/1.jpg"))
    upload(image)
    assert len(sandbox.hits(image.provider_url)) == 1
    assert (images_folder / image.storage_key).read_bytes() == sandbox.photo_bytes(image.provider_url)


def test_other_failures_are_downloaded_again(sandbox: Sandbox, images_folder: Path) -> None:
    image = make(sandbox, "tresor/1.jpg", status=FAILED, error_type="rate_limited")
    place(images_folder, key_of(image), sandbox.photo_bytes("other/1.jpg"))
    upload(image)
    assert len(sandbox.hits(image.provider_url)) == 1
    assert (images_folder / image.storage_key).read_bytes() == sandbox.photo_bytes(image.provider_url)


def test_an_object_with_the_same_bytes_is_left_as_it_is(sandbox: Sandbox, images_folder: Path) -> None:
    image = make(sandbox, "tresor/1.jpg")
    file = place(images_folder, key_of(image), sandbox.photo_bytes(image.provider_url))
    before = file.stat()
    upload(image)
    assert image.upload_status == UPLOADED
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_an_object_with_other_bytes_gives_way_to_the_photo_of_today(sandbox: Sandbox, images_folder: Path) -> None:
    image = make(sandbox, "tresor/1.jpg")
    file = place(images_folder, key_of(image), b"of yesterday")
    upload(image)
    assert image.upload_status == UPLOADED
    assert file.read_bytes() == sandbox.photo_bytes(image.provider_url)


def test_the_same_photo_in_two_venues_is_two_objects(sandbox: Sandbox, images_folder: Path) -> None:
    url = sandbox.photo_url("shared/1.jpg")
    for slug in ("one", "two"):
        upload(make_image(make_venue(), provider_url=url), slug=slug)
    assert len(stored_files(images_folder)) == 2


# A row that has moved on


def upload_while(change: Callable[[VenueImage], None], image: VenueImage) -> UploadCounts:
    """Upload the image; between download and settling, something happens to its row."""

    async def work(runtime: Runtime) -> UploadCounts:
        images = await claimed(runtime, [image])
        await asyncio.to_thread(_in_thread, change, image)
        return await uploads.upload_images(runtime, SLUG, images, None)

    return in_runtime(work)


def _in_thread(change: Callable[[VenueImage], None], image: VenueImage) -> None:
    try:
        change(image)
    finally:
        connections.close_all()


def remove(image: VenueImage) -> None:
    image.delete()


def update(**fields: object) -> Callable[[VenueImage], None]:
    def change(image: VenueImage) -> None:
        VenueImage.objects.filter(pk=image.pk).update(claim_token=None, worker_id=None, **fields)

    return change


def test_an_object_that_nobody_wants_any_more_is_removed(sandbox: Sandbox, images_folder: Path) -> None:
    image = make(sandbox, "arena/1.jpg")
    counts = upload_while(remove, image)
    assert (counts.uploaded, counts.failed) == (0, 0)
    assert len(sandbox.hits(image.provider_url)) == 1
    assert stored_files(images_folder) == set()


@pytest.mark.parametrize("status", [UploadStatus.PERMANENTLY_FAILED, UploadStatus.HOTLINKED])
def test_an_object_is_removed_when_its_row_has_ended_without_it(
    sandbox: Sandbox, images_folder: Path, status: UploadStatus
) -> None:
    image = make(sandbox, "arena/1.jpg")
    upload_while(update(upload_status=status, error_type="gone"), image)
    image.refresh_from_db()
    assert (image.upload_status, image.storage_key) == (status, "")
    assert stored_files(images_folder) == set()


@pytest.mark.parametrize("status", [UploadStatus.UPLOADING, UploadStatus.FAILED, UploadStatus.PENDING])
def test_an_object_that_another_attempt_may_adopt_stays(
    sandbox: Sandbox, images_folder: Path, status: UploadStatus
) -> None:
    image = make(sandbox, "arena/1.jpg")
    upload_while(update(upload_status=status, error_type="worker_lost"), image)
    image.refresh_from_db()
    assert image.upload_status == status
    assert stored_files(images_folder) == {key_of(image)}


def test_an_object_that_another_attempt_has_stored_stays(sandbox: Sandbox, images_folder: Path) -> None:
    image = make(sandbox, "arena/1.jpg")
    key = key_of(image)
    upload_while(update(upload_status=UPLOADED, storage_key=key, url="/x"), image)
    assert stored_files(images_folder) == {key}


def test_an_object_that_was_there_before_is_never_removed(sandbox: Sandbox, images_folder: Path) -> None:
    image = make(sandbox, "arena/1.jpg")
    place(images_folder, key_of(image), sandbox.photo_bytes(image.provider_url))
    upload_while(remove, image)
    assert stored_files(images_folder) == {key_of(image)}


def test_a_storage_that_fails_while_taking_back_spoils_nothing_else(
    sandbox: Sandbox, images_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    venue = make_venue()
    lost, good = (make_image(venue, provider_url=sandbox.photo_url(f"arena/{number}.jpg")) for number in (1, 2))
    refuse(monkeypatch, "unlink", errno.EIO, only=lost.url_hash)
    counts = upload_while(remove, lost)
    good.refresh_from_db()
    assert (counts.uploaded, good.upload_status) == (1, UPLOADED)
    assert f"image.orphan_left key={key_of(lost)}" in caplog.text


# Failures


def refuse(monkeypatch: pytest.MonkeyPatch, call: str, number: int, *, only: str = "") -> None:
    """Let the operating system refuse this call with this error, as it does for a full or broken disk."""
    real = getattr(os, call)

    def refused(path: object, *args: object, **options: object) -> object:
        if only in str(path):
            raise OSError(number, os.strerror(number))
        return real(path, *args, **options)

    monkeypatch.setattr(os, call, refused)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_storage_that_a_person_has_to_mend_costs_no_attempt(
    sandbox: Sandbox, images_folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    image = make(sandbox, "opera/1.jpg")
    with monkeypatch.context() as broken:
        refuse(broken, "fsync", number)
        for _ in range(4):
            VenueImage.objects.update(error_type="rate_limited", retry_count=0)
            counts = upload(image)
    assert (image.upload_status, image.error_type, image.retry_count) == (FAILED, "storage_config", 0)
    assert dict(counts.by_error_type) == {"storage_config": 1}
    assert image.error_message
    assert stored_files(images_folder) == set()
    assert upload(image).uploaded == 0

    VenueImage.objects.update(upload_status=UploadStatus.PENDING)
    assert upload(image).uploaded == 1
    assert (images_folder / image.storage_key).read_bytes() == sandbox.photo_bytes(image.provider_url)


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

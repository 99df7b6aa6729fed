"""The upload of claimed images: what is stored, what is adopted, what is taken back."""

from __future__ import annotations

import asyncio
import errno
import hashlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.db import connections

from tests.factories import make_image, make_venue
from tests.runtimes import in_runtime
from tests.uploading import SLUG, claimed, key_of, make, place, refuse, stored_files, upload
from venue_images import uploads
from venue_images.models import UploadAttempt, UploadStatus, VenueImage
from venue_images.providers import PROVIDERS
from venue_images.runtime import Runtime
from venue_images.sandbox import Fault, Sandbox
from venue_images.uploads import UploadCounts

pytestmark = pytest.mark.usefixtures("transactional_db", "images_folder")

UPLOADED, FAILED = UploadStatus.UPLOADED, UploadStatus.FAILED


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

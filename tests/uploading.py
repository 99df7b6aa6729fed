"""Uploads for tests: images of the sandbox, claimed and uploaded, and a disk that refuses."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from tests.factories import make_image, make_venue
from tests.runtimes import in_runtime
from venue_images import image_ledger, uploads
from venue_images.image_ledger import ClaimedImage, Scope
from venue_images.models import VenueImage
from venue_images.runtime import Runtime
from venue_images.sandbox import Sandbox
from venue_images.uploads import UploadCounts

SLUG = "blue-note"


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


def refuse(monkeypatch: pytest.MonkeyPatch, call: str, number: int, *, only: str = "") -> None:
    """Let the operating system refuse this call with this error, as it does for a full or broken disk."""
    real = getattr(os, call)

    def refused(path: object, *args: object, **options: object) -> object:
        if only in str(path):
            raise OSError(number, os.strerror(number))
        return real(path, *args, **options)

    monkeypatch.setattr(os, call, refused)

"""Exports the catalogue: every venue with its images, in flat memory."""

from __future__ import annotations

import csv
import itertools
import json
import os
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from django.db import transaction

from venue_images.catalog.files import suffix_of
from venue_images.errors import ErrorType, UserError
from venue_images.models import Venue, VenueImage

VENUES_PER_STATEMENT = 200
VENUE_COLUMNS = ("slug", "name", "city", "latitude", "longitude")
IMAGE_KEYS = (
    "id",
    "provider",
    "provider_url",
    "url",
    "storage_key",
    "upload_status",
    "error_type",
    "error_class",
    "retry_count",
    "sha256",
    "bytes",
    "content_type",
    "width",
    "height",
    "attribution",
    "licence",
    "page_url",
)
#: What a spreadsheet takes for the start of a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass
class ExportResult:
    venues: int = 0
    images: int = 0

    def to_json(self) -> dict[str, Any]:
        return {"venues": self.venues, "images": self.images}


def export_file(path: Path, progress: Callable[[int, int], None] | None = None) -> ExportResult:
    """Write every venue with its images to a ``.jsonl`` or ``.csv`` file, which appears whole or not at all.

    The JSONL can be imported again. ``progress`` is told the venues written so far, and in all. Raises
    :class:`UserError`.
    """
    write = {".jsonl": _write_jsonl, ".csv": _write_csv}[suffix_of(path)]
    result = ExportResult()
    with _replaced(path) as file, transaction.atomic():
        write(file, _counted(result, progress))
    return result


@contextmanager
def _replaced(path: Path) -> Iterator[TextIO]:
    """A new file that takes the place of ``path`` when all is written."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder: name a file in it.")
        try:
            with unfinished.open("x", encoding="utf-8", newline="") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{path} can't be written ({error.strerror}): choose a folder with space that you may write to."
        ) from None


def _counted(
    result: ExportResult, progress: Callable[[int, int], None] | None
) -> Iterator[tuple[Venue, list[VenueImage]]]:
    total = Venue.objects.count() if progress else 0
    venues = Venue.objects.order_by("id").iterator(VENUES_PER_STATEMENT)
    for batch in iter(lambda: list(itertools.islice(venues, VENUES_PER_STATEMENT)), []):
        images = defaultdict[int, list[VenueImage]](list)
        for image in VenueImage.objects.filter(venue__in=batch).order_by("id"):
            images[image.venue_id].append(image)
            result.images += 1
        for venue in batch:
            result.venues += 1
            yield venue, images[venue.pk]
        if progress:
            progress(result.venues, total)


def _write_jsonl(file: TextIO, venues: Iterator[tuple[Venue, list[VenueImage]]]) -> None:
    for venue, images in venues:
        fields = {column: getattr(venue, column) for column in VENUE_COLUMNS}
        line = {
            **fields,
            **venue.extra,
            **fields,
            "provider_ids": venue.provider_ids,
            "photos": venue.photos,
            "images": [_image_fields(image) for image in images],
        }
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _write_csv(file: TextIO, venues: Iterator[tuple[Venue, list[VenueImage]]]) -> None:
    """One line an image; a venue without images has one line all the same."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(itertools.chain(VENUE_COLUMNS, IMAGE_KEYS))
    for venue, images in venues:
        cells = [getattr(venue, column) for column in VENUE_COLUMNS]
        for image in images:
            writer.writerow(map(_harmless, itertools.chain(cells, _image_fields(image).values())))
        if not images:
            writer.writerow(map(_harmless, itertools.chain(cells, [None] * len(IMAGE_KEYS))))


def _image_fields(image: VenueImage) -> dict[str, Any]:
    values = (
        image.pk,
        image.provider,
        image.provider_url,
        image.url or None,
        image.storage_key or None,
        image.upload_status,
        image.error_type,
        ErrorType(image.error_type).error_class if image.error_type else None,
        image.retry_count,
        image.sha256 or None,
        image.byte_size,
        image.content_type or None,
        image.width,
        image.height,
        image.attribution or None,
        image.licence or None,
        image.page_url or None,
    )
    return dict(zip(IMAGE_KEYS, values, strict=True))


def _harmless(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell

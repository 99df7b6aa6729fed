"""Imports a catalogue file: a constant number of SQL statements for each batch of lines, flat memory for any file.

A line adds and replaces; what it does not mention stays, so a file of one new column takes nothing away. Rows of
images that exist are never written: their state is the truth.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db import connection, transaction

from venue_images.catalog.files import CatalogFile, Record, Rejected
from venue_images.catalog.venue_lines import VenueLine, parse
from venue_images.errors import UserError
from venue_images.models import Venue, VenueImage

LINES_PER_BATCH = 1000
IMAGES_PER_STATEMENT = 5000
FIELDS = ("name", "city", "latitude", "longitude", "provider_ids", "photos", "extra")
#: Degrees between two places that can't be one venue.
OTHER_PLACE = 0.05
#: Names the lock that lets one import write at a time.
IMPORT_LOCK = 0x56494D50


@dataclass
class ImportResult:
    """What an import did; the words are those of ``interface.md``."""

    venues_created: int = 0
    #: Venues whose data really changed.
    venues_updated: int = 0
    #: Rows made from the records of the replaced system.
    images_created: int = 0
    images_unchanged: int = 0
    rejected: list[Rejected] = field(default_factory=list)

    @property
    def rejected_count(self) -> int:
        return len(self.rejected)

    def to_json(self) -> dict[str, Any]:
        return {
            "venues_created": self.venues_created,
            "venues_updated": self.venues_updated,
            "images_created": self.images_created,
            "images_unchanged": self.images_unchanged,
            "rejected_count": self.rejected_count,
            "rejected": [{"line": rejected.line, "error": rejected.error} for rejected in self.rejected],
        }


def import_file(
    path: Path, *, dry_run: bool = False, progress: Callable[[int, int], None] | None = None
) -> ImportResult:
    """Import the good lines of the file and report the others; ``dry_run`` reports the same and writes nothing.

    ``progress`` is told the bytes read so far, and in all. Raises :class:`UserError` when the file can't be used.
    """
    result = ImportResult()
    file = CatalogFile(path)
    with closing(SeenSlugs()) as seen:
        records = iter(file)
        for batch in iter(lambda: list(itertools.islice(records, LINES_PER_BATCH)), []):
            with transaction.atomic():
                _import_batch(list(_understood(batch, result)), seen, result, dry_run=dry_run)
            if progress:
                progress(file.done, file.size)
    if not (seen.count or result.rejected):
        raise UserError(f"{path} holds no venue: put one on each line.")
    result.rejected.sort(key=lambda rejected: rejected.line)
    return result


class SeenSlugs:
    """The slugs of this file and their lines, in a temporary file of the database library: a million fit in no memory."""

    def __init__(self) -> None:
        self.count = 0
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("CREATE TABLE seen (slug TEXT PRIMARY KEY, line INTEGER) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def line_of(self, slug: str) -> int | None:
        row = self._database.execute("SELECT line FROM seen WHERE slug = ?", (slug,)).fetchone()
        return row[0] if row else None

    def add(self, slug: str, line: int) -> None:
        self._database.execute("INSERT INTO seen VALUES (?, ?)", (slug, line))
        self.count += 1

    def close(self) -> None:
        self._database.close()


def _understood(batch: list[Record | Rejected], result: ImportResult) -> Iterator[VenueLine]:
    for record in batch:
        if isinstance(record, Rejected):
            result.rejected.append(record)
            continue
        try:
            yield parse(record)
        except ValueError as error:
            result.rejected.append(Rejected(record.line, str(error)))


def _import_batch(lines: list[VenueLine], seen: SeenSlugs, result: ImportResult, *, dry_run: bool) -> None:
    venues = Venue.objects.filter(slug__in=[line.slug for line in lines])
    if not dry_run:
        _wait_for_other_imports()
        venues = venues.select_for_update(no_key=True)
    existing = {venue.slug: venue for venue in venues}
    changed: list[Venue] = []
    images: list[tuple[Venue, VenueImage]] = []
    for line in lines:
        if problem := _clash(line, existing.get(line.slug), seen.line_of(line.slug)):
            result.rejected.append(Rejected(line.line, problem))
            continue
        seen.add(line.slug, line.line)
        if line.problems:
            result.rejected.append(Rejected(line.line, "; ".join(line.problems)))
        venue, is_changed = _described(line, existing.get(line.slug), result)
        changed += [venue] if is_changed else []
        images += [(venue, image) for image in line.images]
    if not dry_run:
        _write(changed)
    _import_images(images, result, dry_run=dry_run)


def _described(line: VenueLine, venue: Venue | None, result: ImportResult) -> tuple[Venue, bool]:
    """The venue with what the line says, and whether that is new."""
    if venue is None:
        venue = Venue(slug=line.slug, name=line.slug)
        _describe(venue, line)
        result.venues_created += 1
        return venue, True
    is_changed = _describe(venue, line)
    result.venues_updated += is_changed
    return venue, is_changed


def _write(venues: list[Venue]) -> None:
    Venue.objects.bulk_create(
        venues, update_conflicts=True, unique_fields=["slug"], update_fields=[*FIELDS, "updated_at"]
    )


def _wait_for_other_imports() -> None:
    """Two imports of the same venues in another order would lock each other out."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [IMPORT_LOCK])


def _clash(line: VenueLine, venue: Venue | None, earlier_line: int | None) -> str | None:
    """Why this line can't have its slug.

    A slug made from a name is refused to a second place rather than numbered: numbers would depend on the order of the
    lines, and the next import would take one venue for the other.
    """
    if earlier_line is not None and line.slug_is_given:
        return f"slug: {line.slug!r} is taken by line {earlier_line}: give each venue a slug of its own"
    if earlier_line is not None:
        return f"the name makes the slug {line.slug!r}, taken by line {earlier_line}: give this venue a slug of its own"
    if venue is not None and not line.slug_is_given and _is_elsewhere(venue, line.values):
        return (
            f"the name makes the slug {line.slug!r}, taken by a venue at another place"
            f"{f' ({venue.city})' if venue.city else ''}: give this venue a slug of its own"
        )
    return None


def _is_elsewhere(venue: Venue, values: dict[str, Any]) -> bool:
    city = values.get("city")
    if city and venue.city and city.casefold() != venue.city.casefold():
        return True
    latitude, longitude = values.get("latitude"), values.get("longitude")
    if latitude is None or longitude is None or venue.latitude is None or venue.longitude is None:
        return False
    return bool(max(abs(latitude - venue.latitude), abs(longitude - venue.longitude)) > OTHER_PLACE)


def _describe(venue: Venue, line: VenueLine) -> bool:
    """Give the venue what the line says; True when that changes it."""
    before = [getattr(venue, name) for name in FIELDS]
    for name, value in line.values.items():
        setattr(venue, name, value)
    ids = {**before[FIELDS.index("provider_ids")], **line.values.get("provider_ids", {})}
    venue.provider_ids = {provider: value for provider, value in ids.items() if value}
    venue.extra = {**venue.extra, **line.extra}
    return bool(before != [getattr(venue, name) for name in FIELDS])


def _import_images(images: list[tuple[Venue, VenueImage]], result: ImportResult, *, dry_run: bool) -> None:
    if not images:
        return
    known = set(
        VenueImage.objects.filter(
            venue_id__in={venue.pk for venue, _ in images if venue.pk},
            url_hash__in={image.url_hash for _, image in images},
        ).values_list("venue_id", "url_hash")
    )
    new = []
    for venue, image in images:
        if (venue.pk, image.url_hash) not in known:
            image.venue_id = venue.pk
            new.append(image)
    result.images_created += len(new)
    result.images_unchanged += len(images) - len(new)
    if not dry_run:
        VenueImage.objects.bulk_create(new, ignore_conflicts=True, batch_size=IMAGES_PER_STATEMENT)

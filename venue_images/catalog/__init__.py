"""The catalogue as a file: import it, export it, find in it what people type.

``files`` reads lines, ``venue_lines`` and ``old_records`` understand them, ``importing`` and ``exporting`` do the SQL.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import Q

from venue_images.catalog.exporting import ExportResult, export_file
from venue_images.catalog.files import Rejected
from venue_images.catalog.importing import ImportResult, import_file
from venue_images.errors import UserError
from venue_images.models import Venue

__all__ = ["ExportResult", "ImportResult", "Rejected", "export_file", "find_venues", "import_file"]

LARGEST_ID = 2**63 - 1


def find_venues(names: Sequence[str]) -> list[Venue]:
    """The venues with these ids or slugs, in this order, each once; an id wins over a slug of the same digits.

    Raises :class:`UserError` that names the ones there are not.
    """
    ids = {int(name) for name in names if name.isascii() and name.isdigit() and int(name) <= LARGEST_ID}
    venues = list(Venue.objects.filter(Q(pk__in=ids) | Q(slug__in=names)))
    known = {venue.slug: venue for venue in venues} | {str(venue.pk): venue for venue in venues}
    if missing := [name for name in names if name not in known]:
        unknown = ", ".join(repr(name) for name in missing[:10]) + (" and others" if missing[10:] else "")
        raise UserError(
            f"There is no venue {unknown}: give the id or the slug, as the admin's list of venues shows it."
        )
    return list({known[name].pk: known[name] for name in names}.values())

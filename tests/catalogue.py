"""Catalogues for tests, imported as a user would."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from venue_images import catalog
from venue_images.models import Venue


def import_venue(folder: Path, slug: str, urls: Iterable[str], **fields: Any) -> Venue:
    """The venue ``slug`` with these photos, through a file."""
    import_lines(folder, [{"slug": slug, "name": slug, "photos": [{"url": url} for url in urls], **fields}])
    return Venue.objects.get(slug=slug)


def import_lines(folder: Path, lines: Iterable[dict[str, Any]]) -> None:
    file = folder / "venues.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    assert not catalog.import_file(file).rejected

"""``import`` and ``export``."""

from __future__ import annotations

from pathlib import Path

from venue_images import catalog
from venue_images.catalog import ImportResult
from venue_images.cli import output

#: Rejected lines that people are shown; JSON has them all.
SHOWN = 20


def import_(file: Path, *, dry_run: bool) -> int:
    """Exit status 1 when lines were rejected: the others are in."""
    with output.progress("Importing") as tell:
        result = catalog.import_file(file, dry_run=dry_run, progress=tell)
    output.finish(result.to_json(), lambda: _show(result, dry_run=dry_run))
    if not result.rejected:
        return 0
    output.remark(
        f"{result.rejected_count:,} lines of {file} were rejected, the others are fine: mend them and import again."
    )
    return 1


def export(file: Path) -> int:
    with output.progress("Exporting") as tell:
        result = catalog.export_file(file, progress=tell)
    output.finish(
        result.to_json(), lambda: output.say(f"{file}: {result.venues:,} venues with {result.images:,} images.")
    )
    return 0


def _show(result: ImportResult, *, dry_run: bool) -> None:
    output.figures({name: value for name, value in result.to_json().items() if name != "rejected"})
    for rejected in result.rejected[:SHOWN]:
        output.say(f"line {rejected.line}: {rejected.error}")
    if result.rejected[SHOWN:]:
        output.say(f"… and {result.rejected_count - SHOWN:,} more: --json lists all.")
    if dry_run:
        output.say("Nothing was written: this was a dry run.")

"""``cleanup``: the button, or the same in this process."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from venue_images import cleanup_now, cleanup_scheduler
from venue_images.alerts import usd
from venue_images.cli import output, performing
from venue_images.errors import UsageError
from venue_images.models import CleanupRun


def cleanup(*, now: bool, dry_run: bool, include_ambiguous: bool) -> int:
    if now and dry_run:
        raise UsageError("--now does it and --dry-run does not: choose one.")
    if dry_run:
        preview = cleanup_now.preview(include_ambiguous=include_ambiguous)
        output.finish(preview, lambda: output.figures(preview))
        return 0
    return _perform(include_ambiguous) if now else _enqueue(include_ambiguous)


def _perform(include_ambiguous: bool) -> int:
    started = timezone.now()
    with output.progress("Venues") as tell:
        report = cleanup_now.perform_now(include_ambiguous=include_ambiguous, progress=tell)
    output.finish(report, lambda: _show(report))
    skipped = CleanupRun.objects.filter(pk=report["run_id"]).exclude(message="").values_list("message", flat=True)
    return performing.report_problems([*skipped, *performing.storage_problems(started)])


def _enqueue(include_ambiguous: bool) -> int:
    queued = cleanup_scheduler.enqueue(include_ambiguous=include_ambiguous)
    text = f"Cleanup run {queued.run_id} {'waits or runs already' if queued.already_queued else 'is queued'}."
    output.finish({"run_id": queued.run_id, "already_queued": queued.already_queued}, lambda: output.say(text))
    return 0


def _show(report: dict[str, Any]) -> None:
    output.figures(report)
    if report["saved_usd"]:
        output.say(f"Asking the providers again would have cost {usd(report['saved_usd'])}.")
    if report["images_still_failed"] or report["permanent_logged"] or report["ambiguous_skipped"]:
        output.say("What still fails and why: venue-images failures --by error")

"""``stats``, ``failures`` and ``monitor``."""

from __future__ import annotations

from typing import Any

from venue_images import monitor as monitoring
from venue_images import stats as statistics
from venue_images.cli import output

COLUMNS = {
    "venue": (
        "slug",
        "failed_images",
        "transient_images",
        "permanent_images",
        "ambiguous_images",
        "failure_rate",
        "priority",
    ),
    "error": ("error_type", "error_class", "count", "retryable", "venues"),
    "provider": ("provider", "count", "retryable", "venues"),
    "host": ("host", "count", "retryable", "venues"),
}


def stats() -> int:
    summary = statistics.summary_stats()
    output.finish(summary, lambda: _show_stats(summary))
    return 0


def failures(by: str) -> int:
    rows = statistics.failures_by(by)
    output.finish({"rows": rows}, lambda: _show_failures(by, rows))
    return 0


def monitor() -> int:
    report = {"providers": monitoring.get_all_stats(), "alerts": monitoring.check_alerts()}
    output.finish(report, lambda: _show_monitor(report))
    return 0


def _show_stats(summary: dict[str, Any]) -> None:
    output.figures({name: value for name, value in summary.items() if name != "top_error_types"})
    if summary["top_error_types"]:
        output.say()
        show_errors(summary["top_error_types"])


def show_errors(rows: list[dict[str, Any]]) -> None:
    """What failed most: a table."""
    names = list(rows[0])
    output.table([_heading(name) for name in names], [[row[name] for name in names] for row in rows])


def _show_failures(by: str, rows: list[dict[str, Any]]) -> None:
    if not rows:
        output.say("No photo is failing.")
        return
    output.table([_heading(name) for name in COLUMNS[by]], [[row[name] for name in COLUMNS[by]] for row in rows])


def _show_monitor(report: dict[str, list[dict[str, Any]]]) -> None:
    windows = ("second", "minute", "hour")
    output.table(
        ("provider", "active", "priority", *(f"last {window}" for window in windows), "failed", "USD an image"),
        [
            [
                provider["title"],
                provider["active"],
                provider["priority"],
                *(_usage(provider["usage"][window]) for window in windows),
                provider["images_failed"],
                provider["cost_per_image"],
            ]
            for provider in report["providers"]
        ],
    )
    for alert in report["alerts"]:
        output.say(f"{alert['level']}: {alert['message']}")
    if not report["alerts"]:
        output.say("No alert.")


def _usage(usage: dict[str, Any]) -> str:
    return f"{usage['used']:,}" if usage["limit"] is None else f"{usage['used']:,} / {usage['limit']:,}"


def _heading(name: str) -> str:
    return name.removesuffix("_images").replace("_", " ")

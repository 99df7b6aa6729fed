"""``stats``, ``failures`` and ``monitor``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from venue_images import monitor as monitoring
from venue_images import stats as statistics
from venue_images.alerts import usd
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
    report = {
        "providers": monitoring.get_all_stats(),
        "services": monitoring.services(),
        "alerts": monitoring.check_alerts(),
    }
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
    output.table(
        ("provider", "state", "priority", "calls", "failed", "this month"),
        [
            [
                provider["title"],
                provider["state"],
                provider["priority"],
                calls(provider["usage"]),
                provider["images_failed"],
                money_of_month(provider),
            ]
            for provider in report["providers"]
        ],
    )
    for service in report["services"]:
        output.say(f"{service['title']}: {service['state_reason']}")
    for alert in report["alerts"]:
        output.say(f"{alert['level']}: {alert['message']}")
    if not report["alerts"]:
        output.say("No alert.")


def calls(usage: Mapping[str, Mapping[str, Any]]) -> str:
    """The calls of each window that is limited or was used, a line each: ``3/20 minute``."""
    counted = {name: window for name, window in usage.items() if window["used"] or window["limit"] is not None}
    return "\n".join(f"{_of_limit(window)} {name}" for name, window in counted.items()) or "none"


def _of_limit(window: Mapping[str, Any]) -> str:
    return f"{window['used']:,}" if window["limit"] is None else f"{window['used']:,}/{window['limit']:,}"


def money_of_month(provider: Mapping[str, Any]) -> str:
    """What was spent, and of what budget."""
    spent, budget = usd(provider["spent_this_month_usd"]), provider["monthly_budget_usd"]
    return spent if budget is None else f"{spent}\nof {usd(budget)}"


def _heading(name: str) -> str:
    return name.removesuffix("_images").replace("_", " ")

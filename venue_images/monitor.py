"""Is something wrong? What the providers were asked lately, against what they allow, and what needs a person."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Q, Sum
from django.utils import timezone

from venue_images import image_ledger, job_queue, stats
from venue_images.conf import provider_setting
from venue_images.errors import ErrorClass, UsageError, types_of
from venue_images.models import CleanupRun, Operation, Provider, ProviderUsage, VenueImage, Worker
from venue_images.providers import PROVIDERS

#: Seconds of each window that a provider limits; the last one ends now.
WINDOWS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
#: Percent of a limit.
WARNING_PERCENT = 80
CRITICAL_PERCENT = 95
#: A worker that was not heard of for so long is dead.
WORKER_SILENCE = timedelta(seconds=image_ledger.WORKER_SILENCE)


def get_all_stats() -> list[dict[str, Any]]:
    """Every provider, in the order in which they are asked.

    ``cost_per_image`` in US dollars; ``usage`` by window: calls ``used``, ``limit`` (None: no limit), ``percent`` of it,
    and the ``level`` of that: ok, warning or critical.
    """
    failed = {row["provider"]: row["count"] for row in stats.failures_by("provider")}
    return [{**provider, "images_failed": failed.get(provider["name"], 0)} for provider in provider_usage()]


def get_provider_stats(name: str) -> dict[str, Any]:
    """One of :func:`get_all_stats`; raises :class:`UsageError` for a name that is not known."""
    providers = {provider["name"]: provider for provider in get_all_stats()}
    if name not in providers:
        raise UsageError(f"There is no provider {name!r}; known: {', '.join(sorted(providers))}.")
    return providers[name]


def provider_usage() -> list[dict[str, Any]]:
    """What :func:`get_all_stats` says without counting images."""
    rows = list(Provider.objects.all())
    calls = _calls(timezone.now(), daily=[row.name for row in rows if row.limit_per_day is not None])
    return [_provider(row, calls.get(row.name, {})) for row in rows]


def check_alerts() -> list[dict[str, Any]]:
    """What needs a person now, the worst first: ``level`` (critical, warning), ``provider`` or None, ``message``."""
    providers = provider_usage()
    by_provider = [alert for provider in providers for alert in _provider_alerts(provider)]
    alerts = [*_worker_alerts(), *_blocked_alerts(), *by_provider]
    return sorted(alerts, key=lambda alert: alert["level"] != "critical")


def last_cleanup() -> dict[str, Any] | None:
    """The newest cleanup run and what its retries have brought so far; None before the first."""
    run = CleanupRun.objects.order_by("-id").first()
    if run is None:
        return None
    brought = Operation.objects.filter(run=run).aggregate(
        venues_done=Count("id", filter=Q(finished_at__isnull=False)),
        images_recovered=Sum("images_uploaded", default=0),
        images_still_failed=Sum("images_failed", default=0),
        metered_calls=Sum("metered_calls", default=0),
    )
    facts = ("state", "trigger", "created_at", "started_at", "finished_at", "venues_queued", "message")
    return {"run_id": run.pk, **{name: getattr(run, name) for name in facts}, **brought}


def title_of(provider: str) -> str:
    """The provider's name for people; one that is not known is called what it is called."""
    return PROVIDERS[provider].info.title if provider in PROVIDERS else provider


def _calls(now: datetime, daily: list[str]) -> dict[str, dict[str, int]]:
    """Calls by provider and window; a whole day is read only of the providers that limit it."""
    since = {window: now - timedelta(seconds=seconds) for window, seconds in WINDOWS.items()}
    sums = {f"last_{window}": Sum("calls", filter=Q(second__gt=since[window]), default=0) for window in WINDOWS}
    rows: Any = (
        ProviderUsage.objects.filter(Q(second__gt=since["hour"]) | Q(provider__in=daily, second__gt=since["day"]))
        .values("provider")
        .annotate(**sums)
    )
    return {row["provider"]: {window: row[f"last_{window}"] for window in WINDOWS} for row in rows}


def _provider(row: Provider, calls: dict[str, int]) -> dict[str, Any]:
    needs_key = row.name in PROVIDERS and PROVIDERS[row.name].info.needs_key
    return {
        "name": row.name,
        "title": title_of(row.name),
        "active": row.active,
        "priority": row.priority,
        "metered": row.metered,
        "cost_per_image": float(row.cost_per_image),
        "needs_key": needs_key,
        "configured": not needs_key or provider_setting(row.name, "API_KEY") is not None,
        "usage": {
            window: _usage(calls.get(window, 0), getattr(row, f"limit_per_{window}"))
            for window in WINDOWS
            if window != "day" or row.limit_per_day is not None
        },
    }


def _usage(used: int, limit: int | None) -> dict[str, Any]:
    percent = None if limit is None else round(100 * used / limit, 1) if limit else 100.0
    return {"used": used, "limit": limit, "percent": percent, "level": _level(percent)}


def _level(percent: float | None) -> str:
    if percent is None or percent < WARNING_PERCENT:
        return "ok"
    return "warning" if percent < CRITICAL_PERCENT else "critical"


def _provider_alerts(provider: dict[str, Any]) -> list[dict[str, Any]]:
    alerts = [_limit_alert(provider, window) for window, usage in provider["usage"].items() if usage["level"] != "ok"]
    if provider["active"] and not provider["configured"]:
        key = f"{provider['name']}_API_KEY".upper()
        message = f"{provider['title']} is active but has no key: set {key}, or turn the provider off."
        alerts.append(_alert("warning", message, provider["name"]))
    return alerts


def _limit_alert(provider: dict[str, Any], window: str) -> dict[str, Any]:
    usage = provider["usage"][window]
    used = f"{provider['title']} used {usage['used']:,} of {usage['limit']:,} calls in the last {window}"
    todo = "enrich fewer venues at a time, or raise the limit if your plan allows more"
    return _alert(usage["level"], f"{used} ({usage['percent']:g} %): {todo}.", provider["name"])


def _worker_alerts() -> list[dict[str, Any]]:
    if Worker.objects.filter(kind="worker", heartbeat_at__gt=timezone.now() - WORKER_SILENCE).exists():
        return []
    waiting = job_queue.due_jobs()
    if not waiting:
        return []
    jobs = "1 job waits" if waiting == 1 else f"{waiting:,} jobs wait"
    return [_alert("critical", f"{jobs} and no worker is running: start one with “venue-images worker”.")]


def _blocked_alerts() -> list[dict[str, Any]]:
    """Images that wait for a key or a storage to be mended; they are in none of the page's three groups."""
    blocked = VenueImage.objects.failing().filter(error_type__in=types_of(ErrorClass.BLOCKED)).count()
    if not blocked:
        return []
    images = "1 image waits" if blocked == 1 else f"{blocked:,} images wait"
    return [
        _alert(
            "critical",
            f"{images} for a storage or a key that could not be used: mend it (“venue-images doctor” says what), "
            "then run “venue-images cleanup --include-ambiguous”.",
        )
    ]


def _alert(level: str, message: str, provider: str | None = None) -> dict[str, Any]:
    return {"level": level, "provider": provider, "message": message}

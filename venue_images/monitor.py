"""Is something wrong? What the providers were asked lately, against what they allow, and what needs a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Q, Sum
from django.utils import timezone

from venue_images import alerts, discovery, service_health, stats, url_refresh
from venue_images.conf import provider_setting
from venue_images.errors import UsageError
from venue_images.models import CleanupRun, Operation, Provider, ProviderCheck, ProviderSpend, ProviderUsage
from venue_images.providers import PROVIDERS, ProviderInfo

#: Seconds of each window that a provider limits; the last one ends now.
WINDOWS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
#: Percent of a limit or a budget.
WARNING_PERCENT = alerts.WARNING_PERCENT
CRITICAL_PERCENT = alerts.CRITICAL_PERCENT


def get_all_stats() -> list[dict[str, Any]]:
    """Every provider, in the order in which they are asked: what :func:`provider_usage` says, and ``images_failed``."""
    failed = {row["provider"]: row["count"] for row in stats.failures_by("provider")}
    return [{**provider, "images_failed": failed.get(provider["name"], 0)} for provider in provider_usage()]


def get_provider_stats(name: str) -> dict[str, Any]:
    """One of :func:`get_all_stats`; raises :class:`UsageError` for a name that is not known."""
    providers = {provider["name"]: provider for provider in get_all_stats()}
    if name not in providers:
        raise UsageError(f"There is no provider {name!r}; known: {', '.join(sorted(providers))}.")
    return providers[name]


def provider_usage() -> list[dict[str, Any]]:
    """Every provider, in the order in which they are asked. Money in US dollars.

    ``state``: ``off``, ``no_key``, ``not_kept`` (its photos may not be kept, so it is not asked), ``stopped``,
    ``trying`` or ``ready``; ``state_reason``: one sentence or empty. ``circuit``: why it is stopped; None while it is
    not. ``policy``: what is done with its photos, whether the owner has said so, and what its terms say.
    ``monthly_budget_usd`` None: no limit. ``venues_waiting``: venues that it is asked about later. ``stale_urls``: what
    new addresses for expired ones would cost; None: nothing to get. ``usage`` by window: calls ``used``, ``limit`` (None:
    no limit), ``percent`` of it, and the ``level`` of that: ok, warning or critical.
    """
    rows, now = list(Provider.objects.all()), timezone.now()
    known = _Known(
        now=now,
        calls=_calls(now, daily=[row.name for row in rows if row.limit_per_day is not None]),
        spends={spend.provider: spend for spend in ProviderSpend.objects.filter(month=now.date().replace(day=1))},
        circuits=service_health.provider_circuits(),
        waiting=_waiting(now),
        offers={offer.pop("provider"): offer for offer in url_refresh.offers()},
    )
    return [_provider(row, known) for row in rows]


def services() -> list[dict[str, Any]]:
    """The photo hosts and the storage that are not well; see :func:`venue_images.service_health.services`."""
    return service_health.services()


def check_alerts() -> list[dict[str, Any]]:
    """What needs a person now, the worst first: ``level`` (critical, warning), ``provider`` or None, ``message``."""
    found = [
        *alerts.of_workers(),
        *alerts.of_blocked_images(),
        *alerts.of_services(services()),
        *alerts.of_providers(provider_usage()),
    ]
    return sorted(found, key=lambda alert: alert["level"] != "critical")


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
        saved_usd=Sum("saved_usd", default=0),
    )
    facts = ("state", "trigger", "created_at", "started_at", "finished_at", "venues_queued", "message")
    return {"run_id": run.pk, **{name: getattr(run, name) for name in facts}, **brought}


def title_of(provider: str) -> str:
    """The provider's name for people; one that is not known is called what it is called."""
    return PROVIDERS[provider].info.title if provider in PROVIDERS else provider


@dataclass(frozen=True)
class _Known:
    """What was read for all providers at once, by name."""

    now: datetime
    calls: Mapping[str, Mapping[str, int]]
    spends: Mapping[str, ProviderSpend]
    circuits: Mapping[str, dict[str, Any]]
    waiting: Mapping[str, int]
    offers: Mapping[str, dict[str, Any]]


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


def _waiting(now: datetime) -> dict[str, int]:
    rows = ProviderCheck.objects.filter(due_at__gt=now).values("provider").annotate(venues=Count("id"))
    return {row["provider"]: row["venues"] for row in rows}


def _provider(row: Provider, known: _Known) -> dict[str, Any]:
    info = PROVIDERS[row.name].info if row.name in PROVIDERS else ProviderInfo(row.name, code="", title=row.name)
    circuit = known.circuits.get(row.name)
    facts = {
        "name": row.name,
        "title": info.title,
        "active": row.active,
        "priority": row.priority,
        "metered": row.metered,
        "has_photos": info.has_photos,
        "geocode": row.geocode,
        "needs_key": info.needs_key,
        "configured": not info.needs_key or provider_setting(row.name, "API_KEY") is not None,
        "policy": _policy(info),
        **_money(row, known.spends.get(row.name)),
        "circuit": circuit,
        "venues_waiting": known.waiting.get(row.name, 0),
        "stale_urls": known.offers.get(row.name),
        "usage": {
            window: _usage(known.calls.get(row.name, {}).get(window, 0), getattr(row, f"limit_per_{window}"))
            for window in WINDOWS
            if window != "day" or row.limit_per_day is not None
        },
    }
    state, reason = _state(facts, known.now)
    return {**facts, "state": state, "state_reason": reason}


def _policy(info: ProviderInfo) -> dict[str, Any]:
    setting = provider_setting(info.name, "STORAGE_POLICY")
    return {
        "value": setting or info.storage_policy,
        "default": info.storage_policy,
        "is_overridden": setting is not None,
        "terms": info.terms,
        "terms_url": info.terms_url,
    }


def _money(row: Provider, spend: ProviderSpend | None) -> dict[str, Any]:
    return {
        "cost_per_search": float(row.cost_per_search),
        "cost_per_call": float(row.cost_per_call),
        "cost_per_image": float(row.cost_per_image),
        "spent_this_month_usd": float(spend.cost_usd) if spend else 0.0,
        "calls_this_month": spend.calls if spend else 0,
        "monthly_budget_usd": None if row.monthly_budget_usd is None else float(row.monthly_budget_usd),
    }


def _state(provider: Mapping[str, Any], now: datetime) -> tuple[str, str]:
    """What keeps the provider from being asked comes first."""
    name = provider["name"]
    if name not in PROVIDERS:
        return "off", "This version of Venue Images does not know it."
    if not provider["active"]:
        return "off", "It is turned off."
    if problem := discovery.obstacle(PROVIDERS[name]):
        return "not_kept" if provider["configured"] else "no_key", problem
    if circuit := provider["circuit"]:
        return service_health.STATES[circuit["state"]], service_health.reason(circuit, now)
    if alerts.budget_is_used_up(provider):
        return "ready", f"This month's budget of {alerts.usd(provider['monthly_budget_usd'])} is used up."
    return "ready", ""


def _usage(used: int, limit: int | None) -> dict[str, Any]:
    percent = None if limit is None else round(100 * used / limit, 1) if limit else 100.0
    return {"used": used, "limit": limit, "percent": percent, "level": alerts.level_of(percent)}

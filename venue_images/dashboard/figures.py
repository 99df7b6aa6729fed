"""What changes on the statistics page: the figures of ``stats`` and ``monitor``, and what they mean in words."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils import timezone

from venue_images import alerts, circuits, monitor, service_health, stats
from venue_images.dashboard import words
from venue_images.models import Venue

#: Rows of the failure table that are open from the start.
FIRST_FAILURES = 6
#: Alerts that are, unless more are critical.
FIRST_ALERTS = 4
#: States of a provider that has no card: nothing is asked of it, nor will be by itself.
NOT_IN_USE = ("off", "no_key", "not_kept")
#: States of a service that could not be asked lately.
IN_TROUBLE = ("stopped", "trying")
CIRCUIT_STATES = {circuits.OPEN: "stopped", circuits.HALF_OPEN: "trying", circuits.CLOSED: "retries_wait"}


def figures() -> dict[str, Any]:
    """All of them, in a constant number of statements."""
    now = timezone.now()
    failures = [_failure(row) for row in stats.failure_breakdown()]
    providers = [_provider(provider, failures, now) for provider in monitor.provider_usage()]
    return {
        "now": now,
        "counts": stats.failure_counts(),
        "first_failures": failures[:FIRST_FAILURES],
        "more_failures": failures[FIRST_FAILURES:],
        **_alerts(monitor.check_alerts()),
        "last_cleanup": _cleanup(monitor.last_cleanup()),
        "stopped_services": [_service(service, now) for service in monitor.services()],
        "stale_urls": [_stale_urls(provider) for provider in providers if provider["stale_urls"]],
        "has_providers": bool(providers),
        "providers": sorted((each for each in providers if each["state"] not in NOT_IN_USE), key=_place),
        "not_in_use": [each for each in providers if each["state"] in NOT_IN_USE],
        "has_venues": Venue.objects.exists(),
    }


def _failure(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **row,
        "provider_title": monitor.title_of(row["provider"]),
        "error_words": words.of_error(row["error_type"]),
        "class_words": words.of_class(row["error_class"]),
    }


def _alerts(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The worst are open from the start, every critical one among them."""
    critical = sum(alert["level"] == "critical" for alert in found)
    first = max(critical, FIRST_ALERTS)
    return {"alerts": found, "first_alerts": found[:first], "more_alerts": found[first:]}


def _cleanup(cleanup: dict[str, Any] | None) -> dict[str, Any] | None:
    return cleanup and {**cleanup, "saved": words.sum_usd(cleanup["saved_usd"]) if cleanup["saved_usd"] else ""}


def _provider(provider: dict[str, Any], failures: list[dict[str, Any]], now: datetime) -> dict[str, Any]:
    circuit = provider["circuit"] if provider["state"] in IN_TROUBLE else None
    return {
        **provider,
        "state_words": _state_words(provider),
        "price_of_image": words.usd(provider["cost_per_image"]),
        "price_of_call": words.usd(provider["cost_per_call"]),
        "images_failed": sum(row["count"] for row in failures if row["provider"] == provider["name"]),
        "trouble": circuit and {"title": provider["title"], **_trouble(circuit, now)},
        "spend": _spend(provider),
        "policy": _policy(provider["policy"]),
    }


def _state_words(provider: dict[str, Any]) -> str:
    if provider["state"] == "not_kept" and provider["policy"]["is_overridden"]:
        return "Not kept"
    return words.of_state(provider["state"])


def _service(service: dict[str, Any], now: datetime) -> dict[str, Any]:
    trouble = _trouble(service, now)
    if service["state"] == circuits.CLOSED:
        trouble["reason"] = service["state_reason"]
    return {"title": service["title"], "state_words": words.of_state(trouble["state"]), **trouble}


def _trouble(circuit: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Why a service is stopped, since when and until when, and whether somebody can have it tried."""
    waits = bool(circuit["try_at"]) and circuit["try_at"] > now
    is_being_tried = waits and circuit["state"] == circuits.HALF_OPEN
    return {
        "service": circuit["service"],
        "state": CIRCUIT_STATES[circuit["state"]],
        "reason": circuit["message"] or words.of_error(circuit["error_type"]),
        "opened_at": circuit["opened_at"],
        "since": service_health.clock(circuit["opened_at"], now) if circuit["opened_at"] else "",
        "try_at": circuit["try_at"] if waits else None,
        "next_try": service_health.clock(circuit["try_at"], now) if waits else "",
        "wait": words.wait(circuit["try_at"], now) if waits else "",
        "is_being_tried": is_being_tried,
        "can_be_tried": circuit["state"] != circuits.CLOSED and not is_being_tried,
    }


def _spend(provider: dict[str, Any]) -> dict[str, Any]:
    """This month's money, against the budget when there is one."""
    spent, budget = provider["spent_this_month_usd"], provider["monthly_budget_usd"]
    percent = None if budget is None else _percent(spent, budget)
    return {
        "matters": bool(provider["metered"] or spent or budget is not None),
        "spent": words.sum_usd(spent),
        "budget": "" if budget is None else words.usd(budget),
        "percent": percent,
        "level": alerts.level_of(percent),
    }


def _percent(spent: float, budget: float) -> float:
    return min(round(100 * spent / budget, 1), 100.0) if budget else 100.0


def _policy(policy: dict[str, Any]) -> dict[str, Any]:
    words_of = {name: words.of_policy(policy[name]) for name in ("value", "default")}
    return {**policy, "words": words_of["value"], "default_words": words_of["default"].lower()}


def _stale_urls(provider: dict[str, Any]) -> dict[str, Any]:
    """What new addresses would bring, and cost: the button's label and what it sends."""
    stale = provider["stale_urls"]
    return {
        "name": provider["name"],
        "title": provider["title"],
        "images": words.count(stale["images"], "image"),
        "of": f"{provider['title']} in {words.count(stale['venues'], 'venue')}",
        "calls": words.count(stale["calls"], "call"),
        "price": words.usd(stale["cost_usd"]),
        "cost_usd": str(stale["cost_usd"]),
    }


def _place(provider: dict[str, Any]) -> tuple[bool, bool]:
    """Where its card stands: what is in trouble first, then what was asked lately, each in the order of priority."""
    return provider["trouble"] is None, not any(usage["used"] for usage in provider["usage"].values())

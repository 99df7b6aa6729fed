"""The circuits as people see them: which services are stopped, why, and when they are tried again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.db.models import Q
from django.utils import timezone

from venue_images import circuits
from venue_images.circuits import CircuitState
from venue_images.models import Circuit

#: What a provider's state is called while its circuit is not closed.
STATES = {circuits.OPEN: "stopped", circuits.HALF_OPEN: "trying"}
FACTS = ("service", "state", "error_type", "message", "opened_at", "try_at")


def provider_circuits() -> dict[str, dict[str, Any]]:
    """The circuits of the providers that are not closed, by the provider's name.

    ``service, state, error_type, message, opened_at, try_at``. One that is open although ``try_at`` has passed
    waits for the next request, which tries it.
    """
    prefix = circuits.of_provider("")
    rows = Circuit.objects.filter(service__startswith=prefix).exclude(state=circuits.CLOSED)
    return {row.service.removeprefix(prefix): {name: getattr(row, name) for name in FACTS} for row in rows}


def services() -> list[dict[str, Any]]:
    """The photo hosts and the storage that are not well: not closed, or without a token for a retry.

    ``service``, ``kind`` (host, storage), ``title``, ``state`` (open, half_open; closed: only its retries wait),
    ``state_reason`` (one sentence), ``error_type``, ``message``, ``failures``, ``opened_at``, ``try_at`` and
    ``retry_tokens`` as they are now.
    """
    unwell = ~Q(state=circuits.CLOSED) | Q(retry_tokens__lt=circuits.RETRY_COST)
    is_ours = Q(service=circuits.STORAGE) | Q(service__startswith=circuits.of_host(""))
    now = timezone.now()
    found = [_service(row, now) for row in Circuit.objects.filter(unwell, is_ours)]
    return [one for one in found if one["state"] != circuits.CLOSED or one["retry_tokens"] < circuits.RETRY_COST]


def _service(row: Circuit, now: datetime) -> dict[str, Any]:
    kind = "storage" if row.service == circuits.STORAGE else "host"
    facts = {name: getattr(row, name) for name in FACTS}
    return {
        **facts,
        "kind": kind,
        "title": "The storage" if kind == "storage" else row.service.removeprefix(circuits.of_host("")),
        "state_reason": reason(facts, now),
        "failures": row.failures,
        "retry_tokens": _tokens(row, now),
    }


def _tokens(row: Circuit, now: datetime) -> float:
    seconds = max((now - row.reckoned_at).total_seconds(), 0.0)
    return round(CircuitState(row.service, retry_tokens=row.retry_tokens, token_seconds=seconds).tokens, 1)


def reason(circuit: Mapping[str, Any], now: datetime) -> str:
    """One sentence: what happens to requests, and why."""
    if circuit["state"] == circuits.CLOSED:
        return "Its retries wait, because too many of them failed; first attempts go on."
    if circuit["try_at"] and circuit["try_at"] > now:
        trying = circuit["state"] == circuits.HALF_OPEN
        what = "One request tries it now" if trying else f"Left alone until {clock(circuit['try_at'], now)}"
    else:
        what = "The next request tries it"
    return f"{what}: {circuit['message']}" if circuit["message"] else f"{what}."


def clock(moment: datetime, now: datetime) -> str:
    """A time for people, in UTC; with the date when that is not today."""
    moment = moment.astimezone(UTC)
    day = "" if moment.date() == now.astimezone(UTC).date() else f"{moment.day} {moment:%B}, "
    return f"{day}{moment:%H:%M:%S} UTC"


def next_try(circuit: Mapping[str, Any]) -> str:
    """One sentence: when a stopped service is tried."""
    now = timezone.now()
    if not circuit["try_at"] or circuit["try_at"] <= now:
        return "The next request tries it."
    if circuit["state"] == circuits.HALF_OPEN:
        return "One request tries it now."
    return f"It is tried next at {clock(circuit['try_at'], now)}."

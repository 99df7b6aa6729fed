"""``providers``: which there are, how they do, and what the owner chooses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from venue_images import circuits, discovery, monitor, owner_actions
from venue_images.cli import output
from venue_images.cli.reports import calls, money_of_month
from venue_images.errors import UsageError
from venue_images.providers import PROVIDERS


def perform(action: str, name: str | None, values: Sequence[str]) -> int:
    """Raises :class:`UsageError` for what is missing or too much."""
    if action == "list":
        if name is not None:
            raise UsageError("list takes nothing more; enable, disable, set and try take a name.")
        return list_()
    if name is None:
        raise UsageError(f"Say which provider: venue-images providers {action} NAME.")
    if action == "set":
        return set_(name, values)
    if values:
        raise UsageError(f"{action} takes a name and nothing more.")
    return try_(name) if action == "try" else switch(name, active=action == "enable")


def list_() -> int:
    _finish(monitor.get_all_stats())
    return 0


def switch(name: str, *, active: bool) -> int:
    """Turn a provider on or off; one that still can't be asked is told why."""
    owner_actions.set_provider(name, active=active)
    problem = discovery.obstacle(PROVIDERS[name]) if active and name in PROVIDERS else None
    _finish([monitor.get_provider_stats(name)])
    if problem:
        output.remark(problem)
    return 0


def set_(name: str, values: Sequence[str]) -> int:
    """Change the choices given as ``key=value``."""
    if not values:
        raise UsageError(f"Say what to set: key=value, with one of {', '.join(owner_actions.CHOICES)}.")
    pairs = [value.partition("=") for value in values]
    if wrong := [key for key, sign, _ in pairs if not sign]:
        raise UsageError(f"{wrong[0]!r} is no key=value.")
    owner_actions.set_provider(name, **{key.strip(): value for key, _, value in pairs})
    _finish([monitor.get_provider_stats(name)])
    return 0


def try_(name: str) -> int:
    """Let a stopped service be tried at once: a provider's name, ``host:HOST`` or ``storage``."""
    service = circuits.of_provider(name) if name in PROVIDERS else name
    venues = owner_actions.try_now(service)
    text = "1 venue that waits comes" if venues == 1 else f"{venues:,} venues that wait come"
    output.finish({"venues": venues}, lambda: output.say(f"The next request tries {name}; {text} at once."))
    return 0


def _finish(providers: list[dict[str, Any]]) -> None:
    output.finish({"providers": providers}, lambda: _show(providers))


def _show(providers: list[dict[str, Any]]) -> None:
    output.table(
        ("provider", "state", "photos", "geo", "calls", "price", "month"),
        [
            [
                provider["name"],
                provider["state"],
                provider["policy"]["value"] if provider["has_photos"] else "ids only",
                provider["geocode"],
                calls(provider["usage"]),
                _prices(provider),
                money_of_month(provider),
            ]
            for provider in providers
        ],
    )
    for provider in providers:
        if provider["state_reason"] and provider["active"]:
            output.say(f"{provider['name']}: {provider['state_reason']}")


def _prices(provider: dict[str, Any]) -> str:
    units = {"search": "a search", "call": "a call", "image": "an image"}
    prices = [(provider[f"cost_per_{name}"], unit) for name, unit in units.items()]
    unknown = "not set" if provider["metered"] else "free"
    return "\n".join(f"${price:g} {unit}" for price, unit in prices if price) or unknown

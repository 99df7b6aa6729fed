"""What needs a person, in sentences: what is wrong, which setting decides, what happens by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Count
from django.utils import timezone

from venue_images import circuits, image_ledger, job_queue, service_health
from venue_images.conf import provider_setting
from venue_images.errors import ErrorClass, ErrorType, types_of
from venue_images.models import ProviderSpend, VenueImage, Worker
from venue_images.providers import PROVIDERS

#: Percent of a limit or a budget.
WARNING_PERCENT = 80
CRITICAL_PERCENT = 95
ALL = 100
#: A worker that was not heard of for so long is dead.
WORKER_SILENCE = timedelta(seconds=image_ledger.WORKER_SILENCE)
#: Photo hosts that have an alert of their own; the others are counted.
MOST_HOSTS = 5
#: What is true of all images that an open circuit keeps waiting.
WAITING = "Its photos wait and keep their attempts."
#: Of a large table this much is read, spread evenly, to see which providers have images.
SAMPLE_BYTES = 8_000_000
SAMPLE_PERCENT = f"""
    least(100, {SAMPLE_BYTES} * 100.0 / greatest(pg_relation_size('venue_images_venueimage'), 1))::real
"""
SAMPLE = f"""
    SELECT provider, count(*) FILTER (WHERE upload_status = 'uploaded') * 100 / {SAMPLE_PERCENT} AS stored,
           {SAMPLE_PERCENT} >= 100 AS is_exact
    FROM venue_images_venueimage TABLESAMPLE SYSTEM ({SAMPLE_PERCENT}) REPEATABLE (1) GROUP BY provider
"""

Alert = dict[str, Any]


def of_providers(providers: Sequence[Mapping[str, Any]]) -> list[Alert]:
    """What the providers of ``monitor.provider_usage()`` need."""
    images = _sampled()
    in_use = set(images) | set(ProviderSpend.objects.values_list("provider", flat=True).distinct())
    alerts = [_of_terms(images, _retried())]
    for provider in providers:
        alerts += [_of_circuit(provider), _of_limits(provider), _of_budget(provider), _of_stale_urls(provider)]
        if provider["name"] in in_use:
            alerts.append(_of_key(provider))
    return [alert for group in alerts for alert in group]


def of_services(unwell: Sequence[Mapping[str, Any]]) -> list[Alert]:
    """What the stopped ones of ``monitor.services()`` need."""
    stopped = [service for service in unwell if service["state"] != circuits.CLOSED]
    hosts = sorted((one for one in stopped if one["kind"] == "host"), key=lambda host: -host["failures"])
    alerts = [_of_storage(one) for one in stopped if one["kind"] == "storage"]
    alerts += [_of_host(host) for host in hosts[:MOST_HOSTS]]
    if more := len(hosts[MOST_HOSTS:]):
        text = "1 more photo host is stopped" if more == 1 else f"{more:,} more photo hosts are stopped"
        alerts.append(_alert("warning", f"{text}: “venue-images monitor” lists them."))
    return alerts


def of_workers() -> list[Alert]:
    if Worker.objects.filter(kind="worker", heartbeat_at__gt=timezone.now() - WORKER_SILENCE).exists():
        return []
    waiting = job_queue.due_jobs()
    if not waiting:
        return []
    jobs = "1 job waits" if waiting == 1 else f"{waiting:,} jobs wait"
    return [_alert("critical", f"{jobs} and no worker is running: start one with “venue-images worker”.")]


def of_blocked_images() -> list[Alert]:
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


def level_of(percent: float | None) -> str:
    """ok, warning or critical; None: there is no limit."""
    if percent is None or percent < WARNING_PERCENT:
        return "ok"
    return "warning" if percent < CRITICAL_PERCENT else "critical"


def end_of_month(today: date) -> date:
    """The day from which the next month's budget counts."""
    return date(today.year + today.month // 12, today.month % 12 + 1, 1)


def remedy(provider: str, error_type: str) -> str:
    """What a person has to mend before the provider can be used again, in a sentence; empty: nothing."""
    info = PROVIDERS[provider].info
    if error_type == ErrorType.PROVIDER_QUOTA:
        return f"Look at the billing of your account at {info.title}."
    if error_type != ErrorType.PROVIDER_KEY:
        return ""
    # One without keys goes by the contact that we name.
    return f"Mend {_key_setting(provider) if info.needs_key else 'VENUE_IMAGES_CONTACT'}."


def usd(amount: Decimal | float) -> str:
    """US dollars for people: cents, and what is less than a cent where it counts."""
    dollars, _, cents = f"{amount:,.4f}".partition(".")
    return f"${dollars}.{cents[:2]}{cents[2:].rstrip('0')}"


def budget_is_used_up(provider: Mapping[str, Any]) -> bool:
    """Whether what is left of this month's budget pays no call any more."""
    if provider["monthly_budget_usd"] is None:
        return False
    prices = [provider[f"cost_per_{what}"] for what in ("search", "call", "image") if provider[f"cost_per_{what}"]]
    left = provider["monthly_budget_usd"] - provider["spent_this_month_usd"]
    return bool(left <= 0 or round(left - min(prices, default=0), 6) < 0)


def _of_circuit(provider: Mapping[str, Any]) -> list[Alert]:
    circuit = provider["circuit"]
    if provider["state"] not in service_health.STATES.values():
        return []
    todo = remedy(provider["name"], circuit["error_type"])
    stopped = f"{provider['title']} is stopped:"
    message = _sentences(stopped, circuit["message"], todo, service_health.next_try(circuit))
    return [_alert("critical" if todo else "warning", message, provider["name"])]


def _of_limits(provider: Mapping[str, Any]) -> list[Alert]:
    return [_of_limit(provider, window) for window, usage in provider["usage"].items() if usage["level"] != "ok"]


def _of_limit(provider: Mapping[str, Any], window: str) -> Alert:
    usage = provider["usage"][window]
    used = f"{provider['title']} used {usage['used']:,} of {usage['limit']:,} calls in the last {window}"
    todo = "enrich fewer venues at a time, or raise the limit if your plan allows more"
    return _alert(usage["level"], f"{used} ({usage['percent']:g} %): {todo}.", provider["name"])


def _of_budget(provider: Mapping[str, Any]) -> list[Alert]:
    budget, spent = provider["monthly_budget_usd"], provider["spent_this_month_usd"]
    if budget is None or provider["state"] == "off":
        return []
    title = provider["title"]
    if budget_is_used_up(provider):
        first = end_of_month(timezone.now().date())
        message = (
            f"{title}: this month's budget of {usd(budget)} is used up ({usd(spent)}): "
            f"enrichment asks it no more before {first.day} {first:%B}; recovery goes on."
        )
        return [_alert("critical", message, provider["name"])]
    if spent * ALL < budget * WARNING_PERCENT:
        return []
    percent = f"{spent / budget:.0%}".replace("%", " %")
    message = f"{title} has used {usd(spent)} of this month's budget of {usd(budget)} ({percent}): raise it, or wait."
    return [_alert("warning", message, provider["name"])]


def _of_stale_urls(provider: Mapping[str, Any]) -> list[Alert]:
    offer = provider["stale_urls"]
    if not offer:
        return []
    images = "1 photo" if offer["images"] == 1 else f"{offer['images']:,} photos"
    calls = "1 call" if offer["calls"] == 1 else f"{offer['calls']:,} calls"
    message = (
        f"{images} of {provider['title']} can only be had from a new address, for {calls} and {usd(offer['cost_usd'])} "
        "in all: “venue-images enrich VENUE --refresh-urls” asks for it."
    )
    return [_alert("warning", message, provider["name"])]


def _of_key(provider: Mapping[str, Any]) -> list[Alert]:
    """A key that is missing; of a provider that was never in use nobody needs to hear."""
    if not provider["active"] or provider["configured"]:
        return []
    setting = _key_setting(provider["name"])
    message = f"{provider['title']} is active but has no key: set {setting}, or turn the provider off."
    return [_alert("warning", message, provider["name"])]


def _of_storage(storage: Mapping[str, Any]) -> Alert:
    todo = "Look at STORAGE_URL and at the storage that it names."
    tried = service_health.next_try(storage)
    return _alert("critical", _sentences("The storage is stopped:", storage["message"], todo, tried, WAITING))


def _of_host(host: Mapping[str, Any]) -> Alert:
    stopped = f"The photo host {host['title']} is stopped:"
    return _alert("warning", _sentences(stopped, host["message"], service_health.next_try(host), WAITING))


@dataclass(frozen=True)
class Sampled:
    """How many images of one provider are stored."""

    stored: int
    is_exact: bool


def _sampled() -> dict[str, Sampled]:
    """The providers with images. A large table has no index by provider and is not read whole for a page."""
    with connection.cursor() as cursor:
        cursor.execute(SAMPLE)
        return {provider: Sampled(round(stored), is_exact) for provider, stored, is_exact in cursor.fetchall()}


def _retried() -> dict[str, int]:
    retryable = VenueImage.objects.retryable().order_by().values("provider").annotate(images=Count("id"))
    return {row["provider"]: row["images"] for row in retryable}


def _of_terms(sampled: Mapping[str, Sampled], retried: Mapping[str, int]) -> list[Alert]:
    """Images that a provider's terms don't let us keep, while the owner has said nothing of them."""
    alerts = []
    for name, provider in PROVIDERS.items():
        info = provider.info
        if not info.has_photos or info.storage_policy != "none" or provider_setting(name, "STORAGE_POLICY"):
            continue
        stored = sampled.get(name, Sampled(0, is_exact=True))
        if stored.stored or retried.get(name):
            about = "" if stored.is_exact else "about "
            message = (
                f"{info.title}: {about}{stored.stored:,} photos stored and {retried.get(name, 0):,} being retried, "
                f"although its terms, as we read them, don't let them be kept. Set {name.upper()}_STORAGE_POLICY: "
                "store if yours allow it, none to let the known ones be."
            )
            alerts.append(_alert("warning", message, name))
    return alerts


def _key_setting(provider: str) -> str:
    return f"{provider.upper()}_API_KEY"


def _alert(level: str, message: str, provider: str | None = None) -> Alert:
    return {"level": level, "provider": provider, "message": message}


def _sentences(*parts: str) -> str:
    return " ".join(filter(None, parts))

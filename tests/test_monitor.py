from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.factories import make_image, make_venue
from venue_images import alerts, job_queue, monitor
from venue_images.errors import ErrorType, UsageError
from venue_images.models import (
    Circuit,
    CleanupRun,
    Operation,
    Provider,
    ProviderCheck,
    ProviderSpend,
    ProviderUsage,
    UploadStatus,
    Worker,
)
from venue_images.providers import PROVIDERS

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def google_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_PLACES_API_KEY", "a-key")
    monkeypatch.setenv("GOOGLE_PLACES_STORAGE_POLICY", "store")


def set_google(**fields: Any) -> None:
    Provider.objects.filter(name="google_places").update(**fields)


def record_calls(calls: int, *, seconds_ago: float = 0) -> None:
    second = timezone.now() - timedelta(seconds=seconds_ago)
    ProviderUsage.objects.create(provider="google_places", second=second, calls=calls)


def google() -> dict[str, Any]:
    return monitor.get_provider_stats("google_places")


def open_circuit(service: str, *, seconds: float = 60, state: str = "open", **fields: Any) -> Circuit:
    now = timezone.now()
    defaults = {"error_type": "service_unavailable", "message": "It answered 503.", "failures": 10, "opened_at": now}
    return Circuit.objects.create(
        service=service, state=state, try_at=now + timedelta(seconds=seconds), **{**defaults, **fields}
    )


def spend(usd: float, *, calls: int = 3) -> None:
    month = timezone.now().date().replace(day=1)
    ProviderSpend.objects.create(provider="google_places", month=month, calls=calls, cost_usd=usd)


def messages() -> list[str]:
    return [alert["message"] for alert in monitor.check_alerts()]


def levels() -> list[str]:
    return [alert["level"] for alert in monitor.check_alerts()]


def test_every_provider_is_there_the_first_asked_first() -> None:
    set_google(priority=1)
    names = [provider["name"] for provider in monitor.get_all_stats()]
    assert names[:2] == ["google_places", "catalog"]
    assert set(names) == set(PROVIDERS)


def test_a_provider_is_described() -> None:
    set_google(limit_per_second=None, limit_per_minute=600, limit_per_hour=None, limit_per_day=None)
    for venue in (make_venue(), make_venue()):
        make_image(venue, UploadStatus.FAILED, ErrorType.URL_EXPIRED, provider="google_places")
    ProviderCheck.objects.create(venue=venue, provider="google_places", due_at=timezone.now() + timedelta(hours=1))
    spend(0.5)
    info = PROVIDERS["google_places"].info
    nothing = {"used": 0, "limit": None, "percent": None, "level": "ok"}
    assert google() == {
        "name": "google_places",
        "title": "Google Places",
        "active": True,
        "priority": 20,
        "metered": True,
        "has_photos": True,
        "geocode": False,
        "needs_key": True,
        "configured": True,
        "state": "ready",
        "state_reason": "",
        "circuit": None,
        "policy": {
            "value": "store",
            "default": "none",
            "is_overridden": True,
            "terms": info.terms,
            "terms_url": info.terms_url,
        },
        "cost_per_search": 0.032,
        "cost_per_call": 0.0,
        "cost_per_image": 0.007,
        "spent_this_month_usd": 0.5,
        "calls_this_month": 3,
        "monthly_budget_usd": None,
        "venues_waiting": 1,
        "stale_urls": {
            "images": 2,
            "venues": 2,
            "calls": 2 * info.refresh_calls_per_venue + 2 * info.refresh_calls_per_image,
            "cost_usd": 0.014,
        },
        "images_failed": 2,
        "usage": {
            "second": nothing,
            "minute": {"used": 0, "limit": 600, "percent": 0.0, "level": "ok"},
            "hour": nothing,
        },
    }


def test_calls_are_counted_in_windows_that_end_now() -> None:
    set_google(limit_per_day=10_000)
    for calls, seconds_ago in ((1, 0), (10, 30), (100, 1800), (1000, 7200), (5000, 90_000)):
        record_calls(calls, seconds_ago=seconds_ago)
    used = {window: usage["used"] for window, usage in google()["usage"].items()}
    assert used == {"second": 1, "minute": 11, "hour": 111, "day": 1111}


def test_a_provider_without_key_is_not_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_PLACES_API_KEY")
    assert google()["configured"] is False
    assert monitor.get_provider_stats("catalog")["configured"] is True


def test_a_provider_that_is_not_known_any_more_is_still_shown() -> None:
    Provider.objects.create(name="retired")
    retired = monitor.get_provider_stats("retired")
    assert (retired["title"], retired["state"]) == ("retired", "off")


def test_the_states_say_what_keeps_a_provider_from_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (google()["state"], google()["state_reason"]) == ("ready", "")
    open_circuit("provider:google_places", seconds=60)
    assert google()["state"] == "stopped"
    assert re.fullmatch(r"Left alone until .*\d\d:\d\d:\d\d UTC: It answered 503\.", google()["state_reason"])
    Circuit.objects.update(try_at=timezone.now())
    assert (google()["state"], google()["state_reason"]) == ("stopped", "The next request tries it: It answered 503.")
    Circuit.objects.update(state="half_open", try_at=timezone.now() + timedelta(seconds=30))
    assert (google()["state"], google()["state_reason"]) == ("trying", "One request tries it now: It answered 503.")
    monkeypatch.setenv("GOOGLE_PLACES_STORAGE_POLICY", "none")
    assert (google()["state"], google()["policy"]["value"]) == ("not_kept", "none")
    monkeypatch.delenv("GOOGLE_PLACES_STORAGE_POLICY")
    assert google()["policy"]["is_overridden"] is False
    assert "GOOGLE_PLACES_STORAGE_POLICY=store" in google()["state_reason"]
    monkeypatch.delenv("GOOGLE_PLACES_API_KEY")
    assert (google()["state"], "GOOGLE_PLACES_API_KEY" in google()["state_reason"]) == ("no_key", True)
    set_google(active=False)
    assert google()["state"] == "off"


def test_a_circuit_that_is_not_closed_is_told() -> None:
    row = open_circuit("provider:google_places", error_type="provider_quota", message="No credit.")
    assert google()["circuit"] == {
        "service": "provider:google_places",
        "state": "open",
        "error_type": "provider_quota",
        "message": "No credit.",
        "opened_at": row.opened_at,
        "try_at": row.try_at,
    }
    Circuit.objects.update(state="closed", try_at=None)
    assert google()["circuit"] is None


def test_a_provider_that_only_tells_ids_is_ready_without_a_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE_API_KEY", "a-key")
    here = monitor.get_provider_stats("here")
    assert (here["has_photos"], here["state"]) == (False, "ready")


def test_only_what_is_spent_this_month_counts() -> None:
    last_month = timezone.now().date().replace(day=1) - timedelta(days=1)
    ProviderSpend.objects.create(provider="google_places", month=last_month.replace(day=1), calls=9, cost_usd=9)
    assert (google()["spent_this_month_usd"], google()["calls_this_month"]) == (0.0, 0)


def test_a_venue_that_may_be_asked_about_now_does_not_wait() -> None:
    ProviderCheck.objects.create(venue=make_venue(), provider="google_places", due_at=timezone.now())
    ProviderCheck.objects.create(venue=make_venue(), provider="google_places", checked_at=timezone.now())
    assert google()["venues_waiting"] == 0


def test_the_number_of_statements_does_not_grow() -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as captured:
            monitor.get_all_stats()
            monitor.check_alerts()
        return len(captured)

    before = statements()
    for name in ("google_places", "openverse", "catalog"):
        make_image(make_venue(), UploadStatus.FAILED, ErrorType.URL_EXPIRED, provider=name)
        make_image(make_venue(), UploadStatus.UPLOADED, provider=name)
        ProviderCheck.objects.create(venue=make_venue(), provider=name, due_at=timezone.now() + timedelta(hours=1))
        open_circuit(f"provider:{name}")
        open_circuit(f"host:{name}.example")
    assert statements() == before


def test_the_services_that_are_not_well_are_told() -> None:
    assert monitor.services() == []
    open_circuit("host:photos.example", failures=12)
    open_circuit("storage", state="half_open", error_type="storage_config", message="The folder is gone.")
    open_circuit("provider:google_places")
    Circuit.objects.create(service="host:well.example")
    host, storage = monitor.services()
    assert (host["service"], host["kind"], host["title"]) == ("host:photos.example", "host", "photos.example")
    assert (host["state"], host["failures"], host["error_type"]) == ("open", 12, "service_unavailable")
    assert host["retry_tokens"] == 500
    assert (storage["kind"], storage["state"], storage["message"]) == ("storage", "half_open", "The folder is gone.")


def test_an_open_service_whose_time_has_come_is_tried_by_the_next_request() -> None:
    open_circuit("host:photos.example", seconds=-1)
    [host] = monitor.services()
    assert (host["state"], host["state_reason"]) == ("open", "The next request tries it: It answered 503.")
    [alert] = messages()
    assert "The next request tries it." in alert


def test_a_host_whose_retries_are_used_up_is_told_until_they_come_back() -> None:
    in_a_moment = timezone.now() + timedelta(seconds=30)
    Circuit.objects.create(service="host:photos.example", retry_tokens=3, reckoned_at=in_a_moment)
    [host] = monitor.services()
    assert (host["state"], host["retry_tokens"]) == ("closed", 3)
    assert "retries wait" in host["state_reason"]
    assert monitor.check_alerts() == []
    Circuit.objects.update(reckoned_at=timezone.now() - timedelta(seconds=2))
    assert monitor.services() == []


def test_an_unknown_provider_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="known: catalog, foursquare"):
        monitor.get_provider_stats("gogle")


@pytest.mark.parametrize(
    ("calls", "expected"), [(79, []), (80, ["warning"]), (94, ["warning"]), (95, ["critical"]), (120, ["critical"])]
)
@pytest.mark.parametrize("window", ["second", "minute", "hour", "day"])
def test_a_limit_that_is_nearly_used_up_raises_an_alert(window: str, calls: int, expected: list[str]) -> None:
    limits = {f"limit_per_{name}": None for name in monitor.WINDOWS}
    set_google(**{**limits, f"limit_per_{window}": 100})
    record_calls(calls)
    assert levels() == expected


def test_an_alert_says_what_is_used_and_what_to_do() -> None:
    set_google(limit_per_minute=1200)
    record_calls(1150, seconds_ago=5)
    [alert] = monitor.check_alerts()
    assert alert["provider"] == "google_places"
    assert "Google Places used 1,150 of 1,200 calls in the last minute (95.8 %)" in alert["message"]
    assert "raise the limit" in alert["message"]


def test_the_worst_alert_comes_first() -> None:
    set_google(limit_per_second=None, limit_per_minute=100, limit_per_hour=95)
    record_calls(85)
    record_calls(10, seconds_ago=600)
    assert levels() == ["critical", "warning"]


def test_a_provider_that_was_never_in_use_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_PLACES_API_KEY")
    assert monitor.check_alerts() == []


@pytest.mark.parametrize("was_in_use", [lambda: spend(0), lambda: make_image(make_venue(), provider="google_places")])
def test_a_provider_in_use_without_its_key_raises_an_alert(
    monkeypatch: pytest.MonkeyPatch, was_in_use: Callable[[], object]
) -> None:
    monkeypatch.delenv("GOOGLE_PLACES_API_KEY")
    was_in_use()
    [alert] = monitor.check_alerts()
    assert (alert["level"], "GOOGLE_PLACES_API_KEY" in alert["message"]) == ("warning", True)
    set_google(active=False)
    assert monitor.check_alerts() == []


@pytest.mark.parametrize(
    ("provider", "error_type", "level", "says"),
    [
        ("google_places", "provider_key", "critical", "Mend GOOGLE_PLACES_API_KEY. It is tried next at"),
        ("google_places", "provider_quota", "critical", "the billing of your account at Google Places. It is tried"),
        ("wikimedia_commons", "provider_key", "critical", "Mend VENUE_IMAGES_CONTACT. It is tried next at"),
        ("openverse", "rate_limited", "warning", "Openverse is stopped: It answered 503. It is tried next at"),
    ],
)
def test_a_stopped_provider_raises_an_alert(provider: str, error_type: str, level: str, says: str) -> None:
    open_circuit(f"provider:{provider}", error_type=error_type, seconds=86_400 * 2)
    [alert] = monitor.check_alerts()
    assert (alert["level"], alert["provider"]) == (level, provider)
    assert says in alert["message"]
    assert re.search(r"at \d+ [A-Z][a-z]+, \d\d:\d\d:\d\d UTC\.$", alert["message"])
    Provider.objects.filter(name=provider).update(active=False)
    assert monitor.check_alerts() == []


def test_a_stopped_storage_and_stopped_hosts_raise_alerts() -> None:
    open_circuit("storage", error_type="storage_config", message="The bucket is gone.")
    for number in range(alerts.MOST_HOSTS + 2):
        open_circuit(f"host:{number}.example", failures=number)
    storage, *hosts, rest = monitor.check_alerts()
    assert (storage["level"], storage["provider"]) == ("critical", None)
    assert storage["message"].startswith("The storage is stopped: The bucket is gone. Look at STORAGE_URL")
    assert [host["level"] for host in hosts] == ["warning"] * alerts.MOST_HOSTS
    assert hosts[0]["message"].startswith("The photo host 6.example is stopped: It answered 503. It is tried next at")
    assert rest["message"].startswith("2 more photo hosts are stopped")


@pytest.mark.parametrize(
    ("spent", "expected"),
    [(7.99, []), (8.0, ["warning"]), (9.99, ["warning"]), (9.994, ["critical"]), (10, ["critical"])],
)
def test_a_budget_that_is_nearly_used_up_raises_an_alert(spent: float, expected: list[str]) -> None:
    set_google(monthly_budget_usd=10)
    spend(spent)
    assert levels() == expected


def test_an_alert_of_a_used_up_budget_says_until_when() -> None:
    set_google(monthly_budget_usd=10)
    spend(10)
    assert google()["state_reason"] == "This month's budget of $10.00 is used up."
    first = alerts.end_of_month(timezone.now().date())
    [message] = messages()
    assert message.startswith("Google Places: this month's budget of $10.00 is used up ($10.00): ")
    assert message.endswith(f"enrichment asks it no more before {first.day} {first:%B}; recovery goes on.")


def test_the_month_after_december_is_january() -> None:
    assert alerts.end_of_month(date(2026, 12, 31)) == date(2027, 1, 1)
    assert alerts.end_of_month(date(2026, 1, 31)) == date(2026, 2, 1)


def test_images_against_the_terms_raise_an_alert_until_the_owner_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_PLACES_STORAGE_POLICY")
    venue = make_venue()
    for status, error_type in (("uploaded", None), ("uploaded", None), ("failed", ErrorType.NETWORK_TIMEOUT)):
        make_image(venue, UploadStatus(status), error_type, provider="google_places")
    make_image(venue, UploadStatus.PERMANENTLY_FAILED, ErrorType.GONE, provider="google_places")
    make_image(venue, UploadStatus.UPLOADED, provider="openverse")
    [alert] = monitor.check_alerts()
    assert (alert["level"], alert["provider"]) == ("warning", "google_places")
    assert alert["message"].startswith("Google Places: 2 photos stored and 1 being retried, although its terms")
    assert "GOOGLE_PLACES_STORAGE_POLICY" in alert["message"]
    for policy in ("none", "store"):
        monkeypatch.setenv("GOOGLE_PLACES_STORAGE_POLICY", policy)
        assert monitor.check_alerts() == []


def test_images_that_need_a_new_address_raise_an_alert_with_the_price() -> None:
    for _ in range(3):
        make_image(make_venue(), UploadStatus.FAILED, ErrorType.URL_EXPIRED, provider="google_places")
    [alert] = monitor.check_alerts()
    offer = google()["stale_urls"]
    assert (alert["level"], alert["provider"]) == ("warning", "google_places")
    assert (
        f"3 photos of Google Places can only be had from a new address, for {offer['calls']} calls and $0.021 in all"
        in (alert["message"])
    )
    assert "venue-images enrich VENUE --refresh-urls" in alert["message"]


def test_waiting_jobs_without_a_worker_raise_an_alert() -> None:
    job_queue.enqueue(job_queue.CLEANUP, [job_queue.NewJob({}, dedupe_key="one")])
    [alert] = monitor.check_alerts()
    assert (alert["level"], alert["provider"]) == ("critical", None)
    assert alert["message"].startswith("1 job waits and no worker is running")


def test_a_living_worker_or_nothing_to_do_raises_no_alert() -> None:
    assert monitor.check_alerts() == []
    job_queue.enqueue(job_queue.CLEANUP, [job_queue.NewJob({}, dedupe_key="one")])
    Worker.objects.create(kind="worker", hostname="here", pid=1)
    assert monitor.check_alerts() == []


@pytest.mark.parametrize(("kind", "silent_for"), [("worker", 31), ("command", 0)])
def test_a_silent_worker_or_a_command_takes_no_jobs(kind: str, silent_for: int) -> None:
    job_queue.enqueue(job_queue.CLEANUP, [job_queue.NewJob({}, dedupe_key="one")])
    heard = timezone.now() - timedelta(seconds=silent_for)
    Worker.objects.create(kind=kind, hostname="here", pid=1, heartbeat_at=heard)
    assert levels() == ["critical"]


def test_a_job_for_later_does_not_wait_for_a_worker() -> None:
    job_queue.enqueue(job_queue.CLEANUP, [job_queue.NewJob({}, dedupe_key="one", delay=timedelta(hours=1))])
    assert monitor.check_alerts() == []


def test_before_the_first_cleanup_there_is_no_last_one() -> None:
    assert monitor.last_cleanup() is None


def test_the_last_cleanup_tells_what_its_retries_brought() -> None:
    CleanupRun.objects.create(state=CleanupRun.State.FAILED)
    run = CleanupRun.objects.create(state=CleanupRun.State.FINISHED, venues_queued=3, trigger="nightly")
    done = timezone.now()
    for uploaded, failed, finished_at in ((4, 0, done), (1, 2, done), (0, 0, None)):
        Operation.objects.create(
            venue=make_venue(),
            run=run,
            kind=Operation.Kind.RETRY,
            images_uploaded=uploaded,
            images_failed=failed,
            finished_at=finished_at,
        )
    last = monitor.last_cleanup()
    assert last is not None
    assert last["created_at"] == run.created_at
    expected = {
        "run_id": run.pk,
        "state": "finished",
        "trigger": "nightly",
        "venues_queued": 3,
        "venues_done": 2,
        "images_recovered": 5,
        "images_still_failed": 2,
        "metered_calls": 0,
    }
    assert {name: last[name] for name in expected} == expected

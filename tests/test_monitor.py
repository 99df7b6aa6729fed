from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tests.factories import make_image, make_venue
from venue_images import job_queue, monitor
from venue_images.errors import ErrorType, UsageError
from venue_images.models import CleanupRun, Operation, Provider, ProviderUsage, UploadStatus, Worker

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def google_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_PLACES_API_KEY", "a-key")


def set_google(**fields: Any) -> None:
    Provider.objects.filter(name="google_places").update(**fields)


def record_calls(calls: int, *, seconds_ago: float = 0) -> None:
    second = timezone.now() - timedelta(seconds=seconds_ago)
    ProviderUsage.objects.create(provider="google_places", second=second, calls=calls)


def google() -> dict[str, Any]:
    return monitor.get_provider_stats("google_places")


def levels() -> list[str]:
    return [alert["level"] for alert in monitor.check_alerts()]


def test_every_provider_is_there_the_first_asked_first() -> None:
    set_google(priority=1)
    assert [provider["name"] for provider in monitor.get_all_stats()] == ["google_places", "catalog"]


def test_a_provider_is_described() -> None:
    set_google(limit_per_second=None, limit_per_minute=600, limit_per_hour=None, limit_per_day=None)
    make_image(make_venue(), UploadStatus.FAILED, ErrorType.URL_EXPIRED, provider="google_places")
    nothing = {"used": 0, "limit": None, "percent": None, "level": "ok"}
    assert google() == {
        "name": "google_places",
        "title": "Google Places",
        "active": True,
        "priority": 20,
        "metered": True,
        "cost_per_image": 0.007,
        "needs_key": True,
        "configured": True,
        "images_failed": 1,
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
    Provider.objects.create(name="retired", active=False)
    assert monitor.get_provider_stats("retired")["title"] == "retired"


def test_an_unknown_provider_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="catalog, google_places"):
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


def test_an_active_provider_without_its_key_raises_an_alert(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_PLACES_API_KEY")
    [alert] = monitor.check_alerts()
    assert (alert["level"], "GOOGLE_PLACES_API_KEY" in alert["message"]) == ("warning", True)
    set_google(active=False)
    assert monitor.check_alerts() == []


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

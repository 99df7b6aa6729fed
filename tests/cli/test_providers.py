"""``providers``: as it is typed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.conftest import Command
from venue_images.providers import PROVIDERS


def provider(command: Command, name: str) -> dict[str, Any]:
    [found] = [each for each in command.json("providers")["providers"] if each["name"] == name]
    return dict(found)


def test_it_lists_them_all(command: Command) -> None:
    assert {each["name"] for each in command.json("providers", "list")["providers"]} == set(PROVIDERS)
    ended = command.run("providers")
    assert ended.returncode == 0
    for each in PROVIDERS:
        assert any(line.startswith(each) for line in ended.stdout.splitlines()), ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 80


def test_one_can_be_turned_off_and_on(command: Command) -> None:
    [changed] = command.json("providers", "disable", "openverse")["providers"]
    assert (changed["name"], changed["state"]) == ("openverse", "off")
    assert provider(command, "openverse")["active"] is False
    [changed] = command.json("providers", "enable", "openverse")["providers"]
    assert (changed["active"], changed["state"]) == (True, "ready")


def test_one_that_is_turned_on_and_can_not_be_asked_says_why(command: Command) -> None:
    ended = command.run("providers", "enable", "pexels", PEXELS_API_KEY="")
    assert ended.returncode == 0
    assert "set PEXELS_API_KEY" in ended.stderr


def test_choices_can_be_set_several_at_once(command: Command) -> None:
    values = ("priority=3", "monthly_budget_usd=12.5", "limit_per_day=100", "geocode=yes")
    [changed] = command.json("providers", "set", "google_places", *values)["providers"]
    assert changed == provider(command, "google_places")
    assert (changed["priority"], changed["monthly_budget_usd"], changed["geocode"]) == (3, 12.5, True)
    assert changed["usage"]["day"]["limit"] == 100
    assert "$12.50" in command.run("providers").stdout
    command.json("providers", "set", "google_places", "monthly_budget_usd=none", "limit_per_day=none", "geocode=no")
    changed = provider(command, "google_places")
    assert (changed["monthly_budget_usd"], "day" in changed["usage"]) == (None, False)


@pytest.mark.parametrize("service", ["openverse", "provider:openverse", "storage"])
def test_a_service_can_be_tried(command: Command, service: str) -> None:
    assert command.json("providers", "try", service) == {"venues": 0}


def test_monitor_tells_the_services_too(command: Command) -> None:
    report = command.json("monitor")
    assert set(report) == {"providers", "services", "alerts"}
    assert report["services"] == []
    assert "Google Places" in command.run("monitor").stdout


def test_doctor_tells_what_is_done_with_the_photos_and_why(command: Command) -> None:
    checks = {check["name"]: check for check in command.json("doctor")["checks"]}
    google = PROVIDERS["google_places"].info
    bold = checks["provider google_places"]
    assert bold["status"] == "warning"
    for part in ("photos: store, as you set it", google.terms, google.terms_url, "mean none: you answer for it"):
        assert part in bold["message"]
    plain = checks["provider openverse"]
    assert (plain["status"], "photos: store, by its terms" in plain["message"]) == ("ok", True)
    assert (checks["contact"]["status"], "VENUE_IMAGES_CONTACT" in checks["contact"]["message"]) == ("warning", True)
    assert checks["circuits"]["status"] == "ok"


def test_doctor_tells_of_a_provider_that_has_a_key_and_is_not_asked(command: Command) -> None:
    answer = command.json(
        "doctor",
        GOOGLE_PLACES_STORAGE_POLICY="",
        FOURSQUARE_STORAGE_POLICY="",
        FOURSQUARE_API_KEY="",
        VENUE_IMAGES_CONTACT="owner@example.com",
    )
    checks = {check["name"]: check for check in answer["checks"]}
    google, foursquare = checks["provider google_places"], checks["provider foursquare"]
    assert (google["status"], "Set GOOGLE_PLACES_STORAGE_POLICY=store" in google["message"]) == ("warning", True)
    assert google["message"].count(PROVIDERS["google_places"].info.terms) == 1
    assert (foursquare["status"], "no key" in foursquare["message"]) == ("ok", True)
    assert checks["contact"]["status"] == "ok"

"""A wrong key is mended: everything that it kept waiting is asked, whoever asks."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from tests.catalogue import import_lines
from tests.conftest import Workers
from venue_images import circuits, enrichment_job, owner_actions
from venue_images.cli import enriching
from venue_images.cli.enriching import Wish
from venue_images.models import Provider, ProviderCheck, Venue, VenueImage
from venue_images.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("jobs", "images_folder")
VENUES, PHOTOS = 12, 2


@pytest.fixture(autouse=True)
def venues(jobs: None, sandbox: Sandbox, tmp_path: Path) -> None:
    Provider.objects.exclude(name="google_places").update(active=False)
    for number in range(VENUES):
        sandbox.place(f"sandbox-place-{number}", photos=PHOTOS)
    import_lines(
        tmp_path,
        [
            {"slug": f"place-{n}", "name": f"Place {n}", "provider_ids": {"google_places": f"sandbox-place-{n}"}}
            for n in range(VENUES)
        ],
    )


@pytest.fixture
def key(set_environment: Callable[..., None], sandbox: Sandbox) -> Callable[[bool], None]:
    """Set the right key or a wrong one."""

    def set_key(is_right: bool) -> None:
        set_environment(GOOGLE_PLACES_API_KEY=sandbox.google_places.api_key if is_right else "AIza-wrong")

    return set_key


def test_the_next_command_asks_for_every_venue(key: Callable[[bool], None], capsys: pytest.CaptureFixture[str]) -> None:
    key(False)
    assert enriching.enrich(Wish(), now=True) == 1
    assert "Mend GOOGLE_PLACES_API_KEY" in capsys.readouterr().err
    key(True)
    assert enriching.enrich(Wish(), now=True) == 0
    assert VenueImage.objects.count() == VENUES * PHOTOS


def test_so_does_a_forced_one_for_venues_that_were_checked_before(key: Callable[[bool], None]) -> None:
    key(False)
    assert enriching.enrich(Wish(everything=True, force=True), now=True) == 1
    key(True)
    assert enriching.enrich(Wish(everything=True, force=True), now=True) == 0
    assert VenueImage.objects.count() == VENUES * PHOTOS


def test_a_running_worker_goes_on_by_itself(key: Callable[[bool], None], workers: Workers) -> None:
    key(False)
    enrichment_job.enqueue()
    workers.drain()
    assert ProviderCheck.objects.filter(due_at__isnull=False).count() == VENUES
    key(True)
    assert owner_actions.try_now(circuits.of_provider("google_places")) == VENUES

    workers.start()
    deadline = time.monotonic() + 60
    while Venue.objects.filter(images_checked_at__isnull=True).exists():
        assert time.monotonic() < deadline, "the worker left venues unasked"
        time.sleep(0.2)
    assert VenueImage.objects.count() == VENUES * PHOTOS


def test_a_budget_that_is_used_up_is_told_and_costs_no_call(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    Provider.objects.filter(name="google_places").update(monthly_budget_usd=Decimal("0.02"))
    assert enriching.enrich(Wish(), now=True) == 0
    assert "this month's budget of $0.02 is used up" in capsys.readouterr().err
    assert VenueImage.objects.count() == 2

    sandbox.reset_counters()
    assert enriching.enrich(Wish(), now=True) == 0
    assert "is used up. That concerns" in capsys.readouterr().err
    assert sandbox.calls == {}

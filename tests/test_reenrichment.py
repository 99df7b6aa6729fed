"""Asking the providers again: what the venue has is not bought twice, and what failed is not forgotten."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db.models.functions import Now

from tests.catalogue import import_venue
from venue_images import enrichment_job, orchestrator
from venue_images.models import ProviderCheck, Venue, VenueImage
from venue_images.sandbox import Fault, Sandbox

pytestmark = pytest.mark.usefixtures("jobs")
PLACE: dict[str, Any] = {"provider_ids": {"google_places": "sandbox-odeon"}}


def let_its_time_come(venue: Venue) -> None:
    """As if the provider's pause were over."""
    assert ProviderCheck.objects.filter(venue=venue, due_at__isnull=False).update(due_at=Now()) == 1


def test_photos_that_the_venue_has_are_not_bought_again(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.photo_uri_lifetime = 600
    venue = import_venue(tmp_path, "odeon", [], **PLACE)
    first = orchestrator.enrich_venue_sync(venue)
    assert first.images_uploaded == 5

    again = orchestrator.enrich_venue_sync(venue, force=True)

    assert (again.images_discovered, again.cost_usd) == (0, Decimal(0))
    assert VenueImage.objects.count() == 5
    assert sandbox.metered_calls["google_places"] == first.metered_calls + 1


def test_a_provider_that_is_down_leaves_the_venue_to_be_asked_again(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script("/google_places/v1/places/sandbox-odeon", Fault("status", status=503), times=1)
    venue = import_venue(tmp_path, "odeon", [sandbox.photo_url("odeon/1.jpg")], **PLACE)

    first = orchestrator.enrich_venue_sync(venue)
    assert (first.images_uploaded, enrichment_job.stale_venues()) == (1, [venue.pk])
    assert first.due_in
    too_early = orchestrator.enrich_venue_sync(venue)
    assert (too_early.metered_calls, too_early.images_discovered) == (0, 0)
    assert too_early.due_in
    assert 0 < too_early.due_in <= first.due_in
    let_its_time_come(venue)
    second = orchestrator.enrich_venue_sync(venue)

    assert (second.images_uploaded, second.due_in, enrichment_job.stale_venues()) == (5, None, [])
    assert len(sandbox.hits(sandbox.photo_url("odeon/1.jpg"))) == 1
    assert len(sandbox.hits("/google_places/v1/places/sandbox-odeon")) == 2


def test_the_providers_that_have_answered_are_not_asked_again_for_the_one_that_has_not(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.script("/google_places/v1/places/sandbox-odeon", Fault("status", status=503), times=1)
    venue = import_venue(tmp_path, "odeon", [], **PLACE, latitude=51.5, longitude=-0.1)
    first = orchestrator.enrich_venue_sync(venue)
    calls = sandbox.calls
    assert calls["openverse"] == calls["wikimedia_commons"] == calls["google_places"] == 1

    let_its_time_come(venue)
    second = orchestrator.enrich_venue_sync(venue)

    assert set(second.provider_results) == {"catalog", "google_places"}
    assert sandbox.calls == {**calls, "google_places": 1 + 6}
    assert (first.images_uploaded, second.images_uploaded) == (0, 5)


def test_asking_one_provider_does_not_count_as_asking_all(sandbox: Sandbox, tmp_path: Path) -> None:
    venue = import_venue(tmp_path, "odeon", [sandbox.photo_url("odeon/1.jpg")], **PLACE)

    orchestrator.enrich_venue_sync(venue, providers=["catalog"])

    assert enrichment_job.stale_venues() == [venue.pk]

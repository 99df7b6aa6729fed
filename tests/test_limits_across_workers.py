"""Four workers against an outside world that bans a client for one request too many."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path

import pytest
from django.db import connection

from tests.catalogue import import_lines
from tests.conftest import Workers
from venue_images import enrichment_job, monitor
from venue_images.models import Provider, ProviderSpend, UploadStatus, Venue, VenueImage
from venue_images.sandbox import Sandbox

VENUES = 30
PHOTOS = 2
#: Calls a minute: two thirds of the work can be done at once, the rest a minute later.
LIMIT = 60
PATIENCE = 110


@pytest.fixture
def catalogue(sandbox: Sandbox, tmp_path: Path, jobs: None) -> None:
    lines = []
    for number in range(VENUES):
        sandbox.place(f"sandbox-place-{number}", photos=PHOTOS)
        ids = {"google_places": f"sandbox-place-{number}"}
        lines.append({"slug": f"place-{number}", "name": f"Place {number}", "provider_ids": ids})
    import_lines(tmp_path, lines)


def finish(workers: Workers) -> None:
    """Let four workers work until every venue is checked."""
    enrichment_job.enqueue()
    for _ in range(4):
        workers.start()
    unchecked = "SELECT count(*) FROM venue_images_venue WHERE images_checked_at IS NULL"
    deadline = time.monotonic() + PATIENCE
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute(f"SELECT pg_sleep(0.2), ({unchecked}) + (SELECT count(*) FROM pgqueuer)")
            row = cursor.fetchone()
            if row and row[1] == 0:
                return
    pytest.fail(f"The workers were not done within {PATIENCE} seconds.")


@pytest.mark.usefixtures("catalogue")
def test_a_large_enrichment_ends_without_a_ban_and_the_figures_agree(sandbox: Sandbox, workers: Workers) -> None:
    sandbox.allow("google_places", LIMIT, 60.0)
    Provider.objects.filter(name="google_places").update(limit_per_minute=LIMIT)
    Provider.objects.exclude(name__in=("google_places", "catalog")).update(active=False)

    finish(workers)
    workers.stop()

    assert sandbox.violations() == {}
    assert Venue.objects.filter(images_checked_at__isnull=True).count() == 0
    assert VenueImage.objects.filter(upload_status=UploadStatus.UPLOADED).count() == VENUES * PHOTOS
    calls = sandbox.calls["google_places"]
    usage = monitor.get_provider_stats("google_places")["usage"]
    assert usage["hour"]["used"] == calls
    # No photo was paid twice, although some venues had to be listed again a minute later.
    paid = [hit for hit in sandbox.hits("/google_places/*") if hit.path.endswith("/media")]
    assert len({hit.path for hit in paid}) == len(paid) == VENUES * PHOTOS
    spend = ProviderSpend.objects.get(provider="google_places")
    assert (spend.calls, spend.cost_usd) == (calls, VENUES * PHOTOS * Decimal("0.007"))

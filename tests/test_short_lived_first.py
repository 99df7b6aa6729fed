"""Addresses that die soon are tried before the others."""

from __future__ import annotations

import pytest
from django.db import connection

from tests.factories import make_image, make_venue
from venue_images import cleanup_scheduler
from venue_images.models import UploadStatus

pytestmark = pytest.mark.usefixtures("jobs")


def queued_venues() -> list[int]:
    """In the order in which workers take them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT convert_from(payload, 'UTF8')::json ->> 'venue' FROM pgqueuer "
            "WHERE entrypoint = 'venue_enrichment.retry' ORDER BY priority DESC, id"
        )
        return [int(row[0]) for row in cursor.fetchall()]


def test_venues_whose_addresses_die_soon_come_first() -> None:
    stable, mixed, short_lived = make_venue(), make_venue(), make_venue()
    make_image(stable, UploadStatus.FAILED)
    for provider in ("catalog", "google_places"):
        make_image(mixed, UploadStatus.FAILED, provider=provider)
    make_image(short_lived, UploadStatus.FAILED, provider="mapillary")
    urgent_first = [mixed.pk, short_lived.pk, stable.pk]

    assert cleanup_scheduler.retryable_venues(include_ambiguous=False) == urgent_first
    cleanup_scheduler.perform(cleanup_scheduler.enqueue().run_id)
    assert queued_venues() == urgent_first

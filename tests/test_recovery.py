"""The whole way in one process: import, enrich, fail, clean up, recovered."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.catalogue import import_venue
from venue_images import cleanup_now, orchestrator, stats
from venue_images.models import UploadStatus, VenueImage
from venue_images.sandbox import Fault, Sandbox

pytestmark = pytest.mark.usefixtures("jobs")


def test_it_recovers_what_can_be_recovered_and_nothing_else(sandbox: Sandbox, tmp_path: Path) -> None:
    paths = [f"blue-note/{number}.jpg" for number in range(1, 7)]
    urls = [sandbox.photo_url(path) for path in paths]
    sandbox.script(urls[1], Fault("status", status=503), times=1)
    sandbox.script(urls[2], Fault("status", status=429, retry_after=1), times=1)
    sandbox.script(urls[3], Fault("status", status=404))
    sandbox.script(urls[4], Fault("status", status=500))
    venue = import_venue(tmp_path, "blue-note", urls)

    enriched = orchestrator.enrich_venue_sync(venue)
    assert (enriched.images_discovered, enriched.images_uploaded, enriched.images_failed) == (6, 2, 4)
    assert stats.summary_stats()["venues_with_transient"] == 1

    report = cleanup_now.perform_now()

    assert report["images_recovered"] == 2
    assert report["metered_calls"] == 0
    assert report["permanent_logged"] == 1
    assert report["ambiguous_skipped"] == 1
    assert stats.summary_stats()["venues_with_transient"] == 0
    assert [len(sandbox.hits(url)) for url in urls] == [1, 2, 2, 1, 1, 1]
    stored = VenueImage.objects.filter(upload_status=UploadStatus.UPLOADED)
    assert stored.count() == 4

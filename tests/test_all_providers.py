"""All providers together: everybody's photos, no key anywhere, no call in a recovery."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from tests.catalogue import import_lines
from tests.conftest import Workers
from tests.world import SLUG, known_everywhere
from venue_images import (
    catalog,
    cleanup_now,
    cleanup_scheduler,
    enrichment_job,
    failed_upload_retry_worker,
    monitor,
    orchestrator,
)
from venue_images.models import UploadStatus, Venue, VenueImage
from venue_images.providers import PROVIDERS
from venue_images.sandbox import Fault, Sandbox

WITH_PHOTOS = {name for name, provider in PROVIDERS.items() if provider.info.has_photos}


@pytest.fixture
def blue_note(
    sandbox: Sandbox, jobs: None, images_folder: Path, tmp_path: Path, set_environment: Callable[..., None]
) -> Venue:
    set_environment(VENUE_IMAGES_MAX_IMAGES_PER_VENUE="100")
    import_lines(tmp_path, [known_everywhere(sandbox)])
    return Venue.objects.get(slug=SLUG)


def keys(sandbox: Sandbox) -> list[str]:
    return [value for name, value in sandbox.environment().items() if name.endswith("_API_KEY")]


def database_text() -> str:
    """Every row of every table, as text."""
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        rows = []
        for table in tables:
            cursor.execute(f'SELECT row_to_json(each)::text FROM "{table}" AS each')
            rows += [row[0] for row in cursor.fetchall()]
        cursor.execute("SELECT convert_from(payload, 'UTF8') FROM pgqueuer WHERE payload IS NOT NULL")
        rows += [row[0] for row in cursor.fetchall()]
    return "\n".join(rows)


def pages() -> str:
    """The pages of the admin that speak of providers and images."""
    client = Client()
    client.force_login(User.objects.create_superuser("owner"))
    models = ("provider", "venueimage", "operation", "cleanuprun", "venue")
    paths = ["/admin/venue-images/stats", *(f"/admin/venue_images/{model}/" for model in models)]
    paths += [f"/admin/venue_images/venueimage/{image.pk}/change/" for image in VenueImage.objects.all()]
    answers = [client.get(path) for path in paths]
    assert [answer.status_code for answer in answers] == [200] * len(paths)
    return "\n".join(answer.content.decode() for answer in answers)


def test_every_provider_brings_its_photos_with_who_has_to_be_named(blue_note: Venue) -> None:
    result = orchestrator.enrich_venue_sync(blue_note)
    assert set(result.provider_results) == set(PROVIDERS)
    assert {name for name, one in result.provider_results.items() if "error" in one} == set()
    images = VenueImage.objects.filter(venue=blue_note)
    assert {image.provider for image in images} == WITH_PHOTOS
    for image in images.exclude(provider="catalog"):
        assert (image.attribution and image.licence) or image.provider in ("foursquare", "yelp")
    assert {image.provider for image in images.filter(upload_status=UploadStatus.HOTLINKED)} == {"unsplash"}
    assert not images.exclude(upload_status__in=(UploadStatus.UPLOADED, UploadStatus.HOTLINKED)).exists()
    blue_note.refresh_from_db()
    assert blue_note.images_checked_at


def test_a_second_enrichment_asks_nobody(blue_note: Venue, sandbox: Sandbox) -> None:
    orchestrator.enrich_venue_sync(blue_note)
    sandbox.reset_counters()
    assert orchestrator.enrich_venue_sync(blue_note).images_discovered == 0
    assert sandbox.calls == {}


def test_a_photo_that_has_to_be_reported_is_reported_once(blue_note: Venue, sandbox: Sandbox) -> None:
    for _ in range(2):
        orchestrator.enrich_venue_sync(blue_note, force=True)
    hotlinked = VenueImage.objects.filter(provider="unsplash")
    reported = [hit for hit in sandbox.hits("/unsplash/*") if hit.path.endswith("/download")]
    assert len(reported) == len({hit.path for hit in reported}) == hotlinked.count() > 0
    assert not hotlinked.filter(reported_at__isnull=True).exists()


@pytest.mark.usefixtures("blue_note")
@pytest.mark.parametrize("status", [503, 403])
def test_no_key_is_found_anywhere_after_a_run_in_which_everything_fails(
    sandbox: Sandbox, workers: Workers, tmp_path: Path, capfd: pytest.CaptureFixture[str], status: int
) -> None:
    canaries = keys(sandbox)
    assert len(canaries) == len(set(canaries)) >= 8
    orchestrator.enrich_venue_sync(Venue.objects.get(slug=SLUG))
    for name in PROVIDERS:
        if name != "catalog":
            sandbox.script(f"/{name}/*", Fault("status", status=status), times=1)
    for host in sandbox.hosts:
        sandbox.script(f"http://{host}/*", Fault("status", status=503), times=1)
    old = {"provider": "google_places", "provider_url": f"https://photos.example/1.jpg?key={canaries[0]}"}
    error = {
        "error_type": "rate_limited",
        "message": f"GET https://photos.example/1.jpg?key={canaries[0]} answered 429",
    }
    record = {**old, "upload_status": "failed", "error_details": error}
    import_lines(
        tmp_path,
        [{"slug": "old", "name": "Old", "venue_images": [record]}, known_everywhere(sandbox, "second", "Second Stage")],
    )

    enrichment_job.enqueue(force=True)
    workers.drain()
    cleanup_scheduler.enqueue(include_ambiguous=True)
    workers.drain()
    catalog.export_file(tmp_path / "all.jsonl")
    catalog.export_file(tmp_path / "all.csv")

    out, err = capfd.readouterr()
    places = {
        "database": database_text(),
        "logs": out + err,
        "pages": pages(),
        "exports": (tmp_path / "all.jsonl").read_text() + (tmp_path / "all.csv").read_text(),
        "monitor": json.dumps([monitor.get_all_stats(), monitor.check_alerts(), monitor.last_cleanup()], default=str),
    }
    assert "image.upload_failed" in places["logs"]
    found = [(place, key) for place, text in places.items() for key in canaries if key in text]
    assert found == []


@pytest.mark.parametrize(
    ("status", "is_retried"), [(429, True), (503, True), (500, True), (404, False), (403, False), (410, False)]
)
def test_a_recovery_asks_no_provider_whatever_has_failed(
    blue_note: Venue, sandbox: Sandbox, workers: Workers, status: int, is_retried: bool
) -> None:
    for host in sandbox.hosts:
        sandbox.script(f"http://{host}/*", Fault("status", status=status), times=1)
    for name in ("wikimedia_commons", "openverse"):
        sandbox.script(f"/{name}/*", Fault("status", status=503))
    orchestrator.enrich_venue_sync(blue_note)
    assert VenueImage.objects.failing().exists()
    sandbox.reset_counters()

    cleanup_scheduler.enqueue(include_ambiguous=True)
    workers.drain()
    cleanup_now.perform_now(include_ambiguous=True)
    failed_upload_retry_worker.perform_now(blue_note)
    failed_upload_retry_worker.enqueue_venue_images(blue_note.pk, VenueImage.objects.values_list("pk", flat=True))
    workers.drain()

    assert sandbox.calls == {}
    assert bool(sandbox.hits()) == is_retried

"""The whole way in one process: import, enrich, fail, clean up, recovered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import connection

from tests.catalogue import import_venue
from venue_images import cleanup_now, orchestrator, stats
from venue_images.models import CleanupRun, UploadStatus, Venue, VenueImage
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


def test_what_a_full_storage_blocked_comes_back_when_asked_for(
    sandbox: Sandbox, tmp_path: Path, set_environment: Callable[..., None]
) -> None:
    blocker = tmp_path / "venues"
    blocker.write_text("a file where the folder should be")
    set_environment(STORAGE_URL=tmp_path.as_uri())
    url = sandbox.photo_url("cabaret/1.jpg")
    orchestrator.enrich_venue_sync(import_venue(tmp_path, "cabaret", [url]))
    image = VenueImage.objects.get()
    assert (image.error_type, image.retry_count) == ("storage_config", 0)
    assert cleanup_now.perform_now()["images_retried"] == 0

    blocker.unlink()
    report = cleanup_now.perform_now(include_ambiguous=True)

    assert report["images_recovered"] == 1


def test_a_host_that_asks_for_a_long_wait_is_left_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    url = sandbox.photo_url("opera/1.jpg")
    sandbox.script(url, Fault("status", status=503, retry_after=3600), times=1)
    orchestrator.enrich_venue_sync(import_venue(tmp_path, "opera", [url]))

    report = cleanup_now.perform_now()

    assert (report["venues_queued"], report["images_retried"]) == (1, 0)
    assert len(sandbox.hits(url)) == 1


def test_one_pass_tries_each_image_once(sandbox: Sandbox, tmp_path: Path) -> None:
    url = sandbox.photo_url("arena/1.jpg")
    sandbox.script(url, Fault("status", status=502))
    orchestrator.enrich_venue_sync(import_venue(tmp_path, "arena", [url]))

    reports = [cleanup_now.perform_now() for _ in range(3)]

    assert [report["images_still_failed"] for report in reports] == [1, 0, 0]
    assert [report["images_permanently_failed"] for report in reports] == [0, 1, 0]
    assert len(sandbox.hits(url)) == 3


def test_the_preview_says_what_the_run_then_does(sandbox: Sandbox, tmp_path: Path) -> None:
    urls = [sandbox.photo_url(f"ballroom/{number}.jpg") for number in (1, 2, 3)]
    sandbox.script(urls[0], Fault("reset"), times=1)
    sandbox.script(urls[1], Fault("status", status=410))
    orchestrator.enrich_venue_sync(import_venue(tmp_path, "ballroom", urls))

    preview = cleanup_now.preview()
    report = cleanup_now.perform_now()

    assert (preview["venues"], preview["images"]) == (report["venues_queued"], report["images_retried"]) == (1, 1)
    assert preview["by_class"] == {"transient": 1}
    assert preview["by_provider"] == {"catalog": 1}
    assert preview["metered_calls"] == 0


@pytest.fixture
def refused_venue() -> Iterator[Callable[[Venue], None]]:
    """A database that takes no operation of one venue."""

    def refuse(venue: Venue) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$"
            )
            cursor.execute(
                "CREATE TRIGGER refuse BEFORE INSERT ON venue_images_operation FOR EACH ROW "
                f"WHEN (NEW.venue_id = {venue.pk}) EXECUTE FUNCTION refuse()"
            )

    yield refuse
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION IF EXISTS refuse CASCADE")


def test_a_venue_that_the_database_refuses_stops_no_other_and_is_told(
    sandbox: Sandbox, tmp_path: Path, refused_venue: Callable[[Venue], None]
) -> None:
    for slug in ("refused", "welcome"):
        url = sandbox.photo_url(f"{slug}/1.jpg")
        sandbox.script(url, Fault("status", status=503), times=1)
        orchestrator.enrich_venue_sync(import_venue(tmp_path, slug, [url]))
    refused_venue(Venue.objects.get(slug="refused"))

    report = cleanup_now.perform_now()

    assert (report["venues_queued"], report["images_recovered"]) == (2, 1)
    assert CleanupRun.objects.get().message.startswith("1 venues were skipped")
    assert VenueImage.objects.get(venue__slug="refused").upload_status == UploadStatus.FAILED

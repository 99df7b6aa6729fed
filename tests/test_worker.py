"""Jobs through real worker processes: the click, the double click, many workers, killed workers."""

from __future__ import annotations

import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from django.db import connection, connections, transaction
from django.utils import timezone

from tests.catalogue import import_lines, import_venue
from tests.conftest import Workers
from tests.factories import make_image, make_venue
from venue_images import cleanup_scheduler, enrichment_job, failed_upload_retry_worker, job_queue, stats
from venue_images.models import CleanupRun, Operation, UploadAttempt, UploadStatus, Venue, VenueImage, Worker
from venue_images.sandbox import Fault, Sandbox

UPLOADED = UploadStatus.UPLOADED


def wait_until(condition: object, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def assert_storage_is_truth(sandbox: Sandbox, folder: Path) -> None:
    """Every uploaded row has its object with the photo's bytes, and every object has its row."""
    rows = VenueImage.objects.filter(upload_status=UPLOADED)
    for image in rows:
        assert (folder / image.storage_key).read_bytes() == sandbox.photo_bytes(image.provider_url)
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name[0] != "~"}
    assert files == {image.storage_key for image in rows}


def test_one_click_recovers_the_venue(sandbox: Sandbox, workers: Workers, images_folder: Path, tmp_path: Path) -> None:
    urls = [sandbox.photo_url(f"fabric/{number}.jpg") for number in range(1, 11)]
    for url in urls[:3]:
        sandbox.script(url, Fault("status", status=503), times=1)
    import_venue(tmp_path, "fabric", urls)
    enrichment_job.enqueue()
    workers.drain()
    assert stats.summary_stats()["total_failed_images"] == 3

    run = cleanup_scheduler.enqueue()
    workers.drain()

    assert stats.summary_stats()["total_failed_images"] == 0
    assert [len(sandbox.hits(url)) for url in urls] == [2, 2, 2] + [1] * 7
    finished = CleanupRun.objects.get(pk=run.run_id)
    assert (finished.state, finished.venues_queued) == (CleanupRun.State.FINISHED, 1)
    retry = Operation.objects.get(run=finished)
    assert (retry.images_uploaded, retry.metered_calls) == (3, 0)
    assert_storage_is_truth(sandbox, images_folder)


def test_a_hundred_clicks_at_once_make_one_run(jobs: None) -> None:
    def click(_number: int) -> bool:
        try:
            return cleanup_scheduler.enqueue().already_queued
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as pool:
        already_queued = list(pool.map(click, range(100)))

    assert already_queued.count(False) == 1
    assert CleanupRun.objects.count() == 1
    assert job_queue.due_jobs() == 1


def test_a_job_is_queued_only_when_the_transaction_commits(jobs: None) -> None:
    venue = make_venue()
    with transaction.atomic():
        failed_upload_retry_worker.enqueue_venue(venue.pk)
        transaction.set_rollback(True)
    assert job_queue.due_jobs() == 0
    assert failed_upload_retry_worker.enqueue_venue(venue.pk)
    assert not failed_upload_retry_worker.enqueue_venue(venue.pk)
    assert job_queue.due_jobs() == 1


def test_the_number_on_the_page_is_the_number_of_venues_that_the_click_queues(workers: Workers) -> None:
    for error_type, retry_count in [("rate_limited", 1), ("rate_limited", 3), ("not_found", 1), ("server_error", 1)]:
        make_image(make_venue(), UploadStatus.FAILED, error_type, retry_count=retry_count)
    promised = stats.summary_stats()["venues_with_transient"]

    run = cleanup_scheduler.enqueue()
    cleanup_scheduler.perform(run.run_id)

    assert promised == CleanupRun.objects.get(pk=run.run_id).venues_queued == 1
    assert stats.summary_stats()["total_failed_images"] == 4


def test_two_workers_never_upload_the_same_image(
    sandbox: Sandbox, workers: Workers, images_folder: Path, tmp_path: Path
) -> None:
    lines = [
        {
            "slug": f"venue-{n}",
            "name": f"Venue {n}",
            "photos": [{"url": sandbox.photo_url(f"venue-{n}/{p}.jpg")} for p in (1, 2)],
        }
        for n in range(20)
    ]
    import_lines(tmp_path, lines)
    for venue in Venue.objects.all():
        # Two jobs for each venue: the engine's own de-duplication must not be what the claim relies on.
        job_queue.enqueue(
            job_queue.ENRICH,
            [job_queue.NewJob({"venue": venue.pk, "queued_at": "2020-01-01"}, f"{venue.pk}{x}") for x in "ab"],
        )
    first, second = workers.start(drain=True), workers.start(drain=True)
    assert (first.wait(60), second.wait(60)) == (0, 0)
    workers.drain()

    assert VenueImage.objects.filter(upload_status=UPLOADED).count() == 40
    assert all(len(sandbox.hits(image.provider_url)) == 1 for image in VenueImage.objects.all())
    assert_storage_is_truth(sandbox, images_folder)


def test_a_retry_waits_for_the_time_that_the_host_asked_for(sandbox: Sandbox, workers: Workers, tmp_path: Path) -> None:
    url = sandbox.photo_url("tresor/1.jpg")
    sandbox.script(url, Fault("status", status=429, retry_after=3), times=1)
    import_venue(tmp_path, "tresor", [url])
    enrichment_job.enqueue()
    workers.drain()
    cleanup_scheduler.enqueue()

    workers.start()
    wait_until(lambda: VenueImage.objects.filter(upload_status=UPLOADED).exists())

    first, second = sandbox.hits(url)
    assert second.monotonic - first.monotonic >= 3


def test_permanent_failures_are_never_requested_again(sandbox: Sandbox, workers: Workers, tmp_path: Path) -> None:
    statuses = (401, 403, 404, 410, 451)
    urls = [sandbox.photo_url(f"berghain/{status}.jpg") for status in statuses]
    for url, status in zip(urls, statuses, strict=True):
        sandbox.script(url, Fault("status", status=status))
    import_venue(tmp_path, "berghain", urls)
    enrichment_job.enqueue()
    workers.drain()
    for _ in range(2):
        cleanup_scheduler.enqueue()
        workers.drain()

    assert [len(sandbox.hits(url)) for url in urls] == [1] * 5
    assert VenueImage.objects.filter(upload_status=UploadStatus.PERMANENTLY_FAILED).count() == 5


def test_an_image_gets_three_attempts_and_is_then_given_up(sandbox: Sandbox, workers: Workers, tmp_path: Path) -> None:
    url = sandbox.photo_url("paradiso/1.jpg")
    sandbox.script(url, Fault("status", status=503))
    import_venue(tmp_path, "paradiso", [url])
    enrichment_job.enqueue()
    for _ in range(4):
        workers.drain()
        cleanup_scheduler.enqueue()
    workers.drain()

    image = VenueImage.objects.get()
    assert (image.upload_status, image.error_type) == (UploadStatus.PERMANENTLY_FAILED, "service_unavailable")
    assert image.retry_count == len(sandbox.hits(url)) == UploadAttempt.objects.count() == 3


def test_a_slow_worker_that_lives_keeps_its_images(jobs: None) -> None:
    worker = Worker.objects.create(kind="worker", hostname="h", pid=1)
    image = make_image(make_venue(), UploadStatus.UPLOADING, worker_id=worker.pk, claimed_at=timezone.now())
    with connection.cursor() as cursor:
        cursor.execute("UPDATE venue_images_venueimage SET claimed_at = now() - interval '1 hour'")
    cleanup_scheduler.perform(cleanup_scheduler.enqueue().run_id)
    image.refresh_from_db()
    assert image.upload_status == UploadStatus.UPLOADING

    Worker.objects.update(heartbeat_at=timezone.now() - timedelta(seconds=31))
    run = CleanupRun.objects.create()
    cleanup_scheduler.perform(run.pk)
    image.refresh_from_db()
    assert (image.upload_status, image.error_type, image.retry_count) == (UploadStatus.FAILED, "worker_lost", 0)
    run.refresh_from_db()
    assert run.venues_queued == 1


def test_killed_workers_lose_nothing(sandbox: Sandbox, workers: Workers, images_folder: Path, tmp_path: Path) -> None:
    venues, photos, kills = 30, 5, 10
    lines = [
        {
            "slug": f"v-{n}",
            "name": f"V {n}",
            "photos": [{"url": sandbox.photo_url(f"v-{n}/{p}.jpg")} for p in range(1, photos + 1)],
        }
        for n in range(venues)
    ]
    import_lines(tmp_path, lines)
    sandbox.script("/*", Fault("delay", delay=0.4), times=3)
    enrichment_job.enqueue()
    dice = random.Random(1)
    for _ in range(kills):
        worker = workers.start(concurrency=10)
        wait_until(
            lambda: VenueImage.objects.filter(upload_status=UploadStatus.UPLOADING).exists() or _done(venues * photos)
        )
        time.sleep(dice.uniform(0, 0.5))
        worker.kill()
        worker.wait()
        _let_time_pass()
    workers.start()
    wait_until(lambda: _done(venues * photos), seconds=90)

    assert not VenueImage.objects.exclude(upload_status=UPLOADED).exists()
    assert not Operation.objects.filter(state=Operation.State.RUNNING, worker_id=None).exists()
    assert_storage_is_truth(sandbox, images_folder)


def _done(images: int) -> bool:
    return VenueImage.objects.filter(upload_status=UPLOADED).count() == images


def _let_time_pass() -> None:
    """A dead worker is known by half a minute of silence; here it is made to have been silent for longer."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE venue_images_worker SET heartbeat_at = heartbeat_at - interval '1 minute'")
        cursor.execute("UPDATE pgqueuer SET heartbeat = heartbeat - interval '1 minute' WHERE status = 'picked'")


def queued_payloads() -> list[dict[str, object]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT payload FROM pgqueuer ORDER BY id")
        return [job_queue.payload_of(bytes(row[0])) for row in cursor.fetchall()]


def test_a_wish_for_ambiguous_failures_survives_a_plain_click(jobs: None) -> None:
    venue = make_venue()
    make_image(venue, UploadStatus.FAILED, "server_error")
    make_image(venue, UploadStatus.FAILED, "rate_limited")
    make_image(venue, UploadStatus.PENDING)
    asked = CleanupRun.objects.create(include_ambiguous=True)
    cleanup_scheduler.perform(asked.pk)
    cleanup_scheduler.perform(CleanupRun.objects.create().pk)

    assert sorted(bool(payload["ambiguous"]) for payload in queued_payloads()) == [False, True]


def test_a_second_request_hands_its_wish_to_the_run_that_waits(jobs: None) -> None:
    waiting = cleanup_scheduler.enqueue()
    again = cleanup_scheduler.enqueue(include_ambiguous=True)

    assert (again.run_id, again.already_queued) == (waiting.run_id, True)
    assert CleanupRun.objects.get().include_ambiguous


def test_a_click_while_the_retry_runs_is_not_dropped(jobs: None) -> None:
    venue = make_venue()
    failed_upload_retry_worker.enqueue_venue(venue.pk)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE pgqueuer SET status = 'picked'")
    (before,) = queued_payloads()

    assert not failed_upload_retry_worker.enqueue_venue(venue.pk)

    (after,) = queued_payloads()
    assert str(after["asked_at"]) > str(before["asked_at"])


def test_draining_takes_up_what_a_killed_worker_left(
    sandbox: Sandbox, workers: Workers, images_folder: Path, tmp_path: Path
) -> None:
    urls = [sandbox.photo_url(f"cavern/{number}.jpg") for number in range(1, 5)]
    sandbox.script("/cavern/*", Fault("delay", delay=2), times=1)
    import_venue(tmp_path, "cavern", urls)
    enrichment_job.enqueue()
    worker = workers.start()
    wait_until(lambda: VenueImage.objects.filter(upload_status=UploadStatus.UPLOADING).count() == 4)
    worker.kill()
    worker.wait()
    _let_time_pass()

    workers.drain()

    assert _done(4)
    assert_storage_is_truth(sandbox, images_folder)


def test_a_worker_that_is_told_to_stop_finishes_what_it_began_and_leaves_the_rest(
    sandbox: Sandbox, workers: Workers, images_folder: Path, tmp_path: Path
) -> None:
    urls = [sandbox.photo_url(f"roxy/{number}.jpg") for number in range(1, 9)]
    sandbox.script("/roxy/*", Fault("delay", delay=1.5), times=1)
    import_venue(tmp_path, "roxy", urls)
    enrichment_job.enqueue()
    worker = workers.start(concurrency=2)
    wait_until(lambda: sum(len(sandbox.hits(url)) for url in urls) >= 2)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=20) == 0

    states = list(VenueImage.objects.order_by().values_list("upload_status", flat=True))
    assert (states.count(UPLOADED), states.count(UploadStatus.PENDING)) == (2, 6)
    workers.drain()

    assert [len(sandbox.hits(url)) for url in urls] == [1] * 8
    assert _done(8)

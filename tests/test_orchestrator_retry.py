"""What one retry does to a venue, what it never does, and what it costs the database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.catalogue import import_venue
from tests.conftest import Workers
from tests.factories import make_image, make_venue
from tests.runtimes import in_runtime
from venue_images import cleanup_now, cleanup_scheduler, failed_upload_retry_worker, gates, orchestrator
from venue_images.image_ledger import Scope
from venue_images.models import Operation, Provider, UploadStatus, Venue, VenueImage
from venue_images.operation_log import OperationResult
from venue_images.runtime import Runtime
from venue_images.sandbox import Fault, Sandbox

pytestmark = pytest.mark.usefixtures("jobs", "images_folder")

UPLOADED = UploadStatus.UPLOADED
PLACES = "/google_places/v1/places/*"


def enrich(venue: Venue | int, **options: Any) -> OperationResult:
    return orchestrator.enrich_venue_sync(venue, **options)


def opera(sandbox: Sandbox, folder: Path, *, own: int = 0, google: int = 0) -> Venue:
    """A venue with so many photos of its own and so many at Google Places."""
    sandbox.place("sandbox-opera", photos=google)
    urls = [sandbox.photo_url(f"opera/{number}.jpg") for number in range(1, own + 1)]
    ids = {"google_places": "sandbox-opera"} if google else {}
    return import_venue(folder, "opera", urls, provider_ids=ids)


def rows(**conditions: Any) -> list[Any]:
    return list(VenueImage.objects.filter(**conditions).order_by("pk").values())


def checked_at(venue: Venue, when: datetime | None) -> None:
    Venue.objects.filter(pk=venue.pk).update(images_checked_at=when)


def test_a_retry_makes_no_provider_call_even_when_everything_has_failed(
    sandbox: Sandbox, tmp_path: Path, images_folder: Path
) -> None:
    sandbox.script("/opera/*", Fault("status", status=503), times=1)
    venue = opera(sandbox, tmp_path, own=5, google=5)
    assert enrich(venue).images_failed == 10
    calls = sandbox.metered_calls
    checked_at(venue, None)

    result = enrich(venue, retry_failed_only=True, scope=Scope(asked_at=datetime.now(UTC)), force=True)

    assert (result.images_tried, result.images_uploaded) == (10, 10)
    assert (result.metered_calls, result.cost_usd, result.saved_usd) == (0, Decimal(0), Decimal("0.035"))
    assert not result.provider_results
    assert sandbox.metered_calls == calls == {"google_places": 6}
    assert len(sandbox.hits(PLACES)) == 6
    retry = Operation.objects.get(kind=Operation.Kind.RETRY)
    assert (retry.images_uploaded, retry.metered_calls, retry.state) == (10, 0, Operation.State.SUCCEEDED)
    assert retry.saved_usd == Decimal("0.035")


def test_a_retry_without_anything_to_do_leaves_no_trace(sandbox: Sandbox, tmp_path: Path) -> None:
    venue = opera(sandbox, tmp_path, own=2)
    make_image(venue, UploadStatus.PERMANENTLY_FAILED, "gone")
    assert enrich(venue, retry_failed_only=True).venues == 0
    assert not Operation.objects.exists()
    assert sandbox.hits("*") == []


def test_a_retry_tries_only_what_has_failed(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script("/opera/2.jpg", Fault("status", status=502), times=1)
    sandbox.script("/opera/3.jpg", Fault("status", status=410))
    venue = opera(sandbox, tmp_path, own=4)
    enrich(venue)
    before = rows(upload_status__in=[UPLOADED, UploadStatus.PERMANENTLY_FAILED])
    result = failed_upload_retry_worker.perform_now(venue)
    assert (result.images_tried, result.images_uploaded) == (1, 1)
    assert [len(sandbox.hits(f"/opera/{number}.jpg")) for number in (1, 2, 3, 4)] == [1, 2, 1, 1]
    assert [row for row in rows() if row["id"] in {each["id"] for each in before}] == before


@pytest.mark.parametrize("as_date", [False, True])
def test_the_hosts_retry_after_is_never_undercut_by_a_retry_now(
    sandbox: Sandbox, tmp_path: Path, as_date: bool
) -> None:
    url = sandbox.photo_url("opera/1.jpg")
    sandbox.script(url, Fault("status", status=503, retry_after=2, retry_after_date=as_date), times=1)
    venue = opera(sandbox, tmp_path, own=1)
    enrich(venue)
    first = sandbox.hits(url)[0].wall
    while len(sandbox.hits(url)) == 1:
        assert time.time() < first + 10
        failed_upload_retry_worker.perform_now(venue)
        enrich(venue, force=True)
        enrich(venue, retry_failed_only=True, scope=Scope(asked_at=datetime.now(UTC)))
    assert sandbox.hits(url)[1].wall - first >= 2
    assert VenueImage.objects.get().upload_status == UPLOADED


def test_the_hosts_retry_after_is_never_undercut_by_a_cleanup_now(sandbox: Sandbox, tmp_path: Path) -> None:
    soon, late = sandbox.photo_url("opera/1.jpg"), sandbox.photo_url("opera/2.jpg")
    sandbox.script(soon, Fault("status", status=503, retry_after=2), times=1)
    sandbox.script(late, Fault("status", status=503, retry_after=600), times=1)
    enrich(opera(sandbox, tmp_path, own=2))
    report = cleanup_now.perform_now()
    assert report["images_recovered"] == 1
    first, second = sandbox.hits(soon)
    assert second.monotonic - first.monotonic >= 2
    assert len(sandbox.hits(late)) == 1


def test_the_hosts_retry_after_is_never_undercut_by_jobs(sandbox: Sandbox, tmp_path: Path, workers: Workers) -> None:
    """A host that asks for time again and again gets it each time, however often somebody clicks."""
    url = sandbox.photo_url("opera/1.jpg")
    sandbox.script(url, Fault("status", status=503, retry_after=1.5), times=2)
    enrich(opera(sandbox, tmp_path, own=1))
    workers.start()
    deadline = time.monotonic() + 30
    while not VenueImage.objects.filter(upload_status=UPLOADED).exists():
        assert time.monotonic() < deadline
        cleanup_scheduler.enqueue()
        time.sleep(0.1)
    times = [hit.monotonic for hit in sandbox.hits(url)]
    assert len(times) == 3
    assert min(times[1] - times[0], times[2] - times[1]) >= 1.5


# The number of statements


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the database is asked from here on; a look at a circuit holds for the whole test."""
    asked: list[str] = []
    execute = psycopg.AsyncCursor.execute

    async def noted(cursor: psycopg.AsyncCursor[Any], query: Any, *args: Any, **options: Any) -> Any:
        asked.extend(filter(None, [str(query).strip()]))  # the pool checks a connection with an empty one
        return await execute(cursor, query, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(psycopg.AsyncCursor, "execute", noted)
        patch.setattr(gates, "LOOK_EVERY", 600.0)
        yield asked


SIZES = {"warm": 20, "few": 1, "many": 20}


def asked_for_each(statements: list[str], venues: Sequence[Venue], **options: Any) -> list[list[str]]:
    """The statements for one venue after the other, in one process."""

    async def work(runtime: Runtime) -> list[list[str]]:
        parts = []
        for venue in venues:
            statements.clear()
            await orchestrator.enrich_venue(venue, runtime=runtime, **options)
            parts.append(statements.copy())
        return parts

    return in_runtime(work)


@pytest.fixture
def one_host(sandbox: Sandbox, set_environment: Callable[..., None]) -> Callable[[str], list[str]]:
    """The addresses of a venue's photos, on a host that takes them all at once; no provider is asked."""
    set_environment(VENUE_IMAGES_HOST_CONCURRENCY="20")
    Provider.objects.exclude(name="catalog").update(active=False)
    return lambda slug: [sandbox.photo_url(f"{slug}/{number}.jpg") for number in range(1, SIZES[slug] + 1)]


def test_an_enrichment_takes_as_many_statements_for_one_photo_as_for_many(
    one_host: Callable[[str], list[str]], statements: list[str], tmp_path: Path
) -> None:
    """Once the process knows its services: the first venue pays for that."""
    venues = [import_venue(tmp_path, slug, one_host(slug)) for slug in SIZES]
    _, few, many = asked_for_each(statements, venues)
    assert VenueImage.objects.filter(upload_status=UPLOADED).count() == sum(SIZES.values())
    assert many == few
    assert len(few) == 12, "\n".join(few)


def test_a_retry_takes_as_many_statements_for_one_photo_as_for_many(
    one_host: Callable[[str], list[str]], statements: list[str]
) -> None:
    venues = [make_venue(slug=slug) for slug in SIZES]
    for venue in venues:
        for url in one_host(venue.slug):
            make_image(venue, UploadStatus.FAILED, "rate_limited", provider_url=url)
    _, few, many = asked_for_each(statements, venues, retry_failed_only=True)
    assert VenueImage.objects.filter(upload_status=UPLOADED).count() == sum(SIZES.values())
    assert many == few
    assert len(few) == 6, "\n".join(few)

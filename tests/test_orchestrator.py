"""What one enrichment does to a venue, and what it never does."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from tests.catalogue import import_venue
from tests.factories import make_image, make_venue
from tests.runtimes import in_runtime
from venue_images import cleanup_now, discovery, enrichment_job, failed_upload_retry_worker, orchestrator
from venue_images.errors import UsageError, UserError
from venue_images.models import Operation, ProviderCheck, UploadAttempt, UploadStatus, Venue, VenueImage
from venue_images.operation_log import OperationResult
from venue_images.runtime import Runtime
from venue_images.sandbox import Fault, Sandbox

pytestmark = pytest.mark.usefixtures("jobs", "images_folder")

UPLOADED = UploadStatus.UPLOADED
DETAILS = "/google_places/v1/places/sandbox-opera"
MEDIA = "/google_places/v1/places/sandbox-opera/photos/*"


def enrich(venue: Venue | int, **options: Any) -> OperationResult:
    return orchestrator.enrich_venue_sync(venue, **options)


def opera(sandbox: Sandbox, folder: Path, *, own: int = 0, google: int = 0) -> Venue:
    """A venue with so many photos of its own and so many at Google Places."""
    sandbox.place("sandbox-opera", photos=google)
    urls = [sandbox.photo_url(f"opera/{number}.jpg") for number in range(1, own + 1)]
    ids = {"google_places": "sandbox-opera"} if google else {}
    return import_venue(folder, "opera", urls, provider_ids=ids)


async def usable_names(runtime: Runtime) -> list[str]:
    return [usable.name for usable in await discovery.usable_providers(runtime)]


def rows(**conditions: Any) -> list[Any]:
    return list(VenueImage.objects.filter(**conditions).order_by("pk").values())


def checked_at(venue: Venue, when: datetime | None) -> None:
    Venue.objects.filter(pk=venue.pk).update(images_checked_at=when)


# Enrichment


def test_a_venue_gets_the_photos_of_all_providers(sandbox: Sandbox, images_folder: Path, tmp_path: Path) -> None:
    venue = opera(sandbox, tmp_path, own=3, google=4)
    result = enrich(venue)

    assert (result.venues, result.images_discovered, result.images_tried, result.images_uploaded) == (1, 7, 7, 7)
    assert (result.images_failed, result.metered_calls, result.cost_usd) == (0, 5, Decimal("0.028"))
    images = VenueImage.objects.all()
    assert sorted(image.provider for image in images) == ["catalog"] * 3 + ["google_places"] * 4
    for image in images:
        assert (images_folder / image.storage_key).read_bytes() == sandbox.photo_bytes(image.provider_url)
        assert image.provider == "catalog" or image.attribution
    operation = Operation.objects.get()
    assert (operation.kind, operation.state) == (Operation.Kind.ENRICHMENT, Operation.State.SUCCEEDED)
    assert (operation.images_discovered, operation.images_uploaded) == (7, 7)
    answers = operation.provider_results
    assert {name: answer["photos"] for name, answer in answers.items() if answer["photos"]} == {
        "catalog": 3,
        "google_places": 4,
    }
    assert set(answers) == set(in_runtime(usable_names))
    assert operation.finished_at
    assert UploadAttempt.objects.filter(operation=operation).count() == 7
    venue.refresh_from_db()
    assert venue.images_checked_at


def test_a_venue_gets_at_most_25_images(sandbox: Sandbox, tmp_path: Path) -> None:
    result = enrich(opera(sandbox, tmp_path, own=20, google=10))
    assert VenueImage.objects.count() == result.images_discovered == 25
    # Google tells the sizes of its photos, so they rank first.
    assert VenueImage.objects.filter(provider="google_places").count() == 10


def test_the_owner_may_want_fewer_images(
    sandbox: Sandbox, tmp_path: Path, set_environment: Callable[..., None]
) -> None:
    set_environment(VENUE_IMAGES_MAX_IMAGES_PER_VENUE="4")
    enrich(opera(sandbox, tmp_path, own=3, google=6))
    assert VenueImage.objects.count() == 4
    assert len(sandbox.hits(MEDIA)) == 4


def test_one_photo_spelled_in_several_ways_is_one_image(sandbox: Sandbox, tmp_path: Path) -> None:
    url = sandbox.photo_url("opera/1.jpg")
    enrich(import_venue(tmp_path, "opera", [url, f"{url}?utm_source=x", f"{url}#top", f" {url} ", url]))
    assert VenueImage.objects.count() == len(sandbox.hits(url)) == 1


@pytest.mark.parametrize(
    ("checked_days_ago", "images", "stale"),
    [
        (None, [], True),
        (None, [UPLOADED], True),
        (6.9, [], False),
        (7.1, [], True),
        (6.9, [UploadStatus.PERMANENTLY_FAILED], False),
        (7.1, [UploadStatus.PERMANENTLY_FAILED, UploadStatus.FAILED], True),
        (7.1, [UPLOADED], False),
        (7.1, [UploadStatus.HOTLINKED], False),
        (89.9, [UPLOADED, UploadStatus.FAILED], False),
        (90.1, [UPLOADED], True),
    ],
)
def test_a_venue_is_asked_for_only_when_it_is_stale(
    sandbox: Sandbox, tmp_path: Path, checked_days_ago: float | None, images: Sequence[UploadStatus], stale: bool
) -> None:
    venue = opera(sandbox, tmp_path, google=1)
    for status in images:
        make_image(venue, status)
    checked_at(venue, timezone.now() - timedelta(days=checked_days_ago) if checked_days_ago else None)
    assert enrichment_job.stale_venues() == ([venue.pk] if stale else [])
    enrich(venue)
    assert sandbox.metered_calls == ({"google_places": 2} if stale else {})
    assert enrichment_job.stale_venues() == []


def test_force_asks_for_a_fresh_venue_too(sandbox: Sandbox, tmp_path: Path) -> None:
    venue = opera(sandbox, tmp_path, google=1)
    checked_at(venue, timezone.now())
    assert enrich(venue).metered_calls == 0
    assert enrich(venue, force=True).metered_calls == 2


def test_a_fresh_venue_still_gets_the_images_that_were_not_tried_yet(sandbox: Sandbox, tmp_path: Path) -> None:
    venue = opera(sandbox, tmp_path, own=1)
    make_image(venue, provider_url=sandbox.photo_url("opera/9.jpg"))
    checked_at(venue, timezone.now())
    result = enrich(venue)
    assert (result.images_discovered, result.images_uploaded, sandbox.metered_calls) == (0, 1, {})


def test_failed_images_wait_for_a_retry(sandbox: Sandbox, tmp_path: Path) -> None:
    venue = opera(sandbox, tmp_path, own=1)
    failed = make_image(venue, UploadStatus.FAILED, "rate_limited", provider_url=sandbox.photo_url("opera/9.jpg"))
    enrich(venue, force=True)
    assert sandbox.hits(failed.provider_url) == []


def test_only_the_named_providers_are_asked(sandbox: Sandbox, tmp_path: Path) -> None:
    venue = opera(sandbox, tmp_path, own=2, google=2)
    assert set(enrich(venue, providers=["catalog"]).provider_results) == {"catalog"}
    assert sandbox.metered_calls == {}
    result = enrich(venue, providers=["google_places"], force=True)
    assert (set(result.provider_results), result.images_discovered) == ({"google_places"}, 2)


@pytest.mark.parametrize(
    ("names", "settings", "error", "message"),
    [
        (["gogle"], {}, UsageError, "no provider 'gogle'"),
        (["google_places"], {"GOOGLE_PLACES_API_KEY": ""}, UserError, "set GOOGLE_PLACES_API_KEY"),
        (["google_places"], {"GOOGLE_PLACES_STORAGE_POLICY": "none"}, UserError, "may not be kept"),
        (["google_places"], {"GOOGLE_PLACES_STORAGE_POLICY": ""}, UserError, "because of its terms"),
        (["google_places"], {"GOOGLE_PLACES_STORAGE_POLICY": "maybe"}, UserError, "must be store, hotlink or none"),
    ],
)
def test_a_provider_that_can_not_be_used_is_a_mistake_before_anything_is_done(  # noqa: PLR0917 - pytest names them all
    sandbox: Sandbox,
    tmp_path: Path,
    set_environment: Callable[..., None],
    names: list[str] | None,
    settings: dict[str, str],
    error: type[UserError],
    message: str,
) -> None:
    venue = opera(sandbox, tmp_path, own=1, google=1)
    set_environment(**settings)
    with pytest.raises(error, match=message):
        enrich(venue, providers=names)
    venue.refresh_from_db()
    assert venue.images_checked_at is None
    assert not Operation.objects.exists()
    assert not VenueImage.objects.exists()


def test_a_venue_that_is_gone_is_nothing_to_do(sandbox: Sandbox) -> None:
    assert enrich(4711).venues == 0
    assert enrich(4711, retry_failed_only=True).venues == 0
    assert not Operation.objects.exists()


def test_a_venue_without_any_photo_is_checked(sandbox: Sandbox, tmp_path: Path) -> None:
    venue = opera(sandbox, tmp_path)
    result = enrich(venue)
    assert (result.venues, result.images_discovered, result.images_failed) == (1, 0, 0)
    assert Operation.objects.get().state == Operation.State.SUCCEEDED
    venue.refresh_from_db()
    assert venue.images_checked_at


def test_a_venue_is_not_checked_when_a_provider_did_not_answer(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script(DETAILS, Fault("status", status=503), times=1)
    venue = opera(sandbox, tmp_path, google=2)
    first = enrich(venue)
    assert (first.images_discovered, first.metered_calls) == (0, 1)
    assert first.due_in
    venue.refresh_from_db()
    assert venue.images_checked_at is None
    assert Operation.objects.get().state == Operation.State.FAILED

    too_early = enrich(venue, providers=["google_places"])
    assert (too_early.metered_calls, too_early.provider_results) == (0, {})
    assert too_early.due_in
    assert 0 < too_early.due_in <= first.due_in

    again = enrich(venue, force=True)
    assert (again.images_uploaded, again.due_in) == (2, None)
    venue.refresh_from_db()
    assert venue.images_checked_at


def test_a_provider_that_failed_is_left_alone_after_three_times_until_somebody_asks(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.script(DETAILS, Fault("status", status=503), times=3)
    venue = opera(sandbox, tmp_path, google=2)
    waits = []
    for _ in range(3):
        waits.append(enrich(venue).due_in)
        ProviderCheck.objects.filter(due_at__isnull=False).update(due_at=timezone.now())
    assert [wait is None for wait in waits] == [False, False, True]
    assert ProviderCheck.objects.get(provider="google_places").failures == 3
    assert enrich(venue).images_uploaded == 2
    assert ProviderCheck.objects.get(provider="google_places").failures == 0


# Terms


def test_what_may_only_be_hotlinked_is_never_downloaded(
    sandbox: Sandbox, tmp_path: Path, set_environment: Callable[..., None], images_folder: Path
) -> None:
    set_environment(GOOGLE_PLACES_STORAGE_POLICY="hotlink")
    venue = opera(sandbox, tmp_path, own=1, google=3)
    result = enrich(venue)
    enrich(venue, force=True)
    cleanup_now.perform_now(include_ambiguous=True)
    failed_upload_retry_worker.perform_now(venue)

    assert (result.images_hotlinked, result.images_uploaded) == (3, 1)
    hotlinked = VenueImage.objects.filter(upload_status=UploadStatus.HOTLINKED)
    assert hotlinked.count() == 3
    for image in hotlinked:
        assert image.url == image.provider_url
        assert sandbox.hits(image.provider_url) == []
    assert Operation.objects.order_by("id")[0].images_hotlinked == 3
    assert len(list(images_folder.rglob("*.jpg"))) == 1


def test_a_provider_whose_photos_may_not_be_kept_is_not_even_asked(
    sandbox: Sandbox, tmp_path: Path, set_environment: Callable[..., None]
) -> None:
    set_environment(GOOGLE_PLACES_STORAGE_POLICY="none")
    enrich(opera(sandbox, tmp_path, own=1, google=3))
    assert sandbox.metered_calls == {}
    assert VenueImage.objects.count() == 1


# Bad photos


def test_a_photo_whose_address_is_none_becomes_a_row_that_says_so(sandbox: Sandbox, tmp_path: Path) -> None:
    venue = opera(sandbox, tmp_path, own=1)
    Venue.objects.update(photos=[*venue.photos, {"url": "ftp://x/1.jpg"}, {"url": "nonsense"}])
    result = enrich(venue)
    assert (result.images_discovered, result.images_uploaded, result.images_failed) == (3, 1, 2)
    assert result.images_permanently_failed == 2
    assert result.failure_breakdown == {"invalid_provider_url": 2}
    bad = VenueImage.objects.filter(error_type="invalid_provider_url", upload_status=UploadStatus.PERMANENTLY_FAILED)
    assert bad.count() == 2
    assert Operation.objects.get().state == Operation.State.PARTIAL
    assert enrich(venue, force=True).images_discovered == 0


@pytest.mark.parametrize("photos", [[{}], ["https://x/1.jpg"], [{"url": None}], [{"url": 7, "width": "x"}]])
def test_photos_that_somebody_wrote_into_the_database_wrongly_spoil_no_job(
    sandbox: Sandbox, tmp_path: Path, photos: list[Any]
) -> None:
    venue = opera(sandbox, tmp_path, google=1)
    Venue.objects.update(photos=photos)
    assert enrich(venue).images_uploaded == 1


# Again


def test_a_second_enrichment_never_touches_what_is_stored(sandbox: Sandbox, tmp_path: Path) -> None:
    venue = opera(sandbox, tmp_path, own=3, google=3)
    enrich(venue)
    before, requests = rows(), len(sandbox.hits("/opera/*"))
    result = enrich(venue, force=True)
    assert (result.images_discovered, result.images_tried) == (0, 0)
    assert rows() == before
    assert len(sandbox.hits("/opera/*")) == requests


def test_a_second_enrichment_pays_for_no_more_than_there_is_room_for(
    sandbox: Sandbox, tmp_path: Path, set_environment: Callable[..., None]
) -> None:
    set_environment(VENUE_IMAGES_MAX_IMAGES_PER_VENUE="6")
    venue = opera(sandbox, tmp_path, google=10)
    for number in range(4):
        make_image(venue, UPLOADED if number else UploadStatus.FAILED)
    assert enrich(venue).metered_calls == 3
    assert len(sandbox.hits(MEDIA)) == 2


def test_a_full_venue_costs_no_call_at_all(
    sandbox: Sandbox, tmp_path: Path, set_environment: Callable[..., None]
) -> None:
    set_environment(VENUE_IMAGES_MAX_IMAGES_PER_VENUE="2")
    venue = opera(sandbox, tmp_path, google=10)
    for _ in range(3):
        make_image(venue, UPLOADED)
    assert enrich(venue, force=True).metered_calls == 0
    assert sandbox.metered_calls == {}
    venue.refresh_from_db()
    assert venue.images_checked_at


def test_a_photo_that_is_given_up_makes_room_for_another(
    sandbox: Sandbox, tmp_path: Path, set_environment: Callable[..., None]
) -> None:
    set_environment(VENUE_IMAGES_MAX_IMAGES_PER_VENUE="3")
    venue = opera(sandbox, tmp_path, own=5)
    sandbox.script("/opera/1.jpg", Fault("status", status=404))
    assert enrich(venue).images_uploaded == 2
    assert enrich(venue, force=True).images_uploaded == 1
    assert enrich(venue, force=True).images_discovered == 0
    assert len(sandbox.hits("/opera/1.jpg")) == 1
    assert VenueImage.objects.filter(upload_status=UPLOADED).count() == 3


def test_two_enrichments_at_once_download_each_photo_once(
    sandbox: Sandbox, tmp_path: Path, images_folder: Path
) -> None:
    venue = opera(sandbox, tmp_path, own=8)

    async def both(runtime: Runtime) -> list[OperationResult]:
        return await asyncio.gather(
            *(orchestrator.enrich_venue(venue.pk, force=True, runtime=runtime) for _ in range(4))
        )

    results = in_runtime(both)
    assert (
        sum(result.images_uploaded for result in results) == VenueImage.objects.filter(upload_status=UPLOADED).count()
    )
    assert {len(sandbox.hits(image.provider_url)) for image in VenueImage.objects.all()} == {1}
    assert len(list(images_folder.rglob("*.jpg"))) == 8


def test_it_works_in_a_running_loop_and_with_an_id_or_a_venue(sandbox: Sandbox) -> None:
    assert inspect.iscoroutinefunction(orchestrator.enrich_venue)
    venue = make_venue()

    async def work() -> int:
        first = await orchestrator.enrich_venue(venue)
        second = await orchestrator.enrich_venue(venue.pk, force=True)
        return first.venues + second.venues

    assert asyncio.run(work()) == 2

"""Google Places on the whole way, through an enrichment: what is counted, who sees the key, what expires."""

from __future__ import annotations

import logging
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models import Sum

from tests.catalogue import import_venue
from venue_images import cleanup_now, orchestrator
from venue_images.models import Operation, ProviderUsage, UploadAttempt, UploadStatus, Venue, VenueImage
from venue_images.operation_log import OperationResult
from venue_images.sandbox import Fault, Sandbox

pytestmark = pytest.mark.usefixtures("jobs")


def google_venue(folder: Path, sandbox: Sandbox, photos: int = 4) -> Venue:
    sandbox.place("sandbox-tate", photos=photos)
    return import_venue(folder, "tate", [], provider_ids={"google_places": "sandbox-tate"})


def enrich(venue: Venue, **options: Any) -> OperationResult:
    return orchestrator.enrich_venue_sync(venue, **options)


# What is counted


def test_calls_are_counted_and_priced_as_the_api_counts_them(sandbox: Sandbox, tmp_path: Path) -> None:
    result = enrich(google_venue(tmp_path, sandbox, photos=6))

    assert (result.images_discovered, result.images_uploaded) == (6, 6)
    assert result.metered_calls == sandbox.metered_calls["google_places"] == 7
    assert result.cost_usd == Decimal("0.042")
    operation = Operation.objects.get()
    assert (operation.metered_calls, operation.cost_usd) == (7, Decimal("0.042"))
    answer = operation.provider_results["google_places"]
    assert (answer["photos"], answer["calls"], answer["metered_calls"], answer["cost_usd"]) == (6, 7, 7, 0.042)
    assert _usage() == 7


def test_failed_calls_are_counted_too(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script("/google_places/v1/places/sandbox-tate/photos/*", Fault("drop"))
    result = enrich(google_venue(tmp_path, sandbox, photos=3))
    assert result.metered_calls == sandbox.metered_calls["google_places"] == _usage() == 4


def _usage() -> int:
    total: int = ProviderUsage.objects.filter(provider="google_places").aggregate(calls=Sum("calls"))["calls"]
    return total


# Who sees the key


def test_no_image_host_and_no_row_and_no_log_sees_the_key(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = sandbox.google_places.api_key
    venue = google_venue(tmp_path, sandbox, photos=4)
    place = sandbox.place("sandbox-tate", photos=4)
    sandbox.script(sandbox.google_places.photo_path(place, 0), Fault("status", status=500))
    sandbox.script(sandbox.google_places.photo_path(place, 1), Fault("status", status=403))
    enrich(venue)
    cleanup_now.perform_now(include_ambiguous=True)

    api_host = sandbox.api_url("google_places").split("/")[2]
    hits = sandbox.hits("*")
    assert {hit.carried_key for hit in hits if hit.path.startswith("/google_places/")} == {True}
    assert {hit.carried_key for hit in hits if hit.host != api_host} == {False}
    keyless = [hit for hit in hits if hit.path.split("/")[1] in ("openverse", "wikimedia_commons")]
    assert {hit.carried_key for hit in keyless} == {False}
    assert all(key not in hit.query and "key=" not in hit.query for hit in hits)
    assert key not in caplog.text
    assert key not in _everything_in_the_database()
    assert str(VenueImage.objects.count()) in _everything_in_the_database()


def _everything_in_the_database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        tables = [row[0] for row in cursor.fetchall()]
        texts = []
        for table in tables:
            cursor.execute(f'SELECT row_to_json("{table}")::text FROM "{table}"')
            texts += [row[0] for row in cursor.fetchall()]
    return "\n".join(texts)


def test_the_name_of_a_photo_is_not_kept(sandbox: Sandbox, tmp_path: Path) -> None:
    enrich(google_venue(tmp_path, sandbox))
    names = [sandbox.google_places.photo_name(sandbox.place("sandbox-tate", photos=4), index) for index in range(4)]
    stored = _everything_in_the_database()
    assert not any(name in stored for name in names)


# What expires


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_an_address_that_is_refused_has_expired_and_is_never_renewed_silently(
    sandbox: Sandbox, tmp_path: Path, status: int
) -> None:
    venue = google_venue(tmp_path, sandbox, photos=1)
    path = sandbox.google_places.photo_path(sandbox.place("sandbox-tate", photos=1), 0)
    sandbox.script(path, Fault("status", status=status))
    enrich(venue)
    calls = sandbox.metered_calls
    cleanup_now.perform_now(include_ambiguous=True)

    image = VenueImage.objects.get()
    assert (image.upload_status, image.error_type) == (UploadStatus.FAILED, "url_expired")
    assert (image.retry_count, image.http_status) == (1, status)
    assert UploadAttempt.objects.get().error_type == "url_expired"
    assert sandbox.metered_calls == calls
    assert len(sandbox.hits(path)) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_other_failures_of_an_address_mean_what_they_say(sandbox: Sandbox, tmp_path: Path, status: int) -> None:
    venue = google_venue(tmp_path, sandbox, photos=1)
    sandbox.script(
        sandbox.google_places.photo_path(sandbox.place("sandbox-tate", photos=1), 0), Fault("status", status=status)
    )
    enrich(venue)
    expected = {429: "rate_limited", 500: "server_error", 503: "service_unavailable"}[status]
    assert VenueImage.objects.get().error_type == expected


def test_an_address_with_a_life_time_is_used_before_that_ends(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.photo_uri_lifetime = 5.0
    assert enrich(google_venue(tmp_path, sandbox, photos=4)).images_uploaded == 4


def test_an_address_whose_life_time_has_ended_has_expired(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.photo_uri_lifetime = 0.0
    assert enrich(google_venue(tmp_path, sandbox, photos=2)).failure_breakdown == {"url_expired": 2}

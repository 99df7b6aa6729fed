from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.factories import make_image, make_venue
from venue_images import stats
from venue_images.conf import settings
from venue_images.errors import ErrorType, UsageError
from venue_images.models import UploadStatus, Venue, VenueImage

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_django import DjangoAssertNumQueries

pytestmark = pytest.mark.django_db

FAILED, UPLOADED, GIVEN_UP = UploadStatus.FAILED, UploadStatus.UPLOADED, UploadStatus.PERMANENTLY_FAILED


def partial_venue() -> Venue:
    """Two of five stored; one transient, one ambiguous, one used up."""
    venue = make_venue("Partial", city="Lyon")
    make_image(venue, UPLOADED)
    make_image(venue, UPLOADED)
    make_image(venue, FAILED, ErrorType.RATE_LIMITED)
    make_image(venue, FAILED, ErrorType.SERVER_ERROR)
    make_image(venue, FAILED, ErrorType.NETWORK_TIMEOUT, retry_count=settings().max_attempts)
    return venue


def lost_venue() -> Venue:
    """Everything failed for good."""
    venue = make_venue("Lost")
    for _ in range(4):
        make_image(venue, GIVEN_UP, ErrorType.NOT_FOUND, provider="google_places")
    return venue


def well_venue() -> Venue:
    venue = make_venue("Well")
    make_image(venue, UPLOADED)
    make_image(venue, UploadStatus.PENDING)
    return venue


def test_an_empty_catalogue_is_all_zeros() -> None:
    assert stats.summary_stats() == {
        "total_venues_with_failures": 0,
        "total_failed_images": 0,
        "total_uploaded_images": 0,
        "average_failure_rate": 0.0,
        "venues_with_transient": 0,
        "venues_with_permanent": 0,
        "venues_with_ambiguous": 0,
        "top_error_types": [],
    }


def test_the_summary_counts_venues_and_images() -> None:
    partial_venue()
    lost_venue()
    well_venue()
    summary = stats.summary_stats()
    assert summary["total_venues_with_failures"] == 2
    assert summary["total_failed_images"] == 7
    assert summary["total_uploaded_images"] == 3
    assert summary["average_failure_rate"] == 80.0  # 60 % and 100 %
    assert summary["venues_with_transient"] == 1
    assert summary["venues_with_permanent"] == 2
    assert summary["venues_with_ambiguous"] == 1
    assert summary["top_error_types"][0] == {"provider": "google_places", "error_type": "not_found", "count": 4}


def test_the_average_is_rounded_to_one_decimal() -> None:
    venue = make_venue()
    make_image(venue, FAILED)
    make_image(venue, UPLOADED)
    make_image(venue, UPLOADED)
    assert stats.summary_stats()["average_failure_rate"] == 33.3


@pytest.mark.parametrize("error_type", ErrorType)
@pytest.mark.parametrize("attempts", [1, 3])
def test_venues_with_transient_is_what_a_cleanup_would_queue(error_type: ErrorType, attempts: int) -> None:
    make_image(make_venue(), FAILED, error_type, retry_count=attempts)
    queued = VenueImage.objects.retryable().values("venue").distinct().count()
    assert stats.failure_counts()["venues_with_transient"] == queued


def test_an_image_whose_attempts_are_used_up_is_not_promised() -> None:
    make_image(make_venue(), FAILED, ErrorType.RATE_LIMITED, retry_count=settings().max_attempts)
    counts = stats.failure_counts()
    assert (counts["venues_with_transient"], counts["venues_with_permanent"]) == (0, 1)


def test_only_ten_error_types_are_at_the_top() -> None:
    venue = make_venue()
    for error_type in list(ErrorType)[:12]:
        make_image(venue, FAILED, error_type)
    assert len(stats.summary_stats()["top_error_types"]) == 10


def test_a_venue_is_described_with_all_its_counts() -> None:
    venue = partial_venue()
    well_venue()
    assert stats.venues_with_failures() == [
        {
            "venue_id": venue.pk,
            "slug": venue.slug,
            "name": "Partial",
            "city": "Lyon",
            "total_images": 5,
            "uploaded_images": 2,
            "failed_images": 3,
            "transient_images": 1,
            "permanent_images": 1,
            "ambiguous_images": 1,
            "failure_rate": 60.0,
            "priority": 3 * 10 + 60.0 + 20,
        }
    ]


def test_the_venue_most_worth_repairing_comes_first_and_equals_by_id() -> None:
    first_of_two, partial, lost = make_venue(), partial_venue(), lost_venue()
    second_of_two = make_venue()
    for venue in (second_of_two, first_of_two):
        make_image(venue, GIVEN_UP, ErrorType.GONE)
    rows = stats.venues_with_failures()
    # 40 + 100 without a transient failure; 30 + 60 + 20; 10 + 100 each.
    assert [row["priority"] for row in rows] == [140.0, 110.0, 110.0, 110.0]
    assert [row["venue_id"] for row in rows] == [lost.pk, first_of_two.pk, partial.pk, second_of_two.pk]
    assert [row["venue_id"] for row in stats.high_priority_venues(1)] == [lost.pk]
    assert stats.venues_with_failures(limit=2) == rows[:2]


def test_partial_candidates_have_something_stored_and_something_to_retry() -> None:
    partial = partial_venue()
    lost_venue()
    only_failed = make_venue()
    make_image(only_failed, FAILED)
    nothing_to_retry = make_venue()
    make_image(nothing_to_retry, UPLOADED)
    make_image(nothing_to_retry, GIVEN_UP, ErrorType.GONE)
    assert [row["venue_id"] for row in stats.partial_failure_candidates()] == [partial.pk]
    assert stats.partial_failure_candidates(limit=0) == []


def test_the_breakdown_says_what_failed_and_why_most_first() -> None:
    partial_venue()
    lost_venue()
    make_image(make_venue(), FAILED, ErrorType.RATE_LIMITED, retry_count=settings().max_attempts)
    rows = stats.failure_breakdown()
    assert rows[0] == {
        "provider": "google_places",
        "error_type": "not_found",
        "error_class": "permanent",
        "count": 4,
        "retryable": 0,
        "venues": 1,
    }
    limited = {"provider": "catalog", "error_type": "rate_limited", "error_class": "transient"}
    assert rows[1] == {**limited, "count": 2, "retryable": 1, "venues": 2}
    assert [row["count"] for row in rows] == [4, 2, 1, 1]


def test_an_error_type_of_another_version_is_shown_without_a_class() -> None:
    make_image(make_venue(), FAILED, "cosmic_ray")
    [row] = stats.failure_breakdown()
    assert (row["error_type"], row["error_class"]) == ("cosmic_ray", "")


def test_failures_are_grouped_by_venue_error_provider_or_host() -> None:
    partial_venue()
    lost_venue()
    assert stats.failures_by("venue") == stats.venues_with_failures()
    assert stats.failures_by("error")[0]["error_type"] == "not_found"
    assert stats.failures_by("provider") == [
        {"provider": "google_places", "count": 4, "retryable": 0, "venues": 1},
        {"provider": "catalog", "count": 3, "retryable": 1, "venues": 1},
    ]
    assert stats.failures_by("host") == [{"host": "photos.example", "count": 7, "retryable": 1, "venues": 2}]


def test_failures_by_something_else_names_what_there_is() -> None:
    with pytest.raises(UsageError, match="venue, error, provider, host"):
        stats.failures_by("colour")


@pytest.mark.parametrize(
    ("function", "statements"),
    [
        (stats.failure_counts, 1),
        (stats.failure_breakdown, 1),
        (stats.venues_with_failures, 1),
        (stats.partial_failure_candidates, 1),
        (stats.summary_stats, 4),
    ],
)
def test_the_number_of_statements_does_not_grow_with_the_venues(
    function: Callable[[], object], statements: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(8):
        partial_venue()
    with django_assert_num_queries(statements):
        function()


@pytest.mark.parametrize("function", [stats.failure_counts, stats.failure_breakdown])
def test_the_hot_path_can_be_answered_from_the_index_of_the_failing_images_alone(
    function: Callable[[], object],
) -> None:
    partial_venue()
    with connection.cursor() as cursor:
        # On a small table the planner would rather read everything.
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
    with CaptureQueriesContext(connection) as captured:
        function()
    [plan] = [plan_of(query["sql"]) for query in captured.captured_queries]
    assert "Index Only Scan using venue_image_failing" in plan
    assert plan.count(" on venue_images_") == 1


def plan_of(sql: str) -> str:
    """How the database would run this statement."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql}")
        return "\n".join(row[0] for row in cursor.fetchall() if "->" in row[0])

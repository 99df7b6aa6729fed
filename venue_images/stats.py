"""How many? Read-only counts over the image rows, each in a constant number of statements.

What failed is counted from the partial index ``venue_image_failing`` alone, so it costs as much as there are failures,
however large the catalogue is. What the words mean is said once, in :class:`venue_images.models.VenueImageQuerySet`.
"""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import Case, Count, QuerySet, Sum, When
from django.db.models.functions import Coalesce

from venue_images.errors import ERROR_TYPES, UsageError
from venue_images.models import UploadStatus, VenueImage, VenueImageQuerySet

#: Priority of a venue for repair.
POINTS_PER_FAILED_IMAGE = 10
POINTS_FOR_TRANSIENT = 20
TOP_ERROR_TYPES = 10
CLASSES = {str(error_type): str(error_class) for error_type, error_class in ERROR_TYPES.items()}
#: What failures can be grouped by.
GROUPINGS = ("venue", "error", "provider", "host")

# Names the failing venues and ranks them; ``{failing}`` stands for the counts by venue.
RANKED = f"""
    SELECT venue_id, slug, name, city, total_images, uploaded_images,
           failed_images, transient_images, permanent_images, ambiguous_images,
           failed_images * 100.0::float / total_images AS failure_rate,
           failed_images * {POINTS_PER_FAILED_IMAGE} + failed_images * 100.0::float / total_images
               + CASE WHEN transient_images > 0 THEN {POINTS_FOR_TRANSIENT} ELSE 0 END AS priority
    FROM ({{failing}}) AS failing
    JOIN venue_images_venue AS venue ON venue.id = failing.venue_id
    CROSS JOIN LATERAL (
        SELECT count(*) AS total_images, count(*) FILTER (WHERE upload_status = %s) AS uploaded_images
        FROM venue_images_venueimage AS image WHERE image.venue_id = failing.venue_id
    ) AS images
"""
AVERAGE_FAILURE_RATE = """
    SELECT avg(failed_images * 100.0::float / total_images)
    FROM ({failing}) AS failing
    CROSS JOIN LATERAL (
        SELECT count(*) AS total_images FROM venue_images_venueimage AS image WHERE image.venue_id = failing.venue_id
    ) AS images
"""
GROUPED = """
    SELECT {columns}, sum(images)::bigint AS count, sum(retryable)::bigint AS retryable, count(*) AS venues
    FROM ({by_venue}) AS by_venue GROUP BY {columns} ORDER BY count DESC, {columns}
"""


def failure_counts() -> dict[str, int]:
    """The counts that the page shows: cheap, because only the index of the failing images is read."""
    counts = _by_venue().aggregate(
        total_venues_with_failures=Count("*"),
        total_failed_images=Coalesce(Sum("failed_images"), 0),
        venues_with_transient=Count(Case(When(transient_images__gt=0, then=1))),
        venues_with_permanent=Count(Case(When(permanent_images__gt=0, then=1))),
        venues_with_ambiguous=Count(Case(When(ambiguous_images__gt=0, then=1))),
    )
    return {name: int(count) for name, count in counts.items()}


def summary_stats() -> dict[str, Any]:
    """Everything in figures; ``average_failure_rate`` is the mean, over the venues with failures, in percent."""
    top = failure_breakdown()[:TOP_ERROR_TYPES]
    return {
        **failure_counts(),
        "total_uploaded_images": VenueImage.objects.filter(upload_status=UploadStatus.UPLOADED).count(),
        "average_failure_rate": _average_failure_rate(),
        "top_error_types": [{name: row[name] for name in ("provider", "error_type", "count")} for row in top],
    }


def venues_with_failures(limit: int | None = None) -> list[dict[str, Any]]:
    """The venues with failing images and their counts, the one most worth repairing first."""
    return _ranked("", limit)


def high_priority_venues(limit: int = 10) -> list[dict[str, Any]]:
    """The venues most worth repairing."""
    return venues_with_failures(limit)


def partial_failure_candidates(limit: int | None = None) -> list[dict[str, Any]]:
    """The venues that have some of their images and lack some that a retry may bring."""
    return _ranked("WHERE uploaded_images > 0 AND transient_images > 0", limit)


def failure_breakdown() -> list[dict[str, Any]]:
    """What failed and why: images and venues by provider and error type, most images first."""
    return _with_class(_grouped("provider", "error_type"))


def failures_by(what: str) -> list[dict[str, Any]]:
    """The failures by ``venue``, ``error``, ``provider`` or ``host``; raises :class:`UsageError` for anything else."""
    if what not in GROUPINGS:
        raise UsageError(f"Failures can't be grouped by {what!r}; use one of {', '.join(GROUPINGS)}.")
    if what == "venue":
        return venues_with_failures()
    return _with_class(_grouped("error_type")) if what == "error" else _grouped(what)


def _condition(images: VenueImageQuerySet) -> Any:
    """What makes a row one of ``images``: lets one statement count by several of the words at once."""
    return images.query.where


def _by_venue() -> QuerySet[VenueImage, Any]:
    images = VenueImage.objects
    return (
        images.failing()
        .order_by()
        .values("venue_id")
        .annotate(
            failed_images=Count("*"),
            transient_images=Count("venue", filter=_condition(images.retryable())),
            permanent_images=Count("venue", filter=_condition(images.for_review())),
            ambiguous_images=Count("venue", filter=_condition(images.ambiguous())),
        )
    )


def _average_failure_rate() -> float:
    failing, parameters = _by_venue().query.sql_with_params()
    [row] = _rows(AVERAGE_FAILURE_RATE.format(failing=failing), parameters)
    return round(row["avg"] or 0.0, 1)


def _ranked(condition: str, limit: int | None) -> list[dict[str, Any]]:
    failing, parameters = _by_venue().query.sql_with_params()
    sql = f"{RANKED.format(failing=failing)} {condition} ORDER BY priority DESC, venue_id LIMIT %s"
    venues = _rows(sql, (*parameters, UploadStatus.UPLOADED.value, limit))
    return [
        {**venue, "failure_rate": round(venue["failure_rate"], 1), "priority": round(venue["priority"], 1)}
        for venue in venues
    ]


def _rows(sql: str, parameters: tuple[Any, ...]) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _grouped(*columns: str) -> list[dict[str, Any]]:
    """Failing images by these columns; ``retryable`` are those that a cleanup would try again.

    Counted by venue first, which is the order of the index: counting distinct venues would sort every row.
    """
    images = VenueImage.objects
    by_venue = (
        images.failing()
        .order_by()
        .values("venue_id", *columns)
        .annotate(images=Count("*"), retryable=Count("venue", filter=_condition(images.retryable())))
    )
    sql, parameters = by_venue.query.sql_with_params()
    return _rows(GROUPED.format(by_venue=sql, columns=", ".join(columns)), parameters)


def _with_class(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With the class of each error type; empty for a type that this version does not know."""
    return [{**row, "error_class": CLASSES.get(row["error_type"], "")} for row in rows]

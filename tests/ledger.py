"""The image rows for tests: claimed, settled and swept through a connection of their own."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from tests.factories import make_image
from tests.runtimes import connected
from venue_images import image_ledger
from venue_images.errors import ErrorType
from venue_images.image_ledger import ClaimedImage, Scope, Settlement
from venue_images.models import UploadStatus, Venue, VenueImage, Worker

HOUR = timedelta(hours=1)
MAX_ATTEMPTS = 3


def claim(venue: Venue, scope: Scope | None = None, worker: uuid.UUID | None = None) -> list[ClaimedImage]:
    return connected(
        lambda connection: image_ledger.claim(
            connection, venue.pk, worker or uuid.uuid4(), scope or Scope(), MAX_ATTEMPTS
        )
    )


def claimed_ids(venue: Venue, scope: Scope | None = None) -> set[int]:
    return {image.id for image in claim(venue, scope)}


def next_due(venue: Venue, scope: Scope | None = None) -> timedelta | None:
    return connected(lambda connection: image_ledger.next_due(connection, venue.pk, scope or Scope(), MAX_ATTEMPTS))


def settle(*results: Settlement) -> set[int]:
    return connected(lambda connection: image_ledger.settle(connection, None, results))


def sweep() -> list[int]:
    return connected(image_ledger.sweep)


def failure(image: ClaimedImage, error_type: ErrorType | None = ErrorType.RATE_LIMITED, **fields: Any) -> Settlement:
    defaults: dict[str, Any] = {
        "image_id": image.id,
        "claim_token": image.claim_token,
        "status": UploadStatus.FAILED,
        "started_at": datetime.now(UTC),
        "seconds": 0.25,
        "host": image.host,
        "byte_size": 0,
        "retry_count": image.retry_count + 1,
        "error_type": error_type and str(error_type),
        "error_message": "the host answered 429",
        "http_status": 429,
    }
    return Settlement(**{**defaults, **fields})


def success(image: ClaimedImage, **fields: Any) -> Settlement:
    stored = {
        "status": UploadStatus.UPLOADED,
        "error_type": None,
        "error_message": "",
        "http_status": 200,
        "retry_count": image.retry_count,
        "byte_size": 1234,
        "url": "/media/venues/x/ct-1.jpg",
        "storage_key": "venues/x/ct-1.jpg",
        "sha256": "a" * 64,
        "content_type": "image/jpeg",
        "width": 800,
        "height": 600,
    }
    return failure(image, **{**stored, **fields})


def living_worker(silent_for: timedelta = timedelta(0)) -> Worker:
    return Worker.objects.create(kind="worker", hostname="here", pid=1, heartbeat_at=timezone.now() - silent_for)


def waiting(venue: Venue, error_type: str = "rate_limited", **fields: Any) -> VenueImage:
    return make_image(venue, UploadStatus.FAILED, error_type, **fields)

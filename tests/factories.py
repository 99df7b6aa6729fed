"""Rows for tests, each with as little as it needs: say what matters, the rest is made up."""

from __future__ import annotations

import itertools
from typing import Any

from django.utils import timezone

from venue_images import photo_urls
from venue_images.errors import ErrorType
from venue_images.models import FAILING, UploadStatus, Venue, VenueImage

_numbers = itertools.count(1)


def make_venue(name: str = "", **fields: Any) -> Venue:
    """A venue with a name and a slug of its own."""
    number = next(_numbers)
    return Venue.objects.create(**{"name": name or f"Venue {number}", "slug": f"venue-{number}", **fields})


def make_image(
    venue: Venue,
    status: UploadStatus = UploadStatus.PENDING,
    error_type: ErrorType | str | None = None,
    **fields: Any,
) -> VenueImage:
    """An image of ``venue`` as it stands in this state; a failing one is out of time unless ``error_type`` says more."""
    url = fields.pop("provider_url", None) or f"https://photos.example/{next(_numbers)}.jpg"
    defaults: dict[str, Any] = {
        "provider": "catalog",
        "provider_url": url,
        "url_hash": photo_urls.url_hash(url),
        "host": photo_urls.host_of(url),
        **_state_fields(venue, status, photo_urls.url_hash(url)),
    }
    if error_type is not None:
        defaults["error_type"] = str(error_type)
    return VenueImage.objects.create(venue=venue, upload_status=status, **{**defaults, **fields})


def _state_fields(venue: Venue, status: UploadStatus, url_hash: str) -> dict[str, Any]:
    if status == UploadStatus.UPLOADED:
        key = f"venues/{venue.slug}/ct-{url_hash}.jpg"
        return {"storage_key": key, "content_type": "image/jpeg", "uploaded_at": timezone.now()}
    if status in FAILING:
        return {"error_type": str(ErrorType.NETWORK_TIMEOUT), "failed_at": timezone.now(), "retry_count": 1}
    return {}

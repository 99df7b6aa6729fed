"""The nouns: venue, image, provider, circuit, cleanup run, operation, attempt, worker."""

from __future__ import annotations

from venue_images.models.catalogue import FAILING, UploadStatus, Venue, VenueImage, VenueImageQuerySet
from venue_images.models.services import (
    Circuit,
    Provider,
    ProviderCheck,
    ProviderSpend,
    ProviderUsage,
    RateBucket,
)
from venue_images.models.work import CleanupRun, Operation, Trigger, UploadAttempt, Worker

__all__ = [
    "FAILING",
    "Circuit",
    "CleanupRun",
    "Operation",
    "Provider",
    "ProviderCheck",
    "ProviderSpend",
    "ProviderUsage",
    "RateBucket",
    "Trigger",
    "UploadAttempt",
    "UploadStatus",
    "Venue",
    "VenueImage",
    "VenueImageQuerySet",
    "Worker",
]

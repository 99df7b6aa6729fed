"""When a failed image may be tried again, and when it is given up. Pure: no clock, no database."""

from __future__ import annotations

import random
from datetime import timedelta

from venue_images.errors import ErrorClass, ErrorType
from venue_images.models import UploadStatus

#: The longest wait after the first failed attempt; doubles with each one, up to the cap.
BASE = timedelta(minutes=1)
CAP = timedelta(hours=1)
#: More than these reach the cap anyway.
ENOUGH_DOUBLINGS = 16


def status_after(error_type: ErrorType, retry_count: int, max_attempts: int) -> UploadStatus:
    """The state of an image whose attempt failed; ``retry_count`` counts this failure."""
    error_class = error_type.error_class
    if error_class is ErrorClass.PERMANENT:
        return UploadStatus.PERMANENTLY_FAILED
    if error_class in (ErrorClass.TRANSIENT, ErrorClass.AMBIGUOUS) and retry_count >= max_attempts:
        return UploadStatus.PERMANENTLY_FAILED
    return UploadStatus.FAILED


def counts_as_attempt(error_type: ErrorType) -> bool:
    """Whether the failure uses up an attempt: not when our own side, and not the photo, was the reason."""
    return error_type is not ErrorType.WORKER_LOST and error_type.error_class is not ErrorClass.BLOCKED


def back_off(retry_count: int, rng: random.Random | None = None) -> timedelta:
    """How long to wait after ``retry_count`` failures: exponential with full jitter.

    Full jitter spreads the retries of an outage evenly over the window; after
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.
    """
    doublings = min(max(retry_count - 1, 0), ENOUGH_DOUBLINGS)
    longest = min(BASE.total_seconds() * 2.0**doublings, CAP.total_seconds())
    return timedelta(seconds=longest * (rng or random).random())

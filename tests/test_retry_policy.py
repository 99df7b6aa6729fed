"""What the policy promises for every error type and any number of attempts."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venue_images import retry_policy
from venue_images.errors import ErrorClass, ErrorType, types_of
from venue_images.models import UploadStatus

error_types = st.sampled_from(list(ErrorType))
counts = st.integers(min_value=0, max_value=2**15)
limits = st.integers(min_value=1, max_value=100)


@given(error_types, counts, limits)
def test_a_failure_ends_failed_or_given_up_and_nothing_else(
    error_type: ErrorType, retry_count: int, max_attempts: int
) -> None:
    status = retry_policy.status_after(error_type, retry_count, max_attempts)
    expected = {
        ErrorClass.PERMANENT: True,
        ErrorClass.TRANSIENT: retry_count >= max_attempts,
        ErrorClass.AMBIGUOUS: retry_count >= max_attempts,
        ErrorClass.STALE_URL: False,
        ErrorClass.BLOCKED: False,
    }[error_type.error_class]
    assert status == (UploadStatus.PERMANENTLY_FAILED if expected else UploadStatus.FAILED)


@given(error_types, limits)
def test_an_image_is_tried_exactly_as_often_as_allowed(error_type: ErrorType, max_attempts: int) -> None:
    """Every failure is followed to its end, as the ledger would, with the attempts that the policy counts."""
    retry_count, tries = 0, 0
    status = UploadStatus.PENDING
    while status != UploadStatus.PERMANENTLY_FAILED and retry_count < max_attempts and tries <= max_attempts:
        tries += 1
        retry_count += retry_policy.counts_as_attempt(error_type)
        status = retry_policy.status_after(error_type, retry_count, max_attempts)
    if error_type.error_class is ErrorClass.PERMANENT:
        assert tries == 1
    elif retry_policy.counts_as_attempt(error_type):
        assert tries == max_attempts
    else:
        assert (status, retry_count) == (UploadStatus.FAILED, 0)


def test_only_what_was_not_the_fault_of_the_photo_costs_no_attempt() -> None:
    free = {str(error_type) for error_type in ErrorType if not retry_policy.counts_as_attempt(error_type)}
    assert free == {"worker_lost", *types_of(ErrorClass.BLOCKED)}


@given(counts, st.integers())
def test_the_wait_lies_between_nothing_and_the_cap(retry_count: int, seed: int) -> None:
    wait = retry_policy.back_off(retry_count, random.Random(seed))
    assert timedelta(0) <= wait <= retry_policy.CAP


@pytest.mark.parametrize(
    ("retry_count", "longest"), [(0, 60), (1, 60), (2, 120), (3, 240), (6, 1920), (7, 3600), (99, 3600)]
)
def test_the_longest_wait_doubles_up_to_an_hour(retry_count: int, longest: int) -> None:
    waits = [retry_policy.back_off(retry_count, random.Random(seed)).total_seconds() for seed in range(2000)]
    assert 0.98 * longest < max(waits) <= longest
    assert min(waits) < 0.02 * longest
    assert sum(waits) / len(waits) == pytest.approx(longest / 2, rel=0.05)

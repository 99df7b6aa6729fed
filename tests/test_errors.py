"""The table of error types is the one of the design, no more and no less."""

from __future__ import annotations

import pytest

from venue_images.errors import (
    ERROR_TYPES,
    STATUS_TYPES,
    ErrorClass,
    ErrorType,
    Held,
    ProviderError,
    SettingsError,
    UploadError,
    UsageError,
    UserError,
    error_type_of_status,
    types_of,
)
from venue_images.models import UploadAttempt, VenueImage

DESIGN = {
    "transient": {
        "rate_limited",
        "service_unavailable",
        "bad_gateway",
        "gateway_timeout",
        "network_timeout",
        "network_error",
        "truncated_body",
        "storage_unavailable",
        "worker_lost",
    },
    "permanent": {
        "not_found",
        "gone",
        "forbidden",
        "auth_error",
        "legal",
        "file_too_large",
        "too_many_pixels",
        "not_an_image",
        "corrupt_image",
        "invalid_provider_url",
        "blocked_address",
    },
    "ambiguous": {"server_error", "http_error", "download_failed", "unknown_error"},
    "stale_url": {"url_expired"},
    "blocked": {"provider_key", "provider_quota", "storage_config"},
}
STATUSES = {
    429: "rate_limited",
    503: "service_unavailable",
    502: "bad_gateway",
    504: "gateway_timeout",
    404: "not_found",
    410: "gone",
    403: "forbidden",
    401: "auth_error",
    451: "legal",
    500: "server_error",
    408: "network_timeout",
}


def test_the_table_is_the_one_of_the_design() -> None:
    table = {
        str(error_class): {str(name) for name, its_class in ERROR_TYPES.items() if its_class is error_class}
        for error_class in ErrorClass
    }
    assert table == DESIGN


def test_every_error_type_has_one_class() -> None:
    assert set(ERROR_TYPES) == set(ErrorType)
    assert all(error_type.error_class is ERROR_TYPES[error_type] for error_type in ErrorType)


@pytest.mark.parametrize("error_class", list(ErrorClass))
def test_the_types_of_a_class_are_told_as_the_database_spells_them(error_class: ErrorClass) -> None:
    types = types_of(error_class)
    assert set(types) == DESIGN[error_class]
    assert all(type(name) is str for name in types)


def test_the_types_of_several_classes_are_told_together() -> None:
    both = types_of(ErrorClass.TRANSIENT, ErrorClass.AMBIGUOUS)
    assert set(both) == DESIGN["transient"] | DESIGN["ambiguous"]
    assert types_of() == []


def test_a_status_stands_for_the_type_of_the_design() -> None:
    assert {status: str(error_type) for status, error_type in STATUS_TYPES.items()} == STATUSES


@pytest.mark.parametrize(
    "status", [100, 201, 204, 206, 300, 304, 400, 402, 405, 409, 418, 425, 501, 505, 520, 599, 999]
)
def test_every_other_status_is_ambiguous(status: int) -> None:
    assert error_type_of_status(status) is ErrorType.HTTP_ERROR


@pytest.mark.parametrize("model", [VenueImage, UploadAttempt])
def test_every_error_type_fits_its_column(model: type[VenueImage | UploadAttempt]) -> None:
    assert max(map(len, ErrorType)) <= (model._meta.get_field("error_type").max_length or 0)


def test_wrong_usage_and_wrong_settings_end_with_2_and_the_rest_with_1() -> None:
    assert (UserError.exit_status, UsageError.exit_status, SettingsError.exit_status) == (1, 2, 2)


def test_what_was_held_is_nobodys_failure() -> None:
    held = Held("Yelp: the limit of 5 a second is used up.", 3.5)
    assert not isinstance(held, UploadError | ProviderError | UserError)
    assert (held.message, held.seconds, held.by_circuit) == (str(held), 3.5, False)

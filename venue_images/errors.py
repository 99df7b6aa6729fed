"""What can go wrong with a photo, a provider or a storage, and what to do about it.

::

    VenueImagesError
    ├── UserError          a mistake or a missing piece that a person can mend; its text says how
    │   └── SettingsError  a setting that does not make sense
    ├── UploadError        one attempt at one image failed
    ├── ProviderError      one provider could not answer
    └── Held               a limit, a circuit or a budget of ours says "not now"

``ERROR_TYPES`` is the only place that says which error type belongs to which class. Adapters choose the type, because
only they know their service; everything else obeys the class.
"""

from __future__ import annotations

from enum import StrEnum


class ErrorClass(StrEnum):
    """What to do about an error."""

    #: Try the same URL again later.
    TRANSIENT = "transient"
    #: Never try again by itself; a person has to look.
    PERMANENT = "permanent"
    #: Unclear; left alone unless somebody asks for it.
    AMBIGUOUS = "ambiguous"
    #: The URL has expired; a new one may cost a call, so it is offered and never fetched silently.
    STALE_URL = "stale_url"
    #: The provider or the storage is stopped; the image keeps its attempts.
    BLOCKED = "blocked"


class ErrorType(StrEnum):
    """What went wrong, in the words that the pages, the commands and the database use."""

    RATE_LIMITED = "rate_limited"
    SERVICE_UNAVAILABLE = "service_unavailable"
    BAD_GATEWAY = "bad_gateway"
    GATEWAY_TIMEOUT = "gateway_timeout"
    NETWORK_TIMEOUT = "network_timeout"
    NETWORK_ERROR = "network_error"
    TRUNCATED_BODY = "truncated_body"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    WORKER_LOST = "worker_lost"

    NOT_FOUND = "not_found"
    GONE = "gone"
    FORBIDDEN = "forbidden"
    AUTH_ERROR = "auth_error"
    LEGAL = "legal"
    FILE_TOO_LARGE = "file_too_large"
    TOO_MANY_PIXELS = "too_many_pixels"
    NOT_AN_IMAGE = "not_an_image"
    CORRUPT_IMAGE = "corrupt_image"
    INVALID_PROVIDER_URL = "invalid_provider_url"
    BLOCKED_ADDRESS = "blocked_address"

    SERVER_ERROR = "server_error"
    HTTP_ERROR = "http_error"
    DOWNLOAD_FAILED = "download_failed"
    UNKNOWN_ERROR = "unknown_error"

    URL_EXPIRED = "url_expired"

    PROVIDER_KEY = "provider_key"
    PROVIDER_QUOTA = "provider_quota"
    STORAGE_CONFIG = "storage_config"

    @property
    def error_class(self) -> ErrorClass:
        return ERROR_TYPES[self]


ERROR_TYPES: dict[ErrorType, ErrorClass] = {
    ErrorType.RATE_LIMITED: ErrorClass.TRANSIENT,
    ErrorType.SERVICE_UNAVAILABLE: ErrorClass.TRANSIENT,
    ErrorType.BAD_GATEWAY: ErrorClass.TRANSIENT,
    ErrorType.GATEWAY_TIMEOUT: ErrorClass.TRANSIENT,
    ErrorType.NETWORK_TIMEOUT: ErrorClass.TRANSIENT,
    ErrorType.NETWORK_ERROR: ErrorClass.TRANSIENT,
    ErrorType.TRUNCATED_BODY: ErrorClass.TRANSIENT,
    ErrorType.STORAGE_UNAVAILABLE: ErrorClass.TRANSIENT,
    ErrorType.WORKER_LOST: ErrorClass.TRANSIENT,
    ErrorType.NOT_FOUND: ErrorClass.PERMANENT,
    ErrorType.GONE: ErrorClass.PERMANENT,
    ErrorType.FORBIDDEN: ErrorClass.PERMANENT,
    ErrorType.AUTH_ERROR: ErrorClass.PERMANENT,
    ErrorType.LEGAL: ErrorClass.PERMANENT,
    ErrorType.FILE_TOO_LARGE: ErrorClass.PERMANENT,
    ErrorType.TOO_MANY_PIXELS: ErrorClass.PERMANENT,
    ErrorType.NOT_AN_IMAGE: ErrorClass.PERMANENT,
    ErrorType.CORRUPT_IMAGE: ErrorClass.PERMANENT,
    ErrorType.INVALID_PROVIDER_URL: ErrorClass.PERMANENT,
    ErrorType.BLOCKED_ADDRESS: ErrorClass.PERMANENT,
    ErrorType.SERVER_ERROR: ErrorClass.AMBIGUOUS,
    ErrorType.HTTP_ERROR: ErrorClass.AMBIGUOUS,
    ErrorType.DOWNLOAD_FAILED: ErrorClass.AMBIGUOUS,
    ErrorType.UNKNOWN_ERROR: ErrorClass.AMBIGUOUS,
    ErrorType.URL_EXPIRED: ErrorClass.STALE_URL,
    ErrorType.PROVIDER_KEY: ErrorClass.BLOCKED,
    ErrorType.PROVIDER_QUOTA: ErrorClass.BLOCKED,
    ErrorType.STORAGE_CONFIG: ErrorClass.BLOCKED,
}

#: Error types that come from an HTTP status alone (RFC 9110; 451 is RFC 7725). Every other status is ``http_error``.
STATUS_TYPES: dict[int, ErrorType] = {
    401: ErrorType.AUTH_ERROR,
    403: ErrorType.FORBIDDEN,
    404: ErrorType.NOT_FOUND,
    408: ErrorType.NETWORK_TIMEOUT,
    410: ErrorType.GONE,
    429: ErrorType.RATE_LIMITED,
    451: ErrorType.LEGAL,
    500: ErrorType.SERVER_ERROR,
    502: ErrorType.BAD_GATEWAY,
    503: ErrorType.SERVICE_UNAVAILABLE,
    504: ErrorType.GATEWAY_TIMEOUT,
}


def types_of(*classes: ErrorClass) -> list[str]:
    """The error types of these classes, as SQL wants them."""
    return [str(error_type) for error_type, error_class in ERROR_TYPES.items() if error_class in classes]


def retried_types(*, on_request: bool = False) -> list[str]:
    """The error types that a retry takes up by itself; ``on_request`` also those that it takes up when asked to.

    Asked to: what is ambiguous, and what was blocked by a key or a storage that has been mended since.
    """
    asked = (ErrorClass.AMBIGUOUS, ErrorClass.BLOCKED) if on_request else ()
    return types_of(ErrorClass.TRANSIENT, *asked)


def error_type_of_status(status: int) -> ErrorType:
    """The error type that an HTTP status alone stands for."""
    return STATUS_TYPES.get(status, ErrorType.HTTP_ERROR)


class VenueImagesError(Exception):
    """Anything that this package raises on purpose."""


class UserError(VenueImagesError):
    """A mistake that a person can mend; the text is one line and says what to do."""

    #: 1: could not be done · 2: wrong usage.
    exit_status = 1


class UsageError(UserError):
    """The command was called in a way that can't be meant."""

    exit_status = 2


class SettingsError(UserError):
    """A setting that does not make sense; the text names it."""

    exit_status = 2


class UploadError(VenueImagesError):
    """One attempt at one image failed.

    ``retry_after`` is what the host asked for, in seconds from now; it is a floor and never undercut.
    """

    def __init__(
        self,
        error_type: ErrorType,
        message: str,
        *,
        http_status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.http_status = http_status
        self.retry_after = retry_after


class ProviderError(VenueImagesError):
    """A provider could not answer for one venue.

    ``retry_after`` is when it may be asked again, in seconds from now, if it said so.
    """

    def __init__(
        self,
        error_type: ErrorType,
        message: str,
        *,
        http_status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.http_status = http_status
        self.retry_after = retry_after


class Held(VenueImagesError):  # noqa: N818 - nothing went wrong
    """A request that was not made, because a limit, an open circuit or a budget of ours stands in its way.

    It is nobody's failure and uses up no attempt: whoever asked comes back after ``seconds``; infinite when a person has
    to do something first.
    """

    def __init__(self, message: str, seconds: float, *, by_circuit: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.seconds = seconds
        #: The circuit's row tells when to come back, to everybody.
        self.by_circuit = by_circuit

"""What the database and the code call by a name, in words for people."""

from __future__ import annotations

from decimal import Decimal

from venue_images.errors import ErrorClass, ErrorType

ERRORS: dict[str, str] = {
    ErrorType.RATE_LIMITED: "Rate limited (429)",
    ErrorType.SERVICE_UNAVAILABLE: "Service unavailable (503)",
    ErrorType.BAD_GATEWAY: "Bad gateway (502)",
    ErrorType.GATEWAY_TIMEOUT: "Gateway timeout (504)",
    ErrorType.NETWORK_TIMEOUT: "Host did not answer in time",
    ErrorType.NETWORK_ERROR: "Network error",
    ErrorType.TRUNCATED_BODY: "Download broke off",
    ErrorType.STORAGE_UNAVAILABLE: "Storage unavailable",
    ErrorType.WORKER_LOST: "Worker stopped in the middle",
    ErrorType.NOT_FOUND: "Photo not found (404)",
    ErrorType.GONE: "Photo deleted (410)",
    ErrorType.FORBIDDEN: "Access forbidden (403)",
    ErrorType.AUTH_ERROR: "Sign-in required (401)",
    ErrorType.LEGAL: "Withheld for legal reasons (451)",
    ErrorType.FILE_TOO_LARGE: "File too large",
    ErrorType.TOO_MANY_PIXELS: "Too many pixels",
    ErrorType.NOT_AN_IMAGE: "Not an image",
    ErrorType.CORRUPT_IMAGE: "Corrupt image",
    ErrorType.INVALID_PROVIDER_URL: "Invalid URL",
    ErrorType.BLOCKED_ADDRESS: "Private address refused",
    ErrorType.SERVER_ERROR: "Server error (500)",
    ErrorType.HTTP_ERROR: "Unexpected HTTP status",
    ErrorType.DOWNLOAD_FAILED: "Download failed",
    ErrorType.UNKNOWN_ERROR: "Unknown error",
    ErrorType.URL_EXPIRED: "URL expired",
    ErrorType.PROVIDER_KEY: "Provider refused the key",
    ErrorType.PROVIDER_QUOTA: "Provider quota used up",
    ErrorType.STORAGE_CONFIG: "Storage not set up right",
}

CLASSES: dict[str, str] = {
    ErrorClass.TRANSIENT: "transient",
    ErrorClass.PERMANENT: "permanent",
    ErrorClass.AMBIGUOUS: "ambiguous",
    ErrorClass.STALE_URL: "needs a new URL",
    ErrorClass.BLOCKED: "blocked",
}

CENT = Decimal("0.01")


def of_error(error_type: str) -> str:
    """The error type in words; an unknown one as it is, made readable."""
    return ERRORS.get(error_type) or error_type.replace("_", " ").capitalize()


def of_class(error_class: str) -> str:
    return CLASSES.get(error_class, "unknown")


def usd(amount: float) -> str:
    """US dollars with as many decimals as the price has, at least two: ``$0.007``, ``$1.50``."""
    exact = Decimal(str(amount)).normalize()
    return f"${exact if exact != exact.quantize(CENT) else exact.quantize(CENT):,f}"

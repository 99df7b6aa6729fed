"""What the database and the code call by a name, in words for people."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from venue_images import monitor
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

STATES: dict[str, str] = {
    "ready": "Ready",
    "off": "Off",
    "no_key": "No key",
    "not_kept": "Not kept (terms)",
    "stopped": "Stopped",
    "trying": "Trying",
    "retries_wait": "Retries wait",
}

POLICIES: dict[str, str] = {
    "store": "Photos are stored",
    "hotlink": "Photos are shown from their own addresses",
    "none": "Photos are not kept",
}

CENT = Decimal("0.01")
MINUTE, HOUR, DAY = 60, 3600, 86400


def of_error(error_type: str) -> str:
    """The error type in words; an unknown one as it is, made readable."""
    return ERRORS.get(error_type) or error_type.replace("_", " ").capitalize()


def of_class(error_class: str) -> str:
    return CLASSES.get(error_class, "unknown")


def of_state(state: str) -> str:
    """A provider's or another service's state in a word or two."""
    return STATES.get(state) or state.replace("_", " ").capitalize()


def of_service(service: str) -> str:
    """What a circuit's service is called on the page: the provider's title, the host, or the storage."""
    kind, _, name = service.partition(":")
    return {"provider": monitor.title_of(name), "host": name}.get(kind, "The storage")


def of_policy(policy: str) -> str:
    return POLICIES.get(policy, policy)


def count(number: int, noun: str) -> str:
    """``1 image``, ``1,200 images``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def wait(moment: datetime, now: datetime) -> str:
    """How long it is until then, in the largest unit that fits: ``now``, ``in 12 seconds``, ``in 3 hours``."""
    seconds = round((moment - now).total_seconds())
    if seconds <= 0:
        return "now"
    sizes = {"day": DAY, "hour": HOUR, "minute": MINUTE, "second": 1}
    unit = next(unit for unit, size in sizes.items() if seconds >= size)
    return f"in {count(round(seconds / sizes[unit]), unit)}"


def usd(amount: float | Decimal) -> str:
    """US dollars with as many decimals as the price has, at least two: ``$0.007``, ``$1.50``."""
    exact = Decimal(str(amount)).normalize()
    return f"${exact if exact != exact.quantize(CENT) else exact.quantize(CENT):,f}"


def sum_usd(amount: float | Decimal) -> str:
    """US dollars that many prices add up to: ``$0.084``, from one dollar on to the cent."""
    exact = Decimal(str(amount))
    return usd(round(exact, 2) if exact >= 1 else exact)

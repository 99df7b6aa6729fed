"""Turns the image records of the replaced system into rows that keep their state.

No row is lost for a small fault: what can't be understood (a size, a count, a status code) becomes "not known", an
error word that is not ours becomes the type of its HTTP status or ``unknown_error`` and stays in the message, and an
address that nothing can be downloaded from makes the row ``permanently_failed`` with ``invalid_provider_url``. Only a
record that says nothing to keep is refused: no provider, no known status, no address at all, or stored nowhere.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from venue_images import photo_urls
from venue_images.errors import ErrorType, error_type_of_status
from venue_images.models import FAILING, UploadStatus, VenueImage
from venue_images.providers.catalog import Catalog

LARGEST_COUNT = 2**15 - 1
LARGEST_SIZE = 2**31 - 1
MAX_MESSAGE_LENGTH = 500
ERROR_WORDS = frozenset(ErrorType)
#: The part of a URL in a text that may hold a key.
QUERY = re.compile(r"(https?://[^\s?]+)\?[^\s\"'<>]*")


def _number_or(default: int | None, low: int, high: int) -> BeforeValidator:
    """Anything but a whole number in these bounds is not known."""

    def validate(value: Any) -> int | None:
        known = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return value if known else default

    return BeforeValidator(validate)


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _details(value: Any) -> Any:
    return value if isinstance(value, dict) else {}


Text = Annotated[str, BeforeValidator(_text)]
Size = Annotated[int | None, _number_or(None, 1, LARGEST_SIZE)]


class ErrorDetails(BaseModel):
    error_type: Text = ""
    status_code: Annotated[int | None, _number_or(None, 100, 599)] = None
    message: Text = ""


class OldRecord(BaseModel):
    """One entry of ``venue_images``."""

    model_config = ConfigDict(str_strip_whitespace=True)

    provider: str = Field(min_length=1, max_length=50)
    upload_status: Literal["pending", "uploading", "uploaded", "failed", "permanently_failed", "hotlinked"]
    provider_url: Text = ""
    #: Where the stored image is shown.
    url: Text = ""
    storage_key: Text = ""
    retry_count: Annotated[int, _number_or(0, 0, LARGEST_COUNT)] = 0
    error_details: Annotated[ErrorDetails, BeforeValidator(_details)] = ErrorDetails()
    width: Size = None
    height: Size = None
    attribution: Text = ""
    licence: Text = ""

    def clean(self, url: str) -> str:
        return photo_urls.clean(url, own=self.provider == Catalog.info.name)


@dataclass(frozen=True)
class Source:
    """Where the photo comes from; ``problem`` tells why nothing can be downloaded from there."""

    url: str
    url_hash: str
    problem: str = ""


def image_of(record: Any) -> VenueImage:
    """The row, without a venue; raises :class:`ValueError` for a record that can't be kept."""
    old = OldRecord.model_validate(record)
    source = _source(old)
    return VenueImage(
        provider=old.provider,
        provider_url=source.url,
        url_hash=source.url_hash,
        host="" if source.problem else photo_urls.host_of(source.url),
        retry_count=old.retry_count,
        width=old.width,
        height=old.height,
        attribution=old.attribution,
        licence=old.licence,
        **_state(old, source),
    )


def _source(old: OldRecord) -> Source:
    given = old.provider_url or old.url
    if not given:
        raise ValueError("provider_url: is missing; expected the address of the photo")
    problem = ""
    for url in filter(None, (old.provider_url, old.url)):
        try:
            cleaned = old.clean(url)
        except photo_urls.InvalidUrlError as error:
            problem = problem or str(error)
        else:
            return Source(cleaned, photo_urls.url_hash(cleaned))
    return Source(photo_urls.shorten(given), hashlib.sha256(given.encode()).hexdigest()[:16], problem)


def _state(old: OldRecord, source: Source) -> dict[str, Any]:
    status = UploadStatus.FAILED if old.upload_status == "uploading" else UploadStatus(old.upload_status)
    if status == UploadStatus.UPLOADED:
        return {"upload_status": status, "url": _stored_url(old), "storage_key": old.storage_key}
    if source.problem:
        return {
            "upload_status": UploadStatus.PERMANENTLY_FAILED,
            "error_type": str(ErrorType.INVALID_PROVIDER_URL),
            "error_message": source.problem,
        }
    if old.upload_status == "uploading":
        return {"upload_status": status, "error_type": str(ErrorType.WORKER_LOST)}
    if status in FAILING:
        return {"upload_status": status, **_failure(old.error_details)}
    return {"upload_status": status, "url": source.url if status == UploadStatus.HOTLINKED else ""}


def _stored_url(old: OldRecord) -> str:
    if not old.url and not old.storage_key:
        raise ValueError("url: is missing; an uploaded record needs the address of the stored image")
    try:
        return old.clean(old.url) if old.url else ""
    except photo_urls.InvalidUrlError as error:
        if old.storage_key:
            return ""
        raise ValueError(f"url: {error}") from None


def _failure(details: ErrorDetails) -> dict[str, Any]:
    word = details.error_type
    if word in ERROR_WORDS:
        error_type, foreign_word = ErrorType(word), ""
    elif details.status_code:
        error_type, foreign_word = error_type_of_status(details.status_code), word
    else:
        error_type, foreign_word = ErrorType.UNKNOWN_ERROR, word
    message = QUERY.sub(r"\1", ": ".join(filter(None, (foreign_word, details.message))))
    return {
        "error_type": str(error_type),
        "error_message": message[:MAX_MESSAGE_LENGTH],
        "http_status": details.status_code,
    }

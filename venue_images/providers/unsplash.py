"""``unsplash``: good photos of a topic, found by text. Free; they have to be shown from Unsplash's own addresses.

Its terms also want a call for each photo that is used (``report_path``), apart from any download.
https://help.unsplash.com/en/collections/1463188-unsplash-api
"""

from __future__ import annotations

import re
import time
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, OnErrorOmit, ValidationError

from venue_images import photo_urls
from venue_images.conf import provider_setting
from venue_images.errors import ErrorType, ProviderError
from venue_images.providers.base import (
    ApiAnswer,
    Photo,
    PlainProvider,
    ProviderApi,
    ProviderInfo,
    VenueRecord,
    plain_text,
)

BASE_URL = "https://api.unsplash.com"
#: 1600 pixels wide and never enlarged.
SIZE = "w=1600&fit=max&fm=jpg&q=80"
#: What the terms want on links to Unsplash.
REFERRAL = "utm_source=venue_images&utm_medium=referral"
#: The only calls that a photo may ask for.
REPORT = re.compile(r"/photos/[\w-]+/download(\?.*)?", re.ASCII)
#: Refusals that explain themselves in a body of Unsplash's own.
REFUSALS: dict[int, ErrorType] = {
    HTTPStatus.BAD_REQUEST: ErrorType.HTTP_ERROR,
    HTTPStatus.UNAUTHORIZED: ErrorType.PROVIDER_KEY,
    HTTPStatus.FORBIDDEN: ErrorType.PROVIDER_KEY,
    HTTPStatus.NOT_FOUND: ErrorType.NOT_FOUND,
}
LIMIT_STATUS = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS})
HOUR = 3600
MAX_REASON = 200


class Urls(BaseModel):
    raw: str = Field(pattern=r"^https?://")


class Links(BaseModel):
    html: str = Field(pattern=r"^https?://")
    download_location: str = ""


class User(BaseModel):
    name: str


class Result(BaseModel):
    """One photo, as far as it is of use; without author and page it may not be shown."""

    id: str
    urls: Urls
    links: Links
    user: User
    width: int | None = None
    height: int | None = None


class Found(BaseModel):
    results: list[OnErrorOmit[Result]]


class Unsplash(PlainProvider):
    info = ProviderInfo(
        name="unsplash",
        code="us",
        title="Unsplash",
        base_url=BASE_URL,
        needs_key=True,
        storage_policy="hotlink",
        terms="Unsplash wants its photos shown from its own addresses, so that it can count the views.",
        terms_url="https://help.unsplash.com/en/articles/2511271-guideline-hotlinking-images",
        # Its photos fit the topic but seldom show the venue itself: the owner decides whether that is good enough.
        active=False,
        priority=80,
        limit_per_hour=50,
    )

    async def list_photos(self, venue: VenueRecord, api: ProviderApi) -> list[Photo]:
        query = {"query": f"{venue.name} {venue.city}".strip(), "per_page": "10", "orientation": "landscape"}
        answer = await api.get_json("/search/photos", params=query, headers=_headers())
        try:
            found = Found.model_validate(answer).results
        except ValidationError:
            message = "Unsplash answered with something that is no list of photos."
            raise ProviderError(ErrorType.UNKNOWN_ERROR, message) from None
        return [self._photo(result) for result in found]

    async def report(self, path: str, api: ProviderApi) -> None:
        await api.get_json(path, headers=_headers())

    def api_error(self, answer: ApiAnswer) -> ProviderError | None:
        if answer.status in LIMIT_STATUS and _is_used_up(answer):
            message = "Unsplash has had all the requests that it allows in this hour."
            wait = HOUR - time.time() % HOUR
            return ProviderError(ErrorType.RATE_LIMITED, message, http_status=answer.status, retry_after=wait)
        reason = _reason(answer.data)
        if reason and answer.status in REFUSALS:
            message = f"Unsplash answered {answer.status}: {reason}."
            return ProviderError(REFUSALS[answer.status], message, http_status=answer.status)
        return None

    def _photo(self, result: Result) -> Photo:
        return Photo(
            provider=self.info.name,
            url=_with_query(result.urls.raw, SIZE),
            photo_id=result.id,
            width=result.width,
            height=result.height,
            attribution=f"{result.user.name} on Unsplash",
            licence="Unsplash License",
            page_url=_with_query(result.links.html, REFERRAL),
            report_path=_report_path(result.links.download_location),
        )


def _headers() -> dict[str, str]:
    key = provider_setting("unsplash", "API_KEY") or ""
    return {"Authorization": f"Client-ID {key}", "Accept-Version": "v1"}


def _with_query(url: str, query: str) -> str:
    """The URL with more parameters; those that it has stay, Unsplash counts views by them."""
    return f"{url}{'&' if '?' in url else '?'}{query}"


def _report_path(location: str) -> str:
    """Path and query of the call for a photo that is used; empty when the link leads anywhere but to this API."""
    try:
        url = photo_urls.clean(plain_text(location))
    except photo_urls.InvalidUrlError:
        return ""
    paths = (_below(base, url) for base in (provider_setting("unsplash", "BASE_URL"), BASE_URL) if base)
    return next((path for path in paths if REPORT.fullmatch(path)), "")


def _below(base: str, url: str) -> str:
    """What follows the base URL; empty when the URL belongs to another host."""
    try:
        is_own = photo_urls.host_of(base) == photo_urls.host_of(url)
        prefix = urlsplit(base).path.rstrip("/")
    except ValueError:
        return ""
    parts = urlsplit(url)
    path = parts.path.removeprefix(prefix)
    return f"{path}?{parts.query}".rstrip("?") if is_own else ""


def _is_used_up(answer: ApiAnswer) -> bool:
    """Whether the refusal is about the hourly limit; the text is no JSON."""
    return "rate limit exceeded" in answer.text.lower() or answer.headers.get("X-Ratelimit-Remaining") == "0"


def _reason(data: Any) -> str:
    """The text of ``{"errors": ["…"]}``."""
    errors = data.get("errors") if isinstance(data, dict) else None
    texts = [plain_text(error) for error in errors] if isinstance(errors, list) else []
    return "; ".join(text for text in texts if text)[:MAX_REASON].rstrip(".")

"""``yelp``: the photos of a business at Yelp. Metered: every call counts against a paid plan, searches too.

Photos are bare addresses without size or author. https://docs.developer.yelp.com/reference/v3_business_info
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from venue_images.conf import provider_setting
from venue_images.errors import ErrorType, ProviderError
from venue_images.providers.base import (
    ApiAnswer,
    Billing,
    Photo,
    PlaceCandidate,
    PlainProvider,
    ProviderApi,
    ProviderInfo,
    VenueRecord,
    items_of,
    plain_text,
)

MOST_PLACES = 5
#: Seconds to wait after too many calls in one second.
ONE_SECOND = 1.0
#: What is left of the day, for all calls and for those of one kind.
REMAINING = ("RateLimit-Remaining", "RateLimit-ResourceRemaining")
#: What Yelp says of a business that it does not show, or not under this id.
NO_BUSINESS = {
    "BUSINESS_UNAVAILABLE": "shows this business no more",
    "BUSINESS_NOT_FOUND": "does not know this business",
    "BUSINESS_MIGRATED": "has moved this business to another id",
}


class Yelp(PlainProvider):
    info = ProviderInfo(
        name="yelp",
        code="yp",
        title="Yelp",
        base_url="https://api.yelp.com",
        needs_key=True,
        metered=True,
        storage_policy="none",
        terms="Yelp's terms let its content be cached for 24 hours at most, which is no storing.",
        terms_url="https://docs.developer.yelp.com/docs/places-faq",
        priority=40,
        limit_per_second=5,
        limit_per_day=300,
    )

    async def find_places(self, venue: VenueRecord, api: ProviderApi) -> list[PlaceCandidate]:
        """Businesses around the venue's coordinates; none without them, as no name alone is sure."""
        if venue.latitude is None or venue.longitude is None:
            return []
        spot = {"latitude": str(venue.latitude), "longitude": str(venue.longitude)}
        found = await api.get_json(
            "/v3/businesses/search",
            params={"term": venue.name, **spot, "limit": str(MOST_PLACES)},
            headers=_headers(),
            billing=Billing.CALL,
        )
        return [_candidate(business) for business in items_of(found, "businesses")]

    async def list_photos(self, venue: VenueRecord, api: ProviderApi) -> list[Photo]:
        business_id = venue.provider_ids.get(self.info.name)
        if not business_id:
            return []
        path = f"/v3/businesses/{quote(business_id, safe='')}"
        business = await api.get_json(path, headers=_headers(), billing=Billing.CALL)
        if not isinstance(business, dict):
            raise ProviderError(ErrorType.UNKNOWN_ERROR, "Yelp answered with something that is no business.")
        page = _page(business)
        return [
            Photo(provider=self.info.name, url=url, attribution=self.info.title, licence="Yelp terms", page_url=page)
            for url in _addresses(business)
        ]

    def api_error(self, answer: ApiAnswer) -> ProviderError | None:
        error = answer.data.get("error") if isinstance(answer.data, dict) else None
        told = error if isinstance(error, dict) else {}
        code = plain_text(told.get("code"))
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            return _too_many(code, answer)
        if code in NO_BUSINESS:
            new_id = plain_text(told.get("new_business_id"))
            message = f"Yelp {NO_BUSINESS[code]}{new_id and ': '}{new_id}."
            return ProviderError(ErrorType.NOT_FOUND, message, http_status=answer.status)
        if answer.status == HTTPStatus.BAD_REQUEST and told.get("field") == "Authorization":
            # The rest of such an answer repeats the key, whole or in part.
            message = "Yelp answered 400: this is no key of Yelp's."
            return ProviderError(ErrorType.PROVIDER_KEY, message, http_status=answer.status)
        return None


def _headers() -> dict[str, str]:
    return {"Authorization": f"Bearer {provider_setting('yelp', 'API_KEY') or ''}"}


def _addresses(business: dict[str, Any]) -> list[str]:
    """The photos and the title picture, which is mostly one of them."""
    photos = business.get("photos")
    given = [*(photos if isinstance(photos, list) else []), business.get("image_url")]
    return [url for url in dict.fromkeys(plain_text(each) for each in given) if url]


def _page(business: dict[str, Any]) -> str:
    """The business's page, without the query, which names the caller's account."""
    page = plain_text(business.get("url")).partition("?")[0]
    return page if page.startswith("https://") else ""


def _too_many(code: str, answer: ApiAnswer) -> ProviderError | None:
    """Too many calls in a second, or in a day; None when the answer does not tell which."""
    if code == "TOO_MANY_REQUESTS_PER_SECOND":
        return _wait("Yelp answered 429: too many calls in one second.", ONE_SECOND)
    used_up = any(answer.headers.get(name, "").strip() == "0" for name in REMAINING)
    if code == "ACCESS_LIMIT_REACHED" or used_up:
        reset = answer.headers.get("RateLimit-ResetTime", "")
        return _wait("Yelp answered 429: today's calls are used up.", _seconds_until(reset, datetime.now(UTC)))
    return None


def _wait(message: str, seconds: float) -> ProviderError:
    return ProviderError(ErrorType.RATE_LIMITED, message, http_status=HTTPStatus.TOO_MANY_REQUESTS, retry_after=seconds)


def _seconds_until(reset: str, now: datetime) -> float:
    """Seconds until an ISO time, at least one and at most a day; until the next midnight UTC when it is none."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    try:
        at = datetime.fromisoformat(reset.strip())
    except ValueError:
        at = midnight
    seconds = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
    return min(max(seconds, ONE_SECOND), timedelta(days=1).total_seconds())


def _candidate(business: dict[str, Any]) -> PlaceCandidate:
    coordinates = business.get("coordinates")
    spot = coordinates if isinstance(coordinates, dict) else {}
    return PlaceCandidate(
        place_id=business.get("id") or "",
        name=business.get("name") or "",
        latitude=spot.get("latitude"),
        longitude=spot.get("longitude"),
    )

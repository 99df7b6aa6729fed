"""The twin of Yelp: a business with its photos, and the search for one.

Ids that begin with these words get Yelp's odd answers: ``unavailable``, ``moved`` and ``daily-limit``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from http.client import responses
from typing import Any

from aiohttp import web

from venue_images.sandbox.photos import PhotoPath
from venue_images.sandbox.twins import Offer, Place, Surroundings, host_for

MAX_PHOTOS = 12
FIRST_PHOTO = 801
DAILY_LIMIT = 300
NEW_ID = "sandbox-moved"

#: Yelp's codes by HTTP status, for plain failures.
CODES = {
    400: "VALIDATION_ERROR",
    401: "TOKEN_INVALID",
    403: "AUTHORIZATION_ERROR",
    404: "NOT_FOUND",
    429: "TOO_MANY_REQUESTS_PER_SECOND",
    500: "INTERNAL_ERROR",
    503: "SERVICE_UNAVAILABLE",
}


class Yelp:
    """Pretends to be ``api.yelp.com``."""

    name = "yelp"
    metered = True
    api_key = "sandbox-yelp-key"

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings

    def routes(self) -> Iterable[web.RouteDef]:
        return (
            web.get("/yelp/v3/businesses/search", self._search),
            web.get("/yelp/v3/businesses/{business}", self._business),
        )

    def photo_routes(self) -> Iterable[web.RouteDef]:
        return ()

    def environment(self, base_url: str) -> dict[str, str]:
        """The pretended photos are nobody's, so they may be kept whatever Yelp's terms say."""
        return {"YELP_BASE_URL": base_url, "YELP_API_KEY": self.api_key, "YELP_STORAGE_POLICY": "store"}

    def error_page(self, status: int) -> web.Response:
        reason = f"{responses.get(status, 'Error')} (scripted by the sandbox)."
        return _error(status, {"code": CODES.get(status, "UNKNOWN_ERROR"), "description": reason})

    def photo_path(self, place: Place, index: int) -> str:
        """Where the business's photo lies on its photo host; the first is 0."""
        return f"/bphoto/{place.slug}/{FIRST_PHOTO + index}.jpg"

    async def _business(self, request: web.Request) -> web.Response:
        self._check_key(request)
        business_id = request.match_info["business"]
        if odd := _odd_answer(business_id):
            return odd
        place = self._place(business_id)
        if place is None:
            description = "The requested business could not be found."
            return _error(404, {"code": "BUSINESS_NOT_FOUND", "description": description})
        return web.json_response(self._shape(place), headers=_allowance(DAILY_LIMIT - 1))

    async def _search(self, request: web.Request) -> web.Response:
        """Whatever is near: a search that is generous with names."""
        self._check_key(request)
        try:
            latitude, longitude = float(request.query["latitude"]), float(request.query["longitude"])
        except (KeyError, ValueError):
            description = "Please specify a location or a latitude and longitude."
            return _error(400, {"code": "VALIDATION_ERROR", "description": description})
        near = self._surroundings.offers.near(self.name, latitude, longitude)
        found = [_found(offer) for offer in near[: int(request.query.get("limit", "20"))]]
        return web.json_response({"businesses": found, "total": len(near)}, headers=_allowance(DAILY_LIMIT - 1))

    def _check_key(self, request: web.Request) -> None:
        """A header of another form is repeated in the answer, as Yelp does."""
        given = request.headers.get("Authorization", "")
        if given == f"Bearer {self.api_key}":
            return
        if given.startswith("Bearer sandbox-"):
            told = {"code": "TOKEN_INVALID", "description": "Invalid access token or authorization header."}
            raise web.HTTPUnauthorized(text=json.dumps({"error": told}), content_type="application/json")
        told = {
            "code": "VALIDATION_ERROR",
            "description": f"'{given}' is not of the form 'Bearer <key>'",
            "field": "Authorization",
            "instance": given,
        }
        raise web.HTTPBadRequest(text=json.dumps({"error": told}), content_type="application/json")

    def _place(self, business_id: str) -> Place | None:
        offer = self._surroundings.offers.by_place_id(self.name, business_id)
        return Place(business_id, offer.slug, offer.photos) if offer else self._surroundings.places.find(business_id)

    def _shape(self, place: Place) -> dict[str, Any]:
        photos = [self._photo(place, index) for index in range(min(place.photos, MAX_PHOTOS))]
        return {
            "id": place.id,
            "alias": place.slug,
            "name": PhotoPath.parse(self.photo_path(place, 0)).venue_name,
            "image_url": photos[0] if photos else "",
            "url": f"https://www.yelp.example/biz/{place.slug}?adjust_creative=account&utm_source=account",
            "photos": photos,
        }

    def _photo(self, place: Place, index: int) -> str:
        path = self.photo_path(place, index)
        return self._surroundings.photo_url(path, host=host_for(PhotoPath.parse(path), self._surroundings))


def _odd_answer(business_id: str) -> web.Response | None:
    match business_id.partition("-")[0]:
        case "unavailable":
            description = "Business information is currently unavailable."
            return _error(403, {"code": "BUSINESS_UNAVAILABLE", "description": description})
        case "moved":
            moved = {"code": "BUSINESS_MIGRATED", "description": "It has a new id.", "new_business_id": NEW_ID}
            return _error(301, moved, {"Location": f"/yelp/v3/businesses/{NEW_ID}"})
        case "daily":
            description = "You've reached the access limit for this client."
            return _error(429, {"code": "ACCESS_LIMIT_REACHED", "description": description}, _allowance(0))
    return None


def _allowance(remaining: int) -> dict[str, str]:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return {
        "RateLimit-DailyLimit": str(DAILY_LIMIT),
        "RateLimit-Remaining": str(remaining),
        "RateLimit-ResetTime": midnight.isoformat(),
    }


def _found(offer: Offer) -> dict[str, Any]:
    return {
        "id": offer.place_id or f"sandbox-{offer.slug}",
        "name": offer.name,
        "coordinates": {"latitude": offer.latitude, "longitude": offer.longitude},
    }


def _error(status: int, told: dict[str, Any], headers: dict[str, str] | None = None) -> web.Response:
    text = json.dumps({"error": told})
    return web.Response(status=status, text=text, content_type="application/json", headers=headers)

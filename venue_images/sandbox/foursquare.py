"""The twin of Foursquare Places: the photos of a place, and the search for one.

A place id that begins with ``v3-`` is told in the words of the old API; one that begins with ``no-credit`` finds the
account empty.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from http.client import responses
from typing import Any

from aiohttp import web

from venue_images.sandbox.photos import PhotoPath
from venue_images.sandbox.twins import Offer, Place, Surroundings, host_for

MAX_PHOTOS = 50
FIRST_PHOTO = 201
#: Every second photo is told to be this much larger than what is delivered.
LARGE_SCALE = 2
API_VERSION = "2025-06-17"
OLD_WORDS = "v3-"
EMPTY_ACCOUNT = "no-credit"


class Foursquare:
    """Pretends to be ``places-api.foursquare.com``."""

    name = "foursquare"
    metered = True
    api_key = "sandbox-foursquare-service-key"

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings

    def routes(self) -> Iterable[web.RouteDef]:
        return (
            web.get("/foursquare/places/search", self._search),
            web.get("/foursquare/places/{place}/photos", self._photos),
        )

    def photo_routes(self) -> Iterable[web.RouteDef]:
        return ()

    def environment(self, base_url: str) -> dict[str, str]:
        """The pretended photos are nobody's, so they may be kept whatever Foursquare's terms say."""
        return {
            "FOURSQUARE_BASE_URL": base_url,
            "FOURSQUARE_API_KEY": self.api_key,
            "FOURSQUARE_STORAGE_POLICY": "store",
        }

    def error_page(self, status: int) -> web.Response:
        return _error(status, f"{responses.get(status, 'Error')} (scripted by the sandbox).")

    def photo_path(self, place: Place, index: int) -> str:
        """Where the place's photo lies on its photo host, whatever the size before it; the first is 0."""
        return f"/{place.slug}/{FIRST_PHOTO + index}.jpg"

    async def _photos(self, request: web.Request) -> web.Response:
        self._check(request)
        place_id = request.match_info["place"]
        if place_id.startswith(EMPTY_ACCOUNT):
            return _error(429, "Your account has no API credits remaining.")
        place = self._place(place_id)
        if place is None:
            return _error(404, f"No place has the id {place_id}.")
        limit = min(int(request.query.get("limit", "10")), MAX_PHOTOS, place.photos)
        return web.json_response([self._photo(place, index) for index in range(limit)])

    async def _search(self, request: web.Request) -> web.Response:
        """Whatever is near: a search that is generous with names."""
        self._check(request)
        try:
            latitude, longitude = map(float, request.query["ll"].split(","))
        except (KeyError, ValueError):
            return _error(400, "Value for ll is invalid, expecting latitude,longitude.")
        near = self._surroundings.offers.near(self.name, latitude, longitude)
        found = [_place_shape(offer) for offer in near[: int(request.query.get("limit", "10"))]]
        return web.json_response({"results": found, "context": {}})

    def _check(self, request: web.Request) -> None:
        if request.headers.get("Authorization") != f"Bearer {self.api_key}":
            raise web.HTTPUnauthorized(text=_error_text("Invalid request token."), content_type="application/json")
        if request.headers.get("X-Places-Api-Version") != API_VERSION:
            message = "Invalid or missing X-Places-Api-Version header."
            raise web.HTTPBadRequest(text=_error_text(message), content_type="application/json")

    def _place(self, place_id: str) -> Place | None:
        offer = self._surroundings.offers.by_place_id(self.name, place_id)
        if offer:
            return Place(place_id, offer.slug, offer.photos)
        found = self._surroundings.places.find(place_id.removeprefix(OLD_WORDS))
        return found and Place(place_id, found.slug, found.photos)

    def _photo(self, place: Place, index: int) -> dict[str, Any]:
        path = self.photo_path(place, index)
        photo = PhotoPath.parse(path)
        width, height = self._surroundings.photos.size(photo)
        scale = LARGE_SCALE if index % 2 else 1
        photo_id = "id" if place.id.startswith(OLD_WORDS) else "fsq_photo_id"
        return {
            photo_id: f"5f{place.slug}{index}",
            "created_at": f"2024-01-{index % 28 + 1:02}T20:00:00.000Z",
            "prefix": self._surroundings.photo_url("img/general/", host=host_for(photo, self._surroundings)),
            "suffix": path,
            "width": width * scale,
            "height": height * scale,
            "classifications": ["indoor" if index % 2 else "outdoor"],
        }


def _place_shape(offer: Offer) -> dict[str, Any]:
    place_id = offer.place_id or f"sandbox-{offer.slug}"
    spot = {"latitude": offer.latitude, "longitude": offer.longitude}
    if place_id.startswith(OLD_WORDS):
        return {"fsq_id": place_id, "name": offer.name, "geocodes": {"main": spot}}
    return {"fsq_place_id": place_id, "name": offer.name, **spot, "link": f"/places/{place_id}"}


def _error(status: int, message: str) -> web.Response:
    return web.Response(status=status, text=_error_text(message), content_type="application/json")


def _error_text(message: str) -> str:
    return json.dumps({"message": message})

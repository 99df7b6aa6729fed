"""The twin of Google Places (New): Details with photos, and the address of one photo."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from http.client import responses
from typing import Any

from aiohttp import web

from venue_images.sandbox.photos import PhotoPath
from venue_images.sandbox.twins import Offer, Place, Surroundings, host_for

MAX_PHOTOS = 10
MAX_PIXELS = 4800
#: Google states the size of the original; what it delivers is smaller.
ORIGINAL_SCALE = 2
#: So that the photos are others than the ones the catalogue lists itself.
FIRST_PHOTO = 101
AUTHORS = ("Ana Ruiz", "Jonas Weber", "Mei Tanaka", "Tom Okafor", "Lucie Novak", "Sam Carter")
FIELDS = frozenset({"name", "id", "displayName", "photos"})

#: google.rpc.Code by HTTP status; the first of several is the one that fits a plain failure.
STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class GooglePlaces:
    """Pretends to be ``places.googleapis.com``."""

    name = "google_places"
    metered = True
    api_key = "AIza-sandbox-google-places"

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._generation = 0

    def routes(self) -> Iterable[web.RouteDef]:
        return (
            web.post("/google_places/v1/places:searchText", self._search),
            web.get("/google_places/v1/places/{place}", self._details),
            web.get("/google_places/v1/places/{place}/photos/{photo}/media", self._media),
        )

    def photo_routes(self) -> Iterable[web.RouteDef]:
        return ()

    def environment(self, base_url: str) -> dict[str, str]:
        """The pretended photos are nobody's, so they may be kept whatever Google's terms say."""
        return {
            "GOOGLE_PLACES_BASE_URL": base_url,
            "GOOGLE_PLACES_API_KEY": self.api_key,
            "GOOGLE_PLACES_STORAGE_POLICY": "store",
        }

    def error_page(self, status: int) -> web.Response:
        reason = responses.get(status, "Error")
        return _error(status, f"{reason} (scripted by the sandbox).")

    def expire_photo_names(self) -> None:
        """Make every photo name handed out so far a stale one, as Google does when it likes."""
        self._generation += 1

    def photo_name(self, place: Place, index: int) -> str:
        """``places/…/photos/…`` of the place's photo; the first is 0."""
        seed = f"{self._surroundings.seed}:{self._generation}:{place.id}:{index}"
        return f"places/{place.id}/photos/{hashlib.sha256(seed.encode()).hexdigest()[:40]}"

    def photo_path(self, place: Place, index: int) -> str:
        """Where the place's photo lies on its photo host; the first is 0."""
        return f"/{place.slug}/{FIRST_PHOTO + index}.jpg"

    async def _details(self, request: web.Request) -> web.Response:
        self._check_key(request)
        mask = request.headers.get("X-Goog-FieldMask") or request.query.get("fields") or ""
        wanted = {part.strip().split(".")[0] for part in mask.split(",") if part.strip()}
        if not wanted:
            return _error(400, "FieldMask is a required parameter. See the documentation on how to provide it.")
        if not wanted <= FIELDS | {"*"}:
            unknown = ", ".join(sorted(wanted - FIELDS))
            return _error(400, f"Error expanding 'fields' parameter. Cannot find matching fields for path '{unknown}'.")
        place = self._place(request)
        return web.json_response({key: value for key, value in self._shape(place).items() if wanted & {key, "*"}})

    async def _search(self, request: web.Request) -> web.Response:
        """The offers whose name is in the text; their ids have to be places, such as ``sandbox-<venue-slug>``."""
        self._check_key(request)
        if not request.headers.get("X-Goog-FieldMask"):
            return _error(400, "FieldMask is a required parameter. See the documentation on how to provide it.")
        asked = await request.json()
        found = self._surroundings.offers.by_text(self.name, asked.get("textQuery", ""))
        if not found:
            return web.json_response({})
        return web.json_response({"places": [_found(offer) for offer in found[: asked.get("pageSize", 20)]]})

    async def _media(self, request: web.Request) -> web.Response:
        self._check_key(request)
        if not _has_valid_maximum(request):
            return _error(400, f"Set max_width_px or max_height_px to a number from 1 to {MAX_PIXELS}.")
        place = self._place(request)
        name = f"places/{place.id}/photos/{request.match_info['photo']}"
        names = [self.photo_name(place, index) for index in range(_offered(place))]
        if name not in names:
            message = "The photo resource in the request is invalid. Please retrieve it from Places API endpoints."
            return _error(400, message)
        uri = self._photo_uri(place, names.index(name))
        if request.query.get("skipHttpRedirect") == "true":
            return web.json_response({"name": f"{name}/media", "photoUri": uri})
        return web.Response(status=302, headers={"Location": uri})

    def _check_key(self, request: web.Request) -> None:
        given = request.headers.get("X-Goog-Api-Key") or request.query.get("key")
        if given == self.api_key:
            return
        message = (
            "The provided API key is not valid for this project."
            if given
            else "Method doesn't allow unregistered callers (callers without established identity)."
        )
        raise web.HTTPForbidden(text=_error_text(403, message), content_type="application/json")

    def _place(self, request: web.Request) -> Place:
        place = self._surroundings.places.find(request.match_info["place"])
        if place is None:
            message = "The Place ID is no longer valid. Please refresh cached Place IDs."
            raise web.HTTPNotFound(text=_error_text(404, message), content_type="application/json")
        return place

    def _shape(self, place: Place) -> dict[str, Any]:
        first = PhotoPath.parse(self.photo_path(place, 0))
        shape: dict[str, Any] = {
            "name": f"places/{place.id}",
            "id": place.id,
            "displayName": {"text": first.venue_name, "languageCode": "en"},
        }
        if place.photos:
            shape["photos"] = [self._photo(place, index) for index in range(_offered(place))]
        return shape

    def _photo(self, place: Place, index: int) -> dict[str, Any]:
        width, height = self._surroundings.photos.size(PhotoPath.parse(self.photo_path(place, index)))
        author = AUTHORS[(len(place.slug) + index) % len(AUTHORS)]
        profile = f"//maps.google.example/maps/contrib/{100 + index}"
        return {
            "name": self.photo_name(place, index),
            "widthPx": width * ORIGINAL_SCALE,
            "heightPx": height * ORIGINAL_SCALE,
            "authorAttributions": [
                {"displayName": author, "uri": profile, "photoUri": f"//avatars.google.example/{100 + index}"}
            ],
            "flagContentUri": f"https://www.google.example/local/imagery/report/?image_key={index}",
            "googleMapsUri": f"https://www.google.example/maps/place/{place.id}/photo/{index}",
        }

    def _photo_uri(self, place: Place, index: int) -> str:
        path = self.photo_path(place, index)
        uri = self._surroundings.photo_url(path, host=host_for(PhotoPath.parse(path), self._surroundings))
        lifetime = self._surroundings.photo_uri_lifetime
        return uri if lifetime is None else f"{uri}?expires={time.time() + lifetime:.3f}"


def _found(offer: Offer) -> dict[str, Any]:
    place: dict[str, Any] = {"id": offer.place_id, "displayName": {"text": offer.name, "languageCode": "en"}}
    if offer.latitude is not None:
        place["location"] = {"latitude": offer.latitude, "longitude": offer.longitude}
    return place


def _offered(place: Place) -> int:
    return min(place.photos, MAX_PHOTOS)


def _has_valid_maximum(request: web.Request) -> bool:
    given = [request.query[name] for name in ("maxWidthPx", "maxHeightPx") if name in request.query]
    return bool(given) and all(value.isdecimal() and 1 <= int(value) <= MAX_PIXELS for value in given)


def _error(status: int, message: str) -> web.Response:
    return web.Response(status=status, text=_error_text(status, message), content_type="application/json")


def _error_text(status: int, message: str) -> str:
    return json.dumps({"error": {"code": status, "message": message, "status": STATUS_NAMES.get(status, "UNKNOWN")}})

"""The twin of Mapillary: photos in a box of coordinates, one photo by its id, and addresses that expire."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable
from http.client import responses
from typing import Any

from aiohttp import web

from venue_images.sandbox.photos import PhotoPath
from venue_images.sandbox.twins import Offer, Surroundings, host_for

#: So that the photos are others than those of the other providers.
FIRST_PHOTO = 701
#: Square degrees; a larger box is refused.
LARGEST_BOX = 0.01
#: Code and type of the API's errors by HTTP status.
CODES = {
    200: (2, "OAuthException"),
    400: (100, "MLYApiException"),
    401: (190, "OAuthException"),
    403: (10, "OAuthException"),
    429: (4, "OAuthException"),
    500: (1, "OAuthException"),
    503: (2, "OAuthException"),
}
USERS = ("streetwalker", "cycle_south", "mapper_42")


class Mapillary:
    """Pretends to be ``graph.mapillary.com``. Scripted to answer 200, it answers 200 with an error inside."""

    name = "mapillary"
    metered = False
    api_key = "MLY|1|sandbox-mapillary-token"

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._known: dict[str, str] = {}

    def routes(self) -> Iterable[web.RouteDef]:
        return (
            web.get("/mapillary/images", self._search),
            web.get(r"/mapillary/{id:\d+}", self._image),
        )

    def photo_routes(self) -> Iterable[web.RouteDef]:
        return ()

    def environment(self, base_url: str) -> dict[str, str]:
        return {"MAPILLARY_BASE_URL": base_url, "MAPILLARY_API_KEY": self.api_key}

    def error_page(self, status: int) -> web.Response:
        return _error(status, f"{responses.get(status, 'Error')} (scripted by the sandbox)")

    async def _search(self, request: web.Request) -> web.Response:
        if not self._has_key(request):
            return _bad_token()
        try:
            west, south, east, north = (float(degrees) for degrees in request.query.get("bbox", "").split(","))
        except ValueError:
            return _error(400, "Invalid parameter: bbox has to be minLon,minLat,maxLon,maxLat")
        if not 0 < (east - west) * (north - south) < LARGEST_BOX:
            return _error(400, "Invalid parameter: the box is too large")
        found = [
            self._shape(f"/{offer.slug}/{FIRST_PHOTO + index}.jpg", request)
            for offer in self._offers_in(west, south, east, north)
            for index in range(offer.photos)
        ]
        return web.json_response({"data": found[: int(request.query.get("limit", 100))]})

    async def _image(self, request: web.Request) -> web.Response:
        if not self._has_key(request):
            return _bad_token()
        path = self._known.get(request.match_info["id"])
        if path is None:
            message = "Unsupported get request. The object does not exist or can't be loaded"
            return _error(400, message, error_subcode=33)
        return web.json_response(self._shape(path, request))

    def _has_key(self, request: web.Request) -> bool:
        return request.headers.get("Authorization") == f"OAuth {self.api_key}"

    def _offers_in(self, west: float, south: float, east: float, north: float) -> list[Offer]:
        latitude, longitude = (south + north) / 2, (west + east) / 2
        reach = max(east - west, north - south) / 2
        return [
            offer
            for offer in self._surroundings.offers.near(self.name, latitude, longitude, reach)
            if south <= (offer.latitude or 0) <= north and west <= (offer.longitude or 0) <= east
        ]

    def _shape(self, path: str, request: web.Request) -> dict[str, Any]:
        """The image with the fields that were asked for, and its id."""
        photo = PhotoPath.parse(path)
        width, height = self._surroundings.photos.size(photo)
        image_id = str(zlib.crc32(path.encode()))
        self._known[image_id] = path
        shape = {
            "captured_at": 1_700_000_000_000 + photo.number,
            "is_pano": False,
            "width": width,
            "height": height,
            "thumb_2048_url": self._thumb_url(photo, path),
            "creator": {"username": USERS[photo.number % len(USERS)], "id": str(photo.number)},
        }
        wanted = request.query.get("fields", "").split(",")
        return {"id": image_id, **{name: value for name, value in shape.items() if name in wanted}}

    def _thumb_url(self, photo: PhotoPath, path: str) -> str:
        url = self._surroundings.photo_url(path, host=host_for(photo, self._surroundings))
        lifetime = self._surroundings.photo_uri_lifetime
        return url if lifetime is None else f"{url}?expires={time.time() + lifetime:.3f}"


def _bad_token() -> web.Response:
    """The real one says 400 where others say 401."""
    return _error(400, "Invalid OAuth access token", code=190, type="OAuthException")


def _error(status: int, message: str, **more: Any) -> web.Response:
    code, kind = CODES.get(status, (1, "OAuthException"))
    error = {"message": message, "type": kind, "code": code, "fbtrace_id": "Asandbox", **more}
    return web.json_response({"error": error}, status=status)

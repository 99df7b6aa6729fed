"""The twin of Pexels: a search by text."""

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
FIRST_PHOTO = 601
#: Pexels states the size of the original; ``large2x`` is smaller.
ORIGINAL_SCALE = 2
DEFAULT_PAGE, MAX_PAGE = 15, 80
PHOTOGRAPHERS = ("Dana Whitfield", "Marco Bellini", "Aiko Mori", "Jan de Boer")
SIZES = {
    "large2x": "auto=compress&cs=tinysrgb&dpr=2&h=650&w=940",
    "large": "auto=compress&cs=tinysrgb&h=650&w=940",
    "medium": "auto=compress&cs=tinysrgb&h=350",
    "small": "auto=compress&cs=tinysrgb&h=130",
    "portrait": "auto=compress&cs=tinysrgb&fit=crop&h=1200&w=800",
    "landscape": "auto=compress&cs=tinysrgb&fit=crop&h=627&w=1200",
    "tiny": "auto=compress&cs=tinysrgb&dpr=1&fit=crop&h=200&w=280",
}


class Pexels:
    """Pretends to be ``api.pexels.com``."""

    name = "pexels"
    metered = False
    api_key = "sandbox-pexels-key"

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings

    def routes(self) -> Iterable[web.RouteDef]:
        return (web.get("/pexels/v1/search", self._search),)

    def photo_routes(self) -> Iterable[web.RouteDef]:
        return ()

    def environment(self, base_url: str) -> dict[str, str]:
        return {"PEXELS_BASE_URL": base_url, "PEXELS_API_KEY": self.api_key}

    def error_page(self, status: int) -> web.Response:
        return _error(status, f"{responses.get(status, 'Error')} (scripted by the sandbox)")

    async def _search(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != self.api_key:
            return _error(401, "The key is missing or not known")
        found = [
            self._photo(offer, FIRST_PHOTO + index)
            for offer in self._surroundings.offers.by_text(self.name, request.query.get("query", ""))
            for index in range(offer.photos)
        ]
        size = min(int(request.query.get("per_page", DEFAULT_PAGE)), MAX_PAGE)
        return web.json_response(
            {"page": 1, "per_page": size, "total_results": len(found), "photos": found[:size]}, headers=_limits()
        )

    def _photo(self, offer: Offer, number: int) -> dict[str, Any]:
        path = f"/{offer.slug}/{number}.jpg"
        photo = PhotoPath.parse(path)
        width, height = self._surroundings.photos.size(photo)
        original = self._surroundings.photo_url(path, host=host_for(photo, self._surroundings))
        photo_id = zlib.crc32(path.encode())
        photographer = PHOTOGRAPHERS[number % len(PHOTOGRAPHERS)]
        return {
            "id": photo_id,
            "width": width * ORIGINAL_SCALE,
            "height": height * ORIGINAL_SCALE,
            "url": f"https://www.pexels.example/photo/{offer.slug}-{photo_id}/",
            "photographer": photographer,
            "photographer_url": f"https://www.pexels.example/@{number}",
            "photographer_id": number,
            "avg_color": "#2E2A28",
            "src": {"original": original, **{name: f"{original}?{query}" for name, query in SIZES.items()}},
            "liked": False,
            "alt": "A dimly lit room",
        }


def _limits() -> dict[str, str]:
    """Sent with good answers only."""
    reset = str(int(time.time()) + 3600)
    return {"X-Ratelimit-Limit": "20000", "X-Ratelimit-Remaining": "19684", "X-Ratelimit-Reset": reset}


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)

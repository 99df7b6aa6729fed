"""The twin of Unsplash: a search by text, and the call that tells of a photo's use."""

from __future__ import annotations

from collections.abc import Iterable
from http.client import responses
from typing import Any

from aiohttp import web

from venue_images.sandbox.photos import PhotoPath
from venue_images.sandbox.twins import Offer, Surroundings, host_for

#: So that the photos are others than those of the other providers.
FIRST_PHOTO = 501
#: Unsplash states the size of the original; what it delivers is smaller.
ORIGINAL_SCALE = 3
DEFAULT_PAGE, MAX_PAGE = 10, 30
#: Requests an hour of a demo key.
LIMIT = 50
LIMIT_STATUS = frozenset({403, 429})
AUTHORS = ("Clara Benson", "Luis Ortega", "Noor Haddad", "Erik Lund")


class Unsplash:
    """Pretends to be ``api.unsplash.com``; ``hits("/unsplash/photos/<id>/download")`` tells how often a use was told."""

    name = "unsplash"
    metered = False
    api_key = "sandbox-unsplash-key"

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings

    def routes(self) -> Iterable[web.RouteDef]:
        return (
            web.get("/unsplash/search/photos", self._search),
            web.get("/unsplash/photos/{id}/download", self._download),
        )

    def photo_routes(self) -> Iterable[web.RouteDef]:
        return ()

    def environment(self, base_url: str) -> dict[str, str]:
        return {"UNSPLASH_BASE_URL": base_url, "UNSPLASH_API_KEY": self.api_key}

    def error_page(self, status: int) -> web.Response:
        """Both statuses of a used-up hour come as plain text, as they do from the real one."""
        if status in LIMIT_STATUS:
            return _limited(web.Response(status=status, text="Rate Limit Exceeded"), remaining=0)
        return _error(status, f"{responses.get(status, 'Error')} (scripted by the sandbox)")

    def photo_id(self, slug: str, index: int) -> str:
        """The id of the venue's photo; the first is 0."""
        return f"{slug}-{FIRST_PHOTO + index}"

    async def _search(self, request: web.Request) -> web.Response:
        if not self._has_key(request):
            return _error(401, "OAuth error: The access token is invalid")
        found = [
            self._photo(offer, index, str(request.url.origin()))
            for offer in self._surroundings.offers.by_text(self.name, request.query.get("query", ""))
            for index in range(offer.photos)
        ]
        size = min(int(request.query.get("per_page", DEFAULT_PAGE)), MAX_PAGE)
        shape = {"total": len(found), "total_pages": -(-len(found) // size), "results": found[:size]}
        return _limited(web.json_response(shape), remaining=LIMIT - 1)

    async def _download(self, request: web.Request) -> web.Response:
        if not self._has_key(request):
            return _error(401, "OAuth error: The access token is invalid")
        slug, _, number = request.match_info["id"].rpartition("-")
        offer = self._surroundings.offers.by_slug(self.name, slug)
        index = int(number) - FIRST_PHOTO if number.isdecimal() else -1
        if offer is None or index not in range(offer.photos):
            return _error(404, "Couldn't find Photo")
        return _limited(web.json_response({"url": self._raw_url(slug, index)}), remaining=LIMIT - 1)

    def _has_key(self, request: web.Request) -> bool:
        return request.headers.get("Authorization") == f"Client-ID {self.api_key}"

    def _raw_url(self, slug: str, index: int) -> str:
        path = f"/{slug}/{FIRST_PHOTO + index}.jpg"
        url = self._surroundings.photo_url(path, host=host_for(PhotoPath.parse(path), self._surroundings))
        return f"{url}?ixid=M3w{index}&ixlib=rb-4.0.3"

    def _photo(self, offer: Offer, index: int, api: str) -> dict[str, Any]:
        width, height = self._surroundings.photos.size(PhotoPath.parse(f"/{offer.slug}/{FIRST_PHOTO + index}.jpg"))
        raw = self._raw_url(offer.slug, index)
        author = AUTHORS[index % len(AUTHORS)]
        username = author.lower().replace(" ", "")
        photo_id = self.photo_id(offer.slug, index)
        page = f"https://unsplash.example/photos/{photo_id}"
        return {
            "id": photo_id,
            "created_at": "2023-04-05T06:07:08Z",
            "width": width * ORIGINAL_SCALE,
            "height": height * ORIGINAL_SCALE,
            "color": "#262626",
            "blur_hash": "LEHV6nWB2yk8pyo0adR*.7kCMdnj",
            "description": None,
            "alt_description": "people in a dark room",
            "urls": {
                "raw": raw,
                "full": f"{raw}&q=85",
                "regular": f"{raw}&w=1080",
                "small": f"{raw}&w=400",
                "thumb": f"{raw}&w=200",
            },
            "links": {
                "self": f"{api}/unsplash/photos/{photo_id}",
                "html": page,
                "download": f"{page}/download?ixid=M3w{index}",
                "download_location": f"{api}/unsplash/photos/{photo_id}/download?ixid=M3w{index}",
            },
            "user": {
                "id": f"u{index}",
                "username": username,
                "name": author,
                "links": {"html": f"https://unsplash.example/@{username}"},
            },
        }


def _limited(response: web.Response, *, remaining: int) -> web.Response:
    response.headers.update({"X-Ratelimit-Limit": str(LIMIT), "X-Ratelimit-Remaining": str(remaining)})
    return response


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"errors": [message]}, status=status)

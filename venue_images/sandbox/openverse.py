"""The twin of Openverse: a search by text, and one image by its id; no key is needed."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from http.client import responses
from typing import Any

from aiohttp import web

from venue_images.sandbox.photos import PhotoPath
from venue_images.sandbox.twins import Offer, Surroundings, host_for

#: So that the photos are others than those of the other providers.
FIRST_PHOTO = 401
STRANGE_PHOTO = 499
MAX_ANONYMOUS_PAGE = 20
#: Seconds that a client with too many requests is told to wait.
PAUSE = 42
LICENCES = (("by-sa", "2.0"), ("cc0", "1.0"), ("by", "4.0"), ("pdm", "1.0"))
CREATORS = ("Ines Duarte", "Piotr Zielinski", "Hana Suzuki")


class Openverse:
    """Pretends to be ``api.openverse.org``.

    Two oddities of the real one: the last result of every search has the words of the search in its description alone
    and shows something else, and of each venue's photos every third one has no size.
    """

    name = "openverse"
    metered = False
    api_key = "sandbox-openverse-token"

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._items: dict[str, dict[str, Any]] = {}

    def routes(self) -> Iterable[web.RouteDef]:
        return (
            web.get("/openverse/v1/images/", self._search),
            web.get("/openverse/v1/images/{id}/", self._image),
        )

    def photo_routes(self) -> Iterable[web.RouteDef]:
        return ()

    def environment(self, base_url: str) -> dict[str, str]:
        return {"OPENVERSE_BASE_URL": base_url}

    def error_page(self, status: int) -> web.Response:
        """A 429 tells only in its text how long to wait."""
        if status == web.HTTPTooManyRequests.status_code:
            return _error(status, f"Request was throttled. Expected available in {PAUSE} seconds.")
        return _error(status, f"{responses.get(status, 'Error')} (scripted by the sandbox).")

    async def _search(self, request: web.Request) -> web.Response:
        refusal = self._refusal(request)
        if refusal:
            return refusal
        found = [
            self._item(offer, number)
            for offer in self._surroundings.offers.by_text(self.name, request.query.get("q", ""))
            for number in (*range(FIRST_PHOTO, FIRST_PHOTO + offer.photos), STRANGE_PHOTO)
        ]
        size = int(request.query.get("page_size", MAX_ANONYMOUS_PAGE))
        self._items |= {item["id"]: item for item in found[:size]}
        shape = {"result_count": len(found), "page_count": 1, "page_size": size, "page": 1, "results": found[:size]}
        return web.json_response(shape)

    async def _image(self, request: web.Request) -> web.Response:
        item = self._items.get(request.match_info["id"])
        return self._refusal(request) or (web.json_response(item) if item else _error(404, "Not found."))

    def _refusal(self, request: web.Request) -> web.Response | None:
        """The real one answers 401 for a page that only clients with a key may have."""
        token = request.headers.get("Authorization")
        if token is None and int(request.query.get("page_size", 1)) > MAX_ANONYMOUS_PAGE:
            return _error(401, f"Ensure this value is less than or equal to {MAX_ANONYMOUS_PAGE}.")
        if token not in (None, f"Bearer {self.api_key}"):
            return _error(401, "Authentication credentials were not provided.")
        return None

    def _item(self, offer: Offer, number: int) -> dict[str, Any]:
        photo = PhotoPath.parse(f"/{offer.slug}/{number}.jpg")
        image_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{offer.slug}/{number}"))
        strange = number == STRANGE_PHOTO
        title = "A shop window" if strange else f"{offer.name} at night, {number - FIRST_PHOTO + 1}"
        creator = CREATORS[number % len(CREATORS)]
        licence, version = LICENCES[number % len(LICENCES)]
        width, height = (None, None) if number % 3 == 0 else self._surroundings.photos.size(photo)
        page = f"https://photos.example/{offer.slug}/{number}"
        return {
            "id": image_id,
            "title": title,
            "indexed_on": "2024-05-06T07:08:09Z",
            "foreign_landing_url": page,
            "url": self._surroundings.photo_url(f"/{offer.slug}/{number}.jpg", host_for(photo, self._surroundings)),
            "creator": creator,
            "creator_url": f"https://photos.example/people/{number}",
            "license": licence,
            "license_version": version,
            "license_url": f"https://creativecommons.org/licenses/{licence}/{version}/",
            "provider": "flickr",
            "source": "flickr",
            "category": "photograph",
            "filesize": None,
            "filetype": "jpg",
            "tags": [{"name": "street" if strange else "nightlife", "accuracy": None}],
            "attribution": f'"{title}" by {creator} is licensed under {licence.upper()} {version}.',
            "fields_matched": ["description"] if strange else ["title"],
            "mature": False,
            "width": width,
            "height": height,
            "thumbnail": f"https://api.openverse.example/v1/images/{image_id}/thumb/",
            "detail_url": f"https://api.openverse.example/v1/images/{image_id}/",
            "related_url": f"https://api.openverse.example/v1/images/{image_id}/related/",
        }


def _error(status: int, detail: str) -> web.Response:
    return web.json_response({"detail": detail}, status=status)

"""The twin of HERE: places by name, and what a place is called elsewhere. It has no photos.

An id that begins with ``here:`` and has no place behind it does not exist; any other unknown one is not understood.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from http.client import responses
from typing import Any

from aiohttp import web

from venue_images.sandbox.twins import Offer, Surroundings

PLACE_ID = "here:pds:place:"
#: Others than Yelp are none of our providers.
SUPPLIERS = ("tripadvisor", "yelp")


class Here:
    """Pretends to be ``discover.search.hereapi.com`` and ``lookup.search.hereapi.com``."""

    name = "here"
    metered = False
    api_key = "sandbox-here-key"

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings

    def routes(self) -> Iterable[web.RouteDef]:
        return (web.get("/here/v1/discover", self._discover), web.get("/here/v1/lookup", self._lookup))

    def photo_routes(self) -> Iterable[web.RouteDef]:
        return ()

    def environment(self, base_url: str) -> dict[str, str]:
        return {"HERE_BASE_URL": base_url, "HERE_LOOKUP_BASE_URL": base_url, "HERE_API_KEY": self.api_key}

    def error_page(self, status: int) -> web.Response:
        return _refusal(status, "Scripted by the sandbox.")

    async def _discover(self, request: web.Request) -> web.Response:
        """Whatever is near, and the street that it is in."""
        self._check_key(request)
        try:
            latitude, longitude = map(float, request.query["at"].split(","))
        except (KeyError, ValueError):
            return _illegal("at", request)
        near = self._surroundings.offers.near(self.name, latitude, longitude)
        items = [item for offer in near for item in (_item(offer), _street(offer))]
        return web.json_response({"items": items[: int(request.query.get("limit", "20"))]})

    async def _lookup(self, request: web.Request) -> web.Response:
        self._check_key(request)
        place_id = request.query.get("id", "")
        slug = self._slug(place_id)
        if slug is None:
            return _refusal(404, "No such place.") if place_id.startswith("here:") else _illegal("id", request)
        references = [{"supplier": {"id": supplier}, "id": f"sandbox-{slug}"} for supplier in SUPPLIERS]
        return web.json_response({"id": place_id, "title": slug, "resultType": "place", "references": references})

    def _slug(self, place_id: str) -> str | None:
        offer = self._surroundings.offers.by_place_id(self.name, place_id)
        place = self._surroundings.places.find(place_id.removeprefix(PLACE_ID))
        found = offer or place
        return found.slug if found else None

    def _check_key(self, request: web.Request) -> None:
        if request.query.get("apiKey") != self.api_key:
            told = {"error": "Unauthorized", "error_description": "apiKey invalid. apiKey not found."}
            raise web.HTTPUnauthorized(text=json.dumps(told), content_type="application/json")


def _item(offer: Offer) -> dict[str, Any]:
    return {
        "title": offer.name,
        "id": offer.place_id or f"{PLACE_ID}sandbox-{offer.slug}",
        "resultType": "place",
        "position": {"lat": offer.latitude, "lng": offer.longitude},
    }


def _street(offer: Offer) -> dict[str, Any]:
    position = {"lat": offer.latitude, "lng": offer.longitude}
    return {"title": offer.name, "id": f"here:af:street:{offer.slug}", "resultType": "street", "position": position}


def _refusal(status: int, description: str) -> web.Response:
    told = {"error": responses.get(status, "Error"), "error_description": description}
    return web.json_response(told, status=status)


def _illegal(parameter: str, request: web.Request) -> web.Response:
    """HERE's word for a question that it does not understand; it repeats what it was asked."""
    title = f"Illegal input for parameter '{parameter}'"
    cause = f"Actual parameter value: '{request.query.get(parameter, '')}', request: {request.path_qs}"
    return web.json_response({"status": 400, "title": title, "code": "E605001", "cause": cause}, status=400)

"""The twin of Geoapify: the search for a place, and what OpenStreetMap links it to.

The search finds what was added with ``sandbox.offer("geoapify", …)``. Every place is linked to what Wikimedia Commons
offers of the same slug: to its item at Wikidata (the offer's ``place_id``) and its category. The places of ``ODD_PLACES``
have odd links.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http.client import responses
from typing import Any

from aiohttp import web

from venue_images.sandbox.twins import Offer, Surroundings

MOST_RESULTS = 20
#: ``wiki_and_media`` by place id.
ODD_PLACES: Mapping[str, Any] = {
    "odd-web-page": {"image": "https://www.venue.example/gallery.html"},
    "odd-http-image": {"image": "http://photos.venue.example/front.jpg"},
    "odd-words": {"wikidata": "Q12;Q13", "wikimedia_commons": "see the web site", "image": "none"},
    "odd-nothing": {},
    "odd-null": None,
    "odd-file-title": {"image": "File:Venue front.jpg"},
    "odd-file-page": {"image": "https://commons.wikimedia.org/wiki/File:Venue_front.jpg"},
    "odd-original": {"image": "https://upload.wikimedia.org/wikipedia/commons/3/3f/Venue_front.jpg"},
    "odd-thumb": {
        "image": "https://upload.wikimedia.org/wikipedia/commons/thumb/3/3f/Venue_front.jpg/640px-Venue_front.jpg"
    },
}


class Geoapify:
    """Pretends to be ``api.geoapify.com``."""

    name = "geoapify"
    metered = False
    api_key = "sandbox-geoapify-key"

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings

    def routes(self) -> Iterable[web.RouteDef]:
        return (
            web.get("/geoapify/v1/geocode/search", self._search),
            web.get("/geoapify/v2/place-details", self._details),
        )

    def photo_routes(self) -> Iterable[web.RouteDef]:
        return ()

    def environment(self, base_url: str) -> dict[str, str]:
        return {"GEOAPIFY_BASE_URL": base_url, "GEOAPIFY_API_KEY": self.api_key}

    def error_page(self, status: int) -> web.Response:
        return _error(status, f"{responses.get(status, 'Error')} (scripted by the sandbox).")

    async def _search(self, request: web.Request) -> web.Response:
        self._check_key(request)
        text = request.query.get("text", "")
        if not text:
            return _error(400, '"text" is required')
        found = self._surroundings.offers.by_text(self.name, text)
        limit = min(int(request.query.get("limit", "5")), MOST_RESULTS)
        return _features(_found(offer) for offer in found[:limit])

    async def _details(self, request: web.Request) -> web.Response:
        """The building around the place comes first, the place itself last."""
        self._check_key(request)
        place_id = request.query.get("id", "")
        if not place_id:
            return _error(400, '"id" is required')
        if place_id in ODD_PLACES:
            return _features([{"feature_type": "details", "wiki_and_media": ODD_PLACES[place_id]}])
        slug = self._slug(place_id)
        if slug is None:
            return _features([])
        building = {"feature_type": "building", "place_id": "b", "wiki_and_media": {"wikidata": "Q41176"}}
        return _features([building, self._place(place_id, slug)])

    def _check_key(self, request: web.Request) -> None:
        given = request.query.get("apiKey")
        if given != self.api_key:
            message = f"Invalid apiKey: {given}" if given else "Missing apiKey"
            raise web.HTTPUnauthorized(text=_error_text(401, message), content_type="application/json")

    def _slug(self, place_id: str) -> str | None:
        known = self._surroundings.offers.by_place_id(self.name, place_id) or self._surroundings.places.find(place_id)
        return known.slug if known else None

    def _place(self, place_id: str, slug: str) -> dict[str, Any]:
        shape = {"feature_type": "details", "place_id": place_id, "name": slug, "datasource": {"sourcename": "osm"}}
        offer = self._surroundings.offers.by_slug("wikimedia_commons", slug)
        if offer is None:
            return shape
        links = {"wikidata": offer.place_id, "wikimedia_commons": f"Category:Sandbox {slug.replace('_', ' ')}"}
        return shape | {"wiki_and_media": {name: link for name, link in links.items() if link}}


def _found(offer: Offer) -> dict[str, Any]:
    """A place without a name or coordinates does not have the keys."""
    shape = {
        "place_id": offer.place_id or f"sandbox-{offer.slug}",
        "name": offer.name or None,
        "lat": offer.latitude,
        "lon": offer.longitude,
        "result_type": "amenity",
        "rank": {"confidence": 1, "match_type": "full_match"},
    }
    return {key: value for key, value in shape.items() if value is not None}


def _features(properties: Iterable[Mapping[str, Any]]) -> web.Response:
    features = [{"type": "Feature", "properties": each, "geometry": None} for each in properties]
    return web.json_response({"type": "FeatureCollection", "features": features})


def _error(status: int, message: str) -> web.Response:
    return web.Response(status=status, text=_error_text(status, message), content_type="application/json")


def _error_text(status: int, message: str) -> str:
    return json.dumps({"statusCode": status, "error": responses.get(status, "Error"), "message": message})

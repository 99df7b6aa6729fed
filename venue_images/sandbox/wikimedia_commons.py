"""The twin of Wikimedia Commons and Wikidata: files near a place, in a category, by title, and an item's claims.

The photos of ``sandbox.offer("wikimedia_commons", …)`` are the files ``File:Sandbox <slug> 301.jpg`` and following, in
``Category:Sandbox <slug>``; the offer's ``place_id`` is the venue's item at Wikidata, which names the first file. In
``Category:Sandbox oddities`` are files that are odd in the ways of ``ODDITIES``. A fault with the status 200 is an error
inside of a success.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web

from venue_images.place_matching import metres_between
from venue_images.sandbox import photo_host
from venue_images.sandbox.commons_files import File, Files
from venue_images.sandbox.twins import Offer, Surroundings

THUMB_WIDTHS = frozenset({20, 40, 60, 120, 250, 330, 500, 960, 1280, 1920, 3840})
WRONG_WIDTH = "Use thumbnail sizes listed on https://w.wiki/GHai"
MOST_TITLES = 50
CATEGORY = "Category:Sandbox "
THUMB_NAME = re.compile(r"(?P<width>\d{1,6})px-.+", re.ASCII)
ITEM = re.compile(r"Q[1-9]\d*", re.ASCII)
#: What libraries call themselves when nobody tells them a better name.
GENERIC_CLIENT = re.compile(r"(?:|(?:python|aiohttp|curl|wget|go-http-client|okhttp|java)\b.*)", re.IGNORECASE)


class WikimediaCommons:
    """Pretends to be ``commons.wikimedia.org``, ``www.wikidata.org`` and ``upload.wikimedia.org``."""

    name = "wikimedia_commons"
    metered = False
    api_key = ""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._files = Files(surroundings)

    def routes(self) -> Iterable[web.RouteDef]:
        return (
            web.get("/wikimedia_commons/w/api.php", self._commons),
            web.get("/wikimedia_commons/wikidata/w/api.php", self._wikidata),
        )

    def photo_routes(self) -> Iterable[web.RouteDef]:
        return (
            web.get("/wikipedia/commons/thumb/{one}/{two}/{name}/{thumb}", self._thumb),
            web.get("/wikipedia/commons/{one}/{two}/{name}", self._original),
        )

    def environment(self, base_url: str) -> dict[str, str]:
        return {"WIKIMEDIA_COMMONS_BASE_URL": base_url, "WIKIDATA_BASE_URL": f"{base_url}/wikidata"}

    def error_page(self, status: int) -> web.Response:
        """The page of the servers in front of the API, or with 200 what the API says when it is overloaded."""
        if status == HTTPStatus.OK:
            return _error("maxlag", "Waiting for a database server: 7 seconds lagged.")
        return photo_host.error_page(status)

    async def _commons(self, request: web.Request) -> web.Response:
        _check_client(request)
        query = request.query
        if query.get("action") != "query" or query.get("format") != "json" or query.get("formatversion") != "2":
            return _error("badvalue", "The sandbox knows action=query, format=json and formatversion=2.")
        match query.get("generator"):
            case "geosearch":
                return self._near(query)
            case "categorymembers":
                return self._members(query)
            case _:
                return self._by_title(query)

    def _near(self, query: Mapping[str, str]) -> web.Response:
        """What is within the radius; the order of the pages says nothing, their ``index`` does."""
        try:
            latitude, longitude = map(float, query["ggscoord"].split("|"))
        except (KeyError, ValueError):
            return _error("invalid-coord", "Invalid coordinate provided.")
        radius = min(max(int(query.get("ggsradius", "500")), 10), 10_000)
        found: list[tuple[float, File]] = []
        for offer in self._surroundings.offers.near(self.name, latitude, longitude, degrees=0.1):
            metres = metres_between(latitude, longitude, offer.latitude or 0, offer.longitude or 0)
            found += [(metres, file) for file in self._files.of(offer) if metres <= radius]
        if query.get("ggsnamespace", "0") != "6":
            found = []
        found = sorted(found, key=lambda pair: pair[0])[: int(query.get("ggslimit", "10"))]
        pages = [self._files.page(file, query) | {"index": rank} for rank, (_, file) in enumerate(found, start=-1)]
        return _result(sorted(pages, key=lambda page: page["pageid"]))

    def _members(self, query: Mapping[str, str]) -> web.Response:
        title = query.get("gcmtitle", "")
        if not title.startswith("Category:"):
            return _error("invalidcategory", "The category name you entered is not valid.")
        slug = title.removeprefix(CATEGORY).replace(" ", "_") if title.startswith(CATEGORY) else ""
        files = self._files.of_slug(slug)[: int(query.get("gcmlimit", "10"))]
        return _result([self._files.page(file, query) for file in files])

    def _by_title(self, query: Mapping[str, str]) -> web.Response:
        """The pages in an order of their own, and how the titles are spelt here."""
        asked = query.get("titles", "").split("|")
        if len(asked) > MOST_TITLES:
            return _error("toomanyvalues", f'Too many values supplied for parameter "titles": more than {MOST_TITLES}.')
        spelt = {title: title.replace("_", " ").strip() for title in asked}
        normalized = [{"fromencoded": False, "from": one, "to": other} for one, other in spelt.items() if one != other]
        pages = [self._page_of_title(title, query) for title in sorted(set(spelt.values()), reverse=True)]
        return _result(pages, {"normalized": normalized} if normalized else {})

    def _page_of_title(self, title: str, query: Mapping[str, str]) -> dict[str, Any]:
        file = self._files.find(title.removeprefix("File:")) if title.startswith("File:") else None
        return self._files.page(file, query) if file else {"ns": 6, "title": title, "missing": True}

    async def _wikidata(self, request: web.Request) -> web.Response:
        _check_client(request)
        item = request.query.get("ids", "")
        if request.query.get("action") != "wbgetentities":
            return _error("badvalue", 'Unrecognized value for parameter "action".')
        if not ITEM.fullmatch(item):
            return _error("no-such-entity", f'Could not find an entity with the ID "{item}".')
        offer = self._surroundings.offers.by_place_id(self.name, item)
        entity = {"type": "item", "id": item, "claims": self._claims(offer)} if offer else {"id": item, "missing": ""}
        return web.json_response({"entities": {item: entity}, "success": 1})

    def _claims(self, offer: Offer) -> Any:
        """Claims by property; no claims at all are a list."""
        files = self._files.of(offer)
        if not files:
            return []
        category = f"{CATEGORY}{offer.slug}".removeprefix("Category:").replace("_", " ")
        image = files[0].title.removeprefix("File:")
        return {
            "P18": [_claim("P18", "Replaced long ago.jpg", rank="deprecated"), _claim("P18", image), _no_claim("P18")],
            "P373": [_claim("P373", category)],
        }

    async def _thumb(self, request: web.Request) -> web.Response:
        _check_client(request)
        file = self._files.find(request.match_info["name"])
        match = THUMB_NAME.fullmatch(request.match_info["thumb"])
        width = int(match["width"]) if match else 0
        if file is None or request.path != file.thumb_path(width):
            return photo_host.error_page(404)
        if width not in THUMB_WIDTHS or width >= self._files.size(file)[0]:
            return web.Response(status=400, text=WRONG_WIDTH)
        return await self._photo(file)

    async def _original(self, request: web.Request) -> web.Response:
        _check_client(request)
        file = self._files.find(request.match_info["name"])
        return await self._photo(file) if file and request.path == file.path else photo_host.error_page(404)

    async def _photo(self, file: File) -> web.Response:
        body = await asyncio.to_thread(self._surroundings.photos.encoded, file.photo)
        return web.Response(body=body, content_type=file.photo.content_type)


def _check_client(request: web.Request) -> None:
    if GENERIC_CLIENT.fullmatch(request.headers.get("User-Agent", "")):
        raise web.HTTPForbidden(text="Set a User-Agent that says who you are and how to reach you.")


def _result(pages: list[dict[str, Any]], more: Mapping[str, Any] | None = None) -> web.Response:
    """A generator that finds nothing answers without a query."""
    query = {"query": {**(more or {}), "pages": pages}} if pages else {}
    return web.json_response({"batchcomplete": True, **query})


def _error(code: str, info: str) -> web.Response:
    return web.json_response({"error": {"code": code, "info": info, "docref": "See the documentation of the API."}})


def _claim(prop: str, value: str, rank: str = "normal") -> dict[str, Any]:
    snak = {"snaktype": "value", "property": prop, "datavalue": {"value": value, "type": "string"}}
    return {"mainsnak": snak, "type": "statement", "rank": rank}


def _no_claim(prop: str) -> dict[str, Any]:
    """It is known that there is none."""
    return {"mainsnak": {"snaktype": "novalue", "property": prop}, "type": "statement", "rank": "normal"}

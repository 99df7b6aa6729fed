"""A photo host: hands out pictures, knows nothing of providers and wants no key."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from http.client import responses

from aiohttp import web

from venue_images.sandbox.photos import PhotoPath, Photos


class PhotoHost:
    """Answers ``/<venue-slug>/<number>.<jpg|png|webp>``; with ``?expires=<Unix time>`` only until then."""

    def __init__(self, photos: Photos) -> None:
        self._photos = photos

    def routes(self) -> Iterable[web.RouteDef]:
        return (web.get("/{path:.*}", self._photo),)

    async def _photo(self, request: web.Request) -> web.Response:
        try:
            photo = PhotoPath.parse(request.path)
            expires = float(request.query.get("expires", "inf"))
        except ValueError:
            return error_page(404)
        if time.time() >= expires:
            return error_page(403)
        body = self._photos.made(photo)
        if body is None:
            body = await asyncio.to_thread(self._photos.encoded, photo)
        return web.Response(body=body, content_type=photo.content_type)


def error_page(status: int) -> web.Response:
    """The short page that photo hosts show instead of a photo."""
    reason = responses.get(status, "Error")
    text = f"<html><head><title>{status} {reason}</title></head><body><h1>{status} {reason}</h1></body></html>"
    return web.Response(status=status, text=text, content_type="text/html")

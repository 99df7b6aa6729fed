"""The sandbox's own addresses: other processes look at it and script it over HTTP."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from aiohttp import web

from venue_images.sandbox.faults import Fault

PREFIX = "/_sandbox/"


class Remote(Protocol):
    """What can be done from outside."""

    def state(self) -> dict[str, Any]: ...
    def script(self, path_or_url: str, fault: Fault, times: int | None = None) -> None: ...
    def reset(self) -> None: ...


class RemoteControl:
    """``GET state`` · ``POST script`` (``{"path", "fault": {"kind", …}, "times"}``) · ``POST reset``."""

    def __init__(self, sandbox: Remote) -> None:
        self._sandbox = sandbox

    def routes(self) -> Iterable[web.RouteDef]:
        return (
            web.get(f"{PREFIX}state", self._state),
            web.post(f"{PREFIX}script", self._script),
            web.post(f"{PREFIX}reset", self._reset),
        )

    async def _state(self, _request: web.Request) -> web.Response:
        return web.json_response(self._sandbox.state())

    async def _script(self, request: web.Request) -> web.Response:
        try:
            order = await request.json()
            self._sandbox.script(order["path"], Fault.from_json(order["fault"]), order.get("times"))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=400)
        return web.json_response({"scripted": order["path"]})

    async def _reset(self, _request: web.Request) -> web.Response:
        self._sandbox.reset()
        return web.json_response({"reset": True})

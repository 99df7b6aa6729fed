"""The sandbox itself: one site for the APIs, several for the photos, each on a port of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from venue_images.errors import UserError
from venue_images.sandbox import photo_host
from venue_images.sandbox.faults import Fault, FaultScript
from venue_images.sandbox.foursquare import Foursquare
from venue_images.sandbox.geoapify import Geoapify
from venue_images.sandbox.google_places import GooglePlaces
from venue_images.sandbox.here import Here
from venue_images.sandbox.hits import HIT, Hit, HitLog
from venue_images.sandbox.mapillary import Mapillary
from venue_images.sandbox.misbehaviour import misbehave
from venue_images.sandbox.openverse import Openverse
from venue_images.sandbox.pexels import Pexels
from venue_images.sandbox.photos import PhotoPath, Photos
from venue_images.sandbox.remote import PREFIX, RemoteControl
from venue_images.sandbox.strictness import Rules
from venue_images.sandbox.twins import DEFAULT_PHOTOS, Offer, Offers, Place, Places, Surroundings, Twin
from venue_images.sandbox.unsplash import Unsplash
from venue_images.sandbox.wikimedia_commons import WikimediaCommons
from venue_images.sandbox.yelp import Yelp

ADDRESS = "127.0.0.1"
DEFAULT_HOSTS = 3
BACKLOG = 1024
#: Seconds that requests under way are given when the sandbox stops.
SHUTDOWN = 0.1
#: The pretended providers.
TWINS: tuple[Callable[[Surroundings], Twin], ...] = (
    GooglePlaces,
    Foursquare,
    Here,
    Yelp,
    Mapillary,
    Openverse,
    Pexels,
    Unsplash,
    WikimediaCommons,
    Geoapify,
)


class Sandbox:
    """Pretends to be provider APIs and photo hosts, misbehaves as scripted, and counts what it is asked.

    The same seed gives the same photos. ``photo_uri_lifetime`` is in seconds; None: photo addresses never expire.
    """

    def __init__(self, seed: int = 1, *, photo_uri_lifetime: float | None = None) -> None:
        self.seed = seed
        self.photo_uri_lifetime = photo_uri_lifetime
        self.photos = Photos(seed)
        self.places = Places()
        self.offers = Offers()
        self._twins: dict[str, Twin] = {twin.name: twin for twin in (make(self) for make in TWINS)}
        self._script = FaultScript()
        self._rules = Rules()
        self._log = HitLog(tuple(twin.api_key for twin in self._twins.values() if twin.api_key))
        self._ports: list[int] = []

    @contextlib.asynccontextmanager
    async def running(self, *, hosts: int = DEFAULT_HOSTS, port: int = 0) -> AsyncIterator[Sandbox]:
        """Serve in this event loop: the APIs on ``port``, the photo hosts on the ports after it; 0: any free ones.

        Raises :class:`UserError` when a port is taken.
        """
        sockets = _listen(hosts + 1, port)
        self._ports = [bound.getsockname()[1] for bound in sockets]
        async with contextlib.AsyncExitStack() as stack:
            for bound, app in zip(sockets, self._apps(hosts), strict=True):
                stack.callback(bound.close)
                runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN, handler_cancellation=True)
                await runner.setup()
                stack.push_async_callback(runner.cleanup)
                await web.SockSite(runner, bound, backlog=BACKLOG).start()
            yield self

    @contextlib.contextmanager
    def in_thread(self, *, hosts: int = DEFAULT_HOSTS, port: int = 0) -> Iterator[Sandbox]:
        """Serve in a thread of its own, for programs without an event loop; see :meth:`running`."""
        started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        thread = threading.Thread(
            target=lambda: asyncio.run(self._serve_until_told(started, hosts, port)), name="sandbox", daemon=True
        )
        thread.start()
        try:
            loop, stop = started.result()
            try:
                yield self
            finally:
                loop.call_soon_threadsafe(stop.set)
        finally:
            thread.join()

    async def _serve_until_told(
        self, started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]], hosts: int, port: int
    ) -> None:
        stop = asyncio.Event()
        try:
            async with self.running(hosts=hosts, port=port):
                started.set_result((asyncio.get_running_loop(), stop))
                await stop.wait()
        except (UserError, OSError) as error:
            if started.done():
                raise
            started.set_exception(error)

    @property
    def google_places(self) -> GooglePlaces:
        twin = self._twins["google_places"]
        assert isinstance(twin, GooglePlaces)  # noqa: S101 - it is found under the name that it has
        return twin

    def api_url(self, provider: str) -> str:
        """What the provider's base URL has to be set to."""
        return f"http://{self._host(0)}/{self._twins[provider].name}"

    @property
    def control_url(self) -> str:
        """Where other processes look at the sandbox and script it."""
        return f"http://{self._host(0)}{PREFIX}"

    @property
    def hosts(self) -> list[str]:
        """``host:port`` of every photo host."""
        return [self._host(site) for site in range(1, len(self._ports))]

    def photo_url(self, path: str, host: int = 0) -> str:
        return f"http://{self._host(host + 1)}/{path.lstrip('/')}"

    @property
    def trusted_hosts(self) -> str:
        """The value for ``VENUE_IMAGES_TRUSTED_HOSTS``."""
        return ",".join([self._host(0), *self.hosts])

    def environment(self) -> dict[str, str]:
        """The settings that lead another process here."""
        variables = {"VENUE_IMAGES_TRUSTED_HOSTS": self.trusted_hosts}
        for twin in self._twins.values():
            variables |= twin.environment(self.api_url(twin.name))
        return variables

    def photo_bytes(self, path_or_url: str) -> bytes:
        """What a well photo host sends for this path, byte for byte."""
        return self.photos.encoded(PhotoPath.parse(path_or_url))

    def photo_size(self, path_or_url: str) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.photos.size(PhotoPath.parse(path_or_url))

    def place(self, place_id: str, *, slug: str | None = None, photos: int = DEFAULT_PHOTOS) -> Place:
        """Make or change a place of the pretended providers; ``sandbox-<venue-slug>`` exists without it."""
        return self.places.add(place_id, slug=slug, photos=photos)

    def offer(self, provider: str, slug: str, name: str, *, photos: int = 3, **facts: Any) -> Offer:
        """Let a searched provider have photos of a venue; ``facts``: latitude, longitude, place_id."""
        return self.offers.add(Offer(provider, slug, name, photos, **facts))

    def allow(self, target: str, requests: int, seconds: float, *, ban: bool = True) -> None:
        """Let a provider (by name) or a photo host (``host:port``) take so many requests in any so many seconds.

        One more is refused with 429, and with ``ban`` everything after it too; see :meth:`violations`.
        """
        self._rules.add(target, requests, seconds, ban=ban)

    def violations(self) -> dict[str, int]:
        """Requests too many, by provider or photo host; empty when every rule was kept."""
        return self._rules.violations()

    def script(self, path_or_url: str, fault: Fault, times: int | None = None) -> None:
        """Let requests to this path, this URL or, with ``*`` at the end, everything below, go wrong.

        Each address goes wrong so many times and then goes well, or takes the next fault scripted for it; None: always.
        """
        self._script.add(path_or_url, fault, times)

    def heal(self, path_or_url: str | None = None) -> None:
        """Forget the faults scripted for exactly this target; None: all of them."""
        self._script.heal(path_or_url)

    def hits(self, path_or_url: str = "*") -> list[Hit]:
        """The requests seen there, oldest first; targets as in :meth:`script`."""
        return self._log.hits(path_or_url)

    @property
    def metered_calls(self) -> dict[str, int]:
        """Requests to the metered APIs by provider, refused and failed ones too."""
        return {name: calls for name, calls in self.calls.items() if self._twins[name].metered}

    @property
    def calls(self) -> dict[str, int]:
        """Requests to the APIs by provider, refused and failed ones too."""
        return self._log.calls

    def reset_counters(self) -> None:
        """Forget the requests seen; the faults stay."""
        self._log.reset()

    def reset(self) -> None:
        """Forget the requests seen and the faults."""
        self.reset_counters()
        self.heal()

    def state(self) -> dict[str, Any]:
        """Where it is and what it has seen, as JSON."""
        hits = self._log.counts()
        return {
            "apis": {name: self.api_url(name) for name in self._twins},
            "hosts": self.hosts,
            "environment": self.environment(),
            "calls": self.calls,
            "metered_calls": self.metered_calls,
            "violations": self.violations(),
            "requests": sum(hits.values()),
            "hits": hits,
        }

    def _host(self, site: int) -> str:
        if not self._ports:
            raise RuntimeError("the sandbox has no address before it runs")
        return f"{ADDRESS}:{self._ports[site]}"

    def _apps(self, hosts: int) -> Iterator[web.Application]:
        routes = [route for twin in self._twins.values() for route in twin.routes()]
        yield self._app(0, [*routes, *RemoteControl(self).routes()], self._twins)
        own_ways = [route for twin in self._twins.values() for route in twin.photo_routes()]
        for host in range(hosts):
            yield self._app(host + 1, [*own_ways, *photo_host.PhotoHost(self.photos).routes()], {})

    def _app(self, site: int, routes: Iterable[web.RouteDef], twins: Mapping[str, Twin]) -> web.Application:
        app = web.Application(middlewares=[self._watch(site, twins)])
        app.on_response_prepare.append(_note_status)
        app.add_routes(routes)
        return app

    def _watch(self, site: int, twins: Mapping[str, Twin]) -> Middleware:
        """Note every request, and let it go wrong when the script says so."""

        @web.middleware
        async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
            if site == 0 and request.path.startswith(PREFIX):
                return await handler(request)
            request[HIT] = self._log.note(request, self._host(site))
            twin = twins.get(request.path.split("/")[1])
            if twin:
                self._log.note_call(twin.name)
            error_page = twin.error_page if twin else photo_host.error_page
            if not self._rules.allow(twin.name if twin else self._host(site)):
                return error_page(429)
            fault = self._script.take(self._ports[site], request.path)
            if fault is None:
                return await handler(request)
            return await misbehave(fault, request, handler, error_page)

        return watch


async def _note_status(request: web.Request, response: web.StreamResponse) -> None:
    hit = request.get(HIT)
    if hit and request.transport and not request.transport.is_closing():
        hit.status = response.status


def _listen(count: int, port: int) -> list[socket.socket]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(_listen_on(port + site if port else 0)) for site in range(count)]
        stack.pop_all()
    return sockets


def _listen_on(port: int) -> socket.socket:
    try:
        return socket.create_server((ADDRESS, port), backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else "there is no such port"
        raise UserError(f"The sandbox can't use port {port}: {reason}. Choose another one.") from None

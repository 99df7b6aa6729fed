"""What the sandbox has seen: every request, and how many of them an API would have charged for."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from aiohttp import web

from venue_images.photo_urls import SECRET_PARAMETERS
from venue_images.sandbox.faults import Target

KEPT_HEADERS = ("Accept", "Range", "Referer", "User-Agent", "X-Goog-FieldMask")
KEY_HEADERS = ("Authorization", "Proxy-Authorization", "Cookie", "X-Goog-Api-Key", "X-Api-Key")


@dataclass
class Hit:
    """One request, as the sandbox saw it."""

    #: ``host:port`` of the site that was asked.
    host: str
    method: str
    path: str
    query: str
    headers: dict[str, str]
    #: An API key or another credential came with it, in a header or in the query.
    carried_key: bool
    #: When it came: for distances, and for comparing with other clocks.
    monotonic: float = field(default_factory=time.monotonic)
    wall: float = field(default_factory=time.time)
    #: None: no status was sent (yet).
    status: int | None = None

    @property
    def port(self) -> int:
        return int(self.host.rpartition(":")[2])


HIT = web.RequestKey("hit", Hit)


class HitLog:
    """Every request since the last reset; safe to read from another thread."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._secrets = secrets
        self._lock = threading.Lock()
        self._hits: defaultdict[str, list[Hit]] = defaultdict(list)
        self._calls: Counter[str] = Counter()

    def note(self, request: web.Request, host: str) -> Hit:
        hit = Hit(
            host=host,
            method=request.method,
            path=request.path,
            query=request.query_string,
            headers={name: request.headers[name] for name in KEPT_HEADERS if name in request.headers},
            carried_key=self._carries_key(request),
        )
        with self._lock:
            self._hits[hit.path].append(hit)
        return hit

    def note_call(self, provider: str) -> None:
        with self._lock:
            self._calls[provider] += 1

    def hits(self, path_or_url: str) -> list[Hit]:
        """The requests to this path, this URL or, with ``*`` at the end, everything below; oldest first."""
        target = Target.parse(path_or_url)
        with self._lock:
            paths = list(self._hits) if target.many else [target.path]
            seen = [hit for path in paths for hit in self._hits.get(path, ()) if target.covers(hit.port, path)]
        return sorted(seen, key=lambda hit: hit.monotonic)

    def counts(self) -> dict[str, int]:
        """Requests by ``host:port/path``."""
        with self._lock:
            return dict(Counter(f"{hit.host}{hit.path}" for hits in self._hits.values() for hit in hits))

    @property
    def calls(self) -> dict[str, int]:
        with self._lock:
            return dict(self._calls)

    def reset(self) -> None:
        with self._lock:
            self._hits.clear()
            self._calls.clear()

    def _carries_key(self, request: web.Request) -> bool:
        names = {name.lower() for name, _ in parse_qsl(request.query_string, keep_blank_values=True)}
        sent = " ".join((request.raw_path, *request.headers.values()))
        return bool(
            names & SECRET_PARAMETERS
            or any(name in request.headers for name in KEY_HEADERS)
            or any(secret in sent for secret in self._secrets)
        )

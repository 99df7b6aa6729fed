"""What can go wrong on purpose: the words for it, and the script of which address suffers from what, how often."""

from __future__ import annotations

import email.utils
import itertools
import math
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any
from urllib.parse import unquote, urlsplit

MEBIBYTE = 1024 * 1024


class FaultKind(StrEnum):
    #: Answer with ``status``, and ``retry_after`` if given.
    STATUS = "status"
    #: Answer well, but only after ``delay``.
    DELAY = "delay"
    #: Close the connection without an answer.
    DROP = "drop"
    #: Reset the connection in the middle of the body.
    RESET = "reset"
    #: Close the connection before the promised length is reached.
    SHORT_BODY = "short_body"
    #: Promise half of what is then sent.
    WRONG_LENGTH = "wrong_length"
    #: 200 and ``image/jpeg``, but the body is a web page.
    HTML = "html"
    #: 200 and ``image/jpeg``, but there is no body.
    EMPTY = "empty"
    #: The first half of the photo, honestly declared.
    CORRUPT = "corrupt"
    #: Noise that calls itself ``image/jpeg``.
    GARBAGE = "garbage"
    #: Right, but only ``chunk`` bytes every ``interval`` seconds.
    DRIP = "drip"
    #: A body that never ends.
    ENDLESS = "endless"
    #: A body of ``size`` bytes, with its length declared.
    TOO_LARGE = "too_large"
    #: A body of ``size`` bytes, its length not declared.
    TOO_LARGE_UNDECLARED = "too_large_undeclared"
    #: A tiny PNG whose header claims 50,000 × 50,000 pixels.
    TOO_MANY_PIXELS = "too_many_pixels"
    #: Send the client to ``location`` with ``status`` 302, or another one.
    REDIRECT = "redirect"
    #: ``status`` 403, 404 or 410 once ``after`` seconds have passed since the scripting; well until then.
    EXPIRED = "expired"
    #: The right body, called ``text/plain``.
    WRONG_TYPE = "wrong_type"
    #: 200 with JSON that says something went wrong.
    ERROR_JSON = "error_json"


DEFAULT_STATUS: dict[str, int] = {FaultKind.REDIRECT: 302, FaultKind.EXPIRED: 403}


@dataclass(frozen=True)
class Fault:
    """One way to misbehave; times in seconds, sizes in bytes. ``delay`` goes before any kind of answer."""

    #: A :class:`FaultKind`, or its plain word.
    kind: str
    status: int = 0
    #: A number is sent as seconds or, with ``retry_after_date``, as the HTTP-date so far away; a text as it stands.
    retry_after: float | str | None = None
    retry_after_date: bool = False
    delay: float = 0
    location: str = ""
    after: float = 0
    chunk: int = 1024
    interval: float = 0.1
    size: int = 64 * MEBIBYTE

    def __post_init__(self) -> None:
        if self.kind not in list(FaultKind):
            raise ValueError(f"there is no fault {self.kind!r}; known: {', '.join(FaultKind)}")
        object.__setattr__(self, "status", self.status or DEFAULT_STATUS.get(self.kind, 0))
        problem = self._problem()
        if problem:
            raise ValueError(f"fault {self.kind}: {problem}")

    def _problem(self) -> str:
        if self.kind in (FaultKind.STATUS, FaultKind.EXPIRED) and self.status not in range(200, 600):
            return "needs a status from 200 to 599"
        if self.kind == FaultKind.REDIRECT and not self.location:
            return "needs a location"
        if self.kind == FaultKind.DELAY and self.delay <= 0:
            return "needs a delay in seconds"
        if self.chunk < 1 or self.size < 1 or min(self.delay, self.interval, self.after) < 0:
            return "chunk and size start at 1, times at 0"
        return ""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Fault:
        """Raises ValueError for anything that is no fault."""
        unknown = set(data) - {field.name for field in fields(cls)}
        if unknown or "kind" not in data:
            raise ValueError(f"a fault has a kind; unknown: {', '.join(sorted(unknown)) or 'nothing'}")
        try:
            return cls(**data)
        except TypeError as error:
            raise ValueError(f"fault {data['kind']}: {error}") from None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def headers(self) -> dict[str, str]:
        """The headers that this fault adds to its answer."""
        if self.retry_after is None:
            return {}
        if isinstance(self.retry_after, str):
            return {"Retry-After": self.retry_after}
        if self.retry_after_date:
            moment = math.ceil(time.time() + self.retry_after)
            return {"Retry-After": email.utils.formatdate(moment, usegmt=True)}
        return {"Retry-After": f"{self.retry_after:g}"}


@dataclass(frozen=True)
class Target:
    """An address or several: a path on every site, a URL on its own, each with or without ``*`` at the end.

    The query does not count. Sites differ in their port alone.
    """

    path: str
    port: int | None = None

    @classmethod
    def parse(cls, path_or_url: str) -> Target:
        parts = urlsplit(path_or_url)
        path = unquote(parts.path)
        if not path.startswith(("/", "*")):
            path = f"/{path}"
        return cls(path, (parts.port or 80) if parts.netloc else None)

    @property
    def many(self) -> bool:
        return self.path.endswith("*")

    def covers(self, port: int, path: str) -> bool:
        if self.port not in (None, port):
            return False
        return path.startswith(self.path[:-1]) if self.many else path == self.path


@dataclass(frozen=True)
class _Scripted:
    target: Target
    fault: Fault
    times: int | None
    since: float
    suffered: Counter[tuple[int, str]]


class FaultScript:
    """Which address suffers from what: the faults of an address come one after the other, then it is well.

    What is scripted for one path goes before what is scripted for many.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._one: defaultdict[str, list[_Scripted]] = defaultdict(list)
        self._many: list[_Scripted] = []

    def add(self, path_or_url: str, fault: Fault, times: int | None) -> None:
        """Each address that the target covers suffers so many times; None: always."""
        if times is not None and times < 1:
            raise ValueError("times starts at 1; None is always")
        scripted = _Scripted(Target.parse(path_or_url), fault, times, time.monotonic(), Counter())
        with self._lock:
            (self._many if scripted.target.many else self._one[scripted.target.path]).append(scripted)

    def heal(self, path_or_url: str | None = None) -> None:
        """Forget what was scripted with exactly this target; None: everything."""
        target = Target.parse(path_or_url) if path_or_url is not None else None
        with self._lock:
            for book in (self._many, *self._one.values()):
                book[:] = [scripted for scripted in book if target not in (None, scripted.target)]

    def take(self, port: int, path: str) -> Fault | None:
        """The fault that this request suffers from, counted; None when it shall go well."""
        with self._lock:
            for scripted in itertools.chain(self._one.get(path, ()), self._many):
                if scripted.target.covers(port, path) and _due(scripted, (port, path)):
                    scripted.suffered[port, path] += 1
                    return scripted.fault
        return None


def _due(scripted: _Scripted, address: tuple[int, str]) -> bool:
    if scripted.times is not None and scripted.suffered[address] >= scripted.times:
        return False
    return scripted.fault.kind != FaultKind.EXPIRED or time.monotonic() - scripted.since >= scripted.fault.after

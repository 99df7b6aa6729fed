"""The sandbox's photos, drawn ahead by several processes: on demand, one by one, they would take half a minute."""

from __future__ import annotations

import functools
import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Self

from venue_images.sandbox.photos import PhotoPath, Photos


class DrawnPhotos(Photos):
    """Photos that are drawn before they are asked for; the others when they are."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        # Not forked: a copy of a process with threads may hold locks for ever.
        self._pool = ProcessPoolExecutor(
            mp_context=multiprocessing.get_context("spawn"), initializer=_ignore_interrupts
        )
        self._seed = seed
        self._drawn: dict[PhotoPath, Future[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def begin(self, paths: Sequence[str]) -> None:
        """Start drawing these."""
        photos = [PhotoPath.parse(path) for path in paths]
        self._drawn |= {
            photo: self._pool.submit(_draw, self._seed, photo) for photo in photos if photo not in self._drawn
        }

    def wait(self, tell: Callable[[int, int], None]) -> None:
        """Until all are drawn; ``tell`` is told how many of how many are."""
        for number, drawn in enumerate(list(self._drawn.values()), start=1):
            drawn.result()
            tell(number, len(self._drawn))
        self._pool.shutdown()

    def made(self, photo: PhotoPath) -> bytes | None:
        drawn = self._drawn.get(photo)
        return drawn.result() if drawn and drawn.done() else super().made(photo)

    def encoded(self, photo: PhotoPath) -> bytes:
        drawn = self._drawn.get(photo)
        return drawn.result() if drawn else super().encoded(photo)


@functools.cache
def _photos(seed: int) -> Photos:
    return Photos(seed)


def _draw(seed: int, photo: PhotoPath) -> bytes:
    return _photos(seed).encoded(photo)


def _ignore_interrupts() -> None:
    """Ctrl-C is for the process that owns the pool."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

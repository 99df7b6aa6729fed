"""Turns at something that only so many may use at once, over all processes: leased by the process, handed out in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable

from venue_images.errors import Held

#: Seconds between two looks whether another process has given back what is wanted here.
ASK_AGAIN = 0.25
#: Seconds after which one that waited in vain may come back.
COME_BACK = 5.0

#: How many this process may have from now on, of those that it wants; so many are in use.
Lease = Callable[[int, int], Awaitable[int]]


class Turns:
    """The turns of one process. A lease that fails with :class:`Held` fails all who wait."""

    def __init__(self, lease: Lease, refusal: str) -> None:
        self._lease = lease
        self._refusal = refusal
        self._leased, self._in_use = 0, 0
        #: What others may believe that this process has, at most.
        self._recorded = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._leasing = asyncio.Lock()
        self._asking: asyncio.Task[None] | None = None

    @property
    def in_use(self) -> int:
        return self._in_use

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @contextlib.asynccontextmanager
    async def turn(self, patience: float) -> AsyncIterator[None]:
        """Hold one turn. Raises :class:`Held` when none came within ``patience`` seconds."""
        await self._wait(patience)
        try:
            yield
        finally:
            self._in_use -= 1
            self._hand_out()

    async def give_back(self) -> None:
        """Return what is leased and not used."""
        if self._recorded > self._in_use and not self._queue:
            await self._ask(self._in_use)

    async def _wait(self, patience: float) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(place)
        self._hand_out()
        if not place.done() and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self._ask_while_wanted())
        try:
            async with asyncio.timeout(patience):
                await place
        except TimeoutError:
            self._leave(place)
            raise Held(self._refusal, COME_BACK) from None
        except asyncio.CancelledError:
            self._leave(place)
            raise

    def _hand_out(self) -> None:
        """Give free turns to those who have waited longest."""
        while self._queue and self._in_use < self._leased:
            place = self._queue.popleft()
            if not place.done():
                self._in_use += 1
                place.set_result(None)

    def _leave(self, place: asyncio.Future[None]) -> None:
        """Give up the place in the queue, or the turn that came in the same moment."""
        if place in self._queue:
            self._queue.remove(place)
        if not place.cancel() and not place.cancelled() and place.exception() is None:
            self._in_use -= 1
            self._hand_out()

    async def _ask_while_wanted(self) -> None:
        """Lease what the queue wants, again and again while others have it."""
        while self._queue:
            try:
                await self._ask(self._in_use + len(self._queue))
            except Held as held:
                self._refuse(held)
                return
            self._hand_out()
            if self._queue:
                await asyncio.sleep(ASK_AGAIN)

    async def _ask(self, wanted: int) -> None:
        async with self._leasing:
            in_use = self._in_use
            self._recorded = max(self._recorded, wanted)
            # Until the answer is there, nothing more is handed out: it may be less than before.
            self._leased = min(self._leased, in_use)
            self._leased = await self._lease(wanted, in_use)
            self._recorded = max(self._leased, in_use)

    def _refuse(self, held: Held) -> None:
        for place in self._queue:
            if not place.done():
                place.set_exception(Held(held.message, held.seconds))
        self._queue.clear()

"""The way out of this process: every request to a service passes the service's gate first.

The limits, circuits and budgets that all workers share are rows; a gate keeps of them what saves asking the database for
every request: requests leased for those that wait here, downloads at once, and what the circuit was a second ago.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Mapping

import psycopg
from psycopg_pool import AsyncConnectionPool

from venue_images import circuits, rate_limits
from venue_images.circuits import CircuitState, Failure
from venue_images.errors import Held
from venue_images.providers.base import HostLimit
from venue_images.turns import Turns

logger = logging.getLogger(__name__)

#: Seconds for which a look at a healthy circuit holds.
LOOK_EVERY = 1.0
#: Requests that went well and are told together, while the service's budget is being refilled.
TOLD_TOGETHER = 20
#: Seconds after which the gate of a host is forgotten.
IDLE = 60.0
#: Seconds until somebody else's try of an open circuit is known.
TRY_RESULT = 2.0
#: Seconds until a database that is away is asked again.
DATABASE_WAIT = 5.0
#: Seconds that a download waits for its turn at a host.
TURN_PATIENCE = 5.0


class Gate:
    """The gate of one service in this process."""

    def __init__(self, gates: Gates, service: str, title: str) -> None:
        self._gates = gates
        self._service = service
        self._title = title
        self._circuit = CircuitState(service)
        self._looked_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self._successes = 0
        self._leasing = asyncio.Lock()
        self._waiting = 0
        self._tokens, self._valid_until, self._empty_until = 0, 0.0, 0.0
        #: Requests that count as made and were not, because they came too late.
        self._uncounted = 0
        self._empty_for: Mapping[str, int] = {}

    async def enter(self, limits: Mapping[str, int], *, is_retry: bool = False, patience: float | None = None) -> None:
        """Return when one request may be sent, and has to be sent at once.

        Waits a moment for a limit, at most ``patience`` seconds. Raises :class:`Held`.
        """
        await self.check(is_retry=is_retry)
        if self._circuit.limit_per_second is not None:
            limits = {**limits, "second": self._circuit.limit_per_second}
        if limits:
            await self._take_token(limits, self._gates.patience if patience is None else patience)
        if not self._circuit.is_closed:
            await self._try(had_token=bool(limits))
        if not limits:
            await self._count_unlimited()

    async def _count_unlimited(self) -> None:
        """Count a request that no limit counts; only those of providers are shown."""

    async def succeeded(self) -> None:
        """A request went well."""
        self._successes += 1
        in_trouble = not self._circuit.is_closed or self._circuit.failures
        if not in_trouble and self._circuit.tokens >= circuits.RETRY_TOKENS:
            self._successes = 0
        elif in_trouble or self._successes >= TOLD_TOGETHER:
            told, self._successes = self._successes, 0
            with contextlib.suppress(Held):
                async with self._gates.database() as connection:
                    self._saw(await circuits.note_successes(connection, self._service, told))

    async def failed(self, failure: Failure) -> None:
        """A request failed; when that says something of the service, everybody hears of it."""
        if not circuits.is_failure(failure.error_type):
            await self.succeeded()
            return
        was_closed = self._circuit.is_closed
        with contextlib.suppress(Held):
            async with self._gates.database() as connection:
                self._saw(await circuits.note_failure(connection, self._service, failure))
        if was_closed and not self._circuit.is_closed:
            logger.warning(
                "circuit.opened service=%s error_type=%s seconds=%s",
                self._service,
                failure.error_type,
                self._circuit.pause,
            )

    async def check(self, *, is_retry: bool = False) -> None:
        """Raise :class:`Held` while the circuit is open, or for a retry while its budget is used up."""
        if time.monotonic() - self._looked_at > LOOK_EVERY or not self._circuit.is_closed:
            await self._look_together()
        if not self._circuit.is_closed and (self._circuit.wait or 0.0) > 0:
            raise self._left_alone(self._circuit.wait or 0.0)
        if is_retry and self._circuit.retry_wait > 0:
            raise Held(
                f"{self._title}: too many retries fail, they wait for others to go well.", self._circuit.retry_wait
            )

    async def _look_together(self) -> None:
        """One look for all who come at the same time."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        await asyncio.shield(self._looking)

    async def _look(self) -> None:
        async with self._gates.database() as connection:
            [state] = await circuits.look(connection, [self._service])
        self._saw(state)

    async def _try(self, *, had_token: bool) -> None:
        """Be the one request that tries the open circuit, now that nothing else stands in its way."""
        async with self._gates.database() as connection:
            if await circuits.may_try(connection, self._service):
                return
        self._uncounted += had_token
        raise self._left_alone(TRY_RESULT)

    def _left_alone(self, wait: float) -> Held:
        message = f"{self._title} is left alone: {self._circuit.message}"
        return Held(message, max(wait, TRY_RESULT), by_circuit=True)

    def _saw(self, state: CircuitState) -> None:
        self._circuit, self._looked_at = state, time.monotonic()

    async def _take_token(self, limits: Mapping[str, int], patience: float) -> None:
        deadline = time.monotonic() + patience
        self._waiting += 1
        try:
            while not await self._got_token(limits):
                wait = max(self._empty_until - time.monotonic(), 0.0)
                if time.monotonic() + wait > deadline:
                    raise Held(f"{self._title}: the limit of {_said(limits)} is used up.", wait)
                await asyncio.sleep(wait)
        finally:
            self._waiting -= 1

    async def _got_token(self, limits: Mapping[str, int]) -> bool:
        async with self._leasing:
            if not self._has_token():
                if time.monotonic() < self._empty_until and limits == self._empty_for:
                    return False
                await self._lease(limits)
                if self._tokens and not self._has_token():
                    raise Held(f"{self._title}: the database is too slow for {_said(limits)}.", DATABASE_WAIT)
            if not self._has_token():
                return False
            self._tokens -= 1
            return True

    def _has_token(self) -> bool:
        return self._tokens > 0 and time.monotonic() <= self._valid_until

    async def _lease(self, limits: Mapping[str, int]) -> None:
        uncounted = self._uncounted + self._tokens
        async with self._gates.database() as connection:
            lease = await rate_limits.lease(connection, self._service, limits, self._waiting, uncounted=uncounted)
        self._uncounted = max(uncounted - lease.granted, 0)
        self._tokens, self._valid_until = lease.granted, lease.valid_until
        self._empty_until = 0.0 if lease.granted else time.monotonic() + lease.wait
        self._empty_for = limits


class ProviderGate(Gate):
    """The gate of a provider's API."""

    async def give_back(self) -> None:
        """Take back what counts as asked and was not."""
        async with self._leasing:
            if self._tokens and time.monotonic() > self._valid_until:
                self._uncounted, self._tokens = self._uncounted + self._tokens, 0
            if self._uncounted:
                async with self._gates.database() as connection:
                    await rate_limits.uncount(connection, self._service, self._uncounted)
                self._uncounted = 0

    async def _count_unlimited(self) -> None:
        async with self._gates.database() as connection:
            await rate_limits.count(connection, self._service, 1)


class HostGate(Gate):
    """The gate of a photo host: also bounds the downloads at once, over all workers."""

    def __init__(self, gates: Gates, service: str, title: str) -> None:
        super().__init__(gates, service, title)
        self._usual = gates.host_concurrency
        self._turns = Turns(self._lease_downloads, f"{title}: all its downloads at once are in use.")

    @contextlib.asynccontextmanager
    async def permit(self, limit: HostLimit) -> AsyncIterator[None]:
        """Hold one of the host's downloads at once. Raises :class:`Held` when none gets free soon."""
        self._usual = limit.concurrency or self._gates.host_concurrency
        patience = max(self._gates.patience, TURN_PATIENCE)
        if limit.per_second and self._turns.waiting > limit.per_second * patience:
            # Those who wait already take all the time that there is.
            raise Held(f"{self._title}: its limit is used up.", self._turns.waiting / limit.per_second)
        async with self._turns.turn(patience):
            yield

    async def give_back(self) -> None:
        """Return what is leased and not used."""
        await self._turns.give_back()

    @property
    def is_idle(self) -> bool:
        """Whether nothing came through for a while, and nothing waits."""
        return not self._turns.in_use and not self._turns.waiting and time.monotonic() - self._looked_at > IDLE

    async def _lease_downloads(self, wanted: int, in_use: int) -> int:
        async with self._gates.database() as connection:
            return await circuits.lease_concurrency(
                connection, self._service, self._gates.worker_id, wanted, self._usual, in_use=in_use
            )


class Gates:
    """All gates of one process, made when they are first needed.

    ``patience``: the longest, in seconds, that a request waits here for a limit; what takes longer comes back later.
    """

    def __init__(
        self, pool: AsyncConnectionPool, worker_id: uuid.UUID, *, patience: float, host_concurrency: int
    ) -> None:
        self._pool = pool
        self.worker_id = worker_id
        self.patience = patience
        self.host_concurrency = host_concurrency
        self._storage = Gate(self, circuits.STORAGE, "The storage")
        self._providers: dict[str, ProviderGate] = {}
        self._hosts: dict[str, HostGate] = {}

    def provider(self, name: str, title: str) -> ProviderGate:
        if name not in self._providers:
            self._providers[name] = ProviderGate(self, circuits.of_provider(name), title)
        return self._providers[name]

    def storage(self) -> Gate:
        return self._storage

    def host(self, host: str) -> HostGate:
        if host not in self._hosts:
            self._hosts[host] = HostGate(self, circuits.of_host(host), host)
        return self._hosts[host]

    async def give_back_unused(self) -> None:
        """Return what was leased and is not used; called now and then, and at the end."""
        gates: list[HostGate | ProviderGate] = [*self._hosts.values(), *self._providers.values()]
        for gate in gates:
            with contextlib.suppress(Held):
                await gate.give_back()
        # A catalogue may name as many hosts as it has venues.
        self._hosts = {host: gate for host, gate in self._hosts.items() if not gate.is_idle}

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator[psycopg.AsyncConnection]:
        """A connection of the pool; a database that is away holds everything back for a moment."""
        try:
            async with self._pool.connection() as connection:
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            logger.warning("gate.database_away error=%s", type(error).__name__)
            raise Held("The database is away.", DATABASE_WAIT) from error


def _said(limits: Mapping[str, int]) -> str:
    return " and ".join(f"{limit:,} {'an' if window == 'hour' else 'a'} {window}" for window, limit in limits.items())

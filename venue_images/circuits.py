"""Circuit breakers and retry budgets: whether a service outside may be asked, known to every worker.

A service is a provider's API (``provider:<name>``), a photo host (``host:<host>``) or ``storage``. Its circuit opens after
``FAILURES_TO_OPEN`` failures in a row, at once when it asks to be left alone (Retry-After) or when a key, a credit or a
bucket is missing. While it is open nobody asks. When its time has come one request may try: if that goes well the circuit
closes, otherwise it stays open for twice as long.

The retry budget keeps retries from adding to an outage: a retry that fails takes ``RETRY_COST`` tokens, every request that
goes well gives one back, and a little comes back with time. Without tokens only first attempts go out. So the retries that
fail stay under a tenth of what succeeds, after the budget of ``RETRY_TOKENS`` is used up. The figures follow the retry
quota of the AWS SDKs (500 tokens) and Finagle's retry budgets (a minimum a second).
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models.functions import Now
from psycopg import AsyncConnection
from psycopg.rows import class_row, scalar_row

from venue_images.errors import ErrorClass, ErrorType
from venue_images.image_ledger import WORKER_SILENCE
from venue_images.models import Circuit

FAILURES_TO_OPEN = 10
#: Seconds until the first try after opening, and the longest that it doubles to.
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 30.0
#: The same where a person has to mend something first.
FIRST_BLOCKED_PAUSE, LONGEST_BLOCKED_PAUSE = 60.0, 900.0
#: A photo host's wish for quiet is tried out after this, and after twice as long each time: it may have meant one photo.
FIRST_HOST_PAUSE = 15.0
LONGEST_WISH = 86400.0
#: Seconds that the one request that tries has for its answer.
TRY_SECONDS = 30.0

RETRY_TOKENS = 500.0
RETRY_COST = 10.0
TOKENS_PER_SECOND = 10.0

STORAGE = "storage"
#: Not the service's health, or not the service at all.
HARMLESS = frozenset({ErrorType.WORKER_LOST})
OPEN, HALF_OPEN, CLOSED = "open", "half_open", "closed"


def of_provider(name: str) -> str:
    return f"provider:{name}"


def of_host(host: str) -> str:
    return f"host:{host}"


def is_failure(error_type: ErrorType) -> bool:
    """Whether an error says that the service is unwell; a photo that is missing says nothing of its host."""
    unwell = (
        error_type.error_class in (ErrorClass.TRANSIENT, ErrorClass.BLOCKED) or error_type is ErrorType.SERVER_ERROR
    )
    return unwell and error_type not in HARMLESS


@dataclass(frozen=True)
class Failure:
    """What a service answered instead of what was asked for."""

    error_type: ErrorType
    message: str
    #: Seconds for which the service wants to be left alone.
    retry_after: float | None = None
    was_retry: bool = False


@dataclass(frozen=True)
class CircuitState:
    """One circuit at one moment; times are seconds from now."""

    service: str
    state: str = CLOSED
    failures: int = 0
    error_type: str = ""
    message: str = ""
    #: Until one request may try; None or negative: now.
    wait: float | None = None
    pause: float = 0.0
    retry_tokens: float = RETRY_TOKENS
    #: Since the tokens were reckoned.
    token_seconds: float = 0.0
    #: The owner's limit for a photo host.
    limit_per_second: int | None = None

    @property
    def is_closed(self) -> bool:
        return self.state == CLOSED

    @property
    def _is_host(self) -> bool:
        return self.service.startswith("host:")

    @property
    def tokens(self) -> float:
        return min(self.retry_tokens + self.token_seconds * TOKENS_PER_SECOND, RETRY_TOKENS)

    @property
    def retry_wait(self) -> float:
        """Seconds until the budget allows a retry; 0: now."""
        return max(RETRY_COST - self.tokens, 0.0) / TOKENS_PER_SECOND

    def after_failure(self, failure: Failure) -> CircuitState:
        """Open when it was the last straw; what fails while it is open already changes nothing but the budget."""
        spent = self._with_tokens(self.tokens - RETRY_COST * failure.was_retry)
        counted = dataclasses.replace(spent, failures=self.failures + 1)
        if self.state == OPEN and (self.wait or 0.0) > 0:
            return counted
        pause = self._pause_after(failure)
        if pause is None:
            return counted
        return dataclasses.replace(
            counted, state=OPEN, error_type=str(failure.error_type), message=failure.message, wait=pause, pause=pause
        )

    def after_success(self, successes: int = 1) -> CircuitState:
        """Closed when it was the try, or when the host that wanted quiet went on answering."""
        refilled = self._with_tokens(self.tokens + successes)
        lifted = self.state == HALF_OPEN or (self._is_host and self.error_type == str(ErrorType.RATE_LIMITED))
        if self.state == OPEN and not lifted:
            return refilled
        return dataclasses.replace(refilled, state=CLOSED, failures=0, error_type="", message="", wait=None, pause=0.0)

    def _with_tokens(self, tokens: float) -> CircuitState:
        return dataclasses.replace(self, retry_tokens=min(max(tokens, 0.0), RETRY_TOKENS), token_seconds=0.0)

    def _pause_after(self, failure: Failure) -> float | None:
        """Seconds of quiet after this failure; None: the circuit stays closed."""
        if failure.error_type.error_class is ErrorClass.BLOCKED:
            return min(max(self.pause * 2, FIRST_BLOCKED_PAUSE), LONGEST_BLOCKED_PAUSE)
        if failure.retry_after:
            wish = min(failure.retry_after, LONGEST_WISH)
            return min(wish, max(self.pause * 2, FIRST_HOST_PAUSE)) if self._is_host else wish
        if not self.is_closed or self.failures + 1 >= FAILURES_TO_OPEN:
            return min(max(self.pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
        return None


COLUMNS = """
    service, state, failures, error_type, message, pause, retry_tokens, limit_per_second,
    extract(epoch FROM try_at - now())::float8 AS wait,
    greatest(extract(epoch FROM clock_timestamp() - reckoned_at)::float8, 0) AS token_seconds
"""


async def look(connection: AsyncConnection, services: Sequence[str]) -> list[CircuitState]:
    """The circuits of these services; one that was never in trouble is closed."""
    async with connection.cursor(row_factory=class_row(CircuitState)) as cursor:
        await cursor.execute(
            f"SELECT {COLUMNS} FROM venue_images_circuit WHERE service = ANY(%s)",
            [list(services)],
        )
        found = {state.service: state for state in await cursor.fetchall()}
    return [found.get(service, CircuitState(service)) for service in services]


async def may_try(connection: AsyncConnection, service: str) -> bool:
    """Whether this process is the one that tries an open circuit whose time has come."""
    async with connection.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(
            """
            UPDATE venue_images_circuit SET state = %s, try_at = now() + make_interval(secs => %s)
            WHERE service = %s AND state <> %s AND try_at <= now() RETURNING service
            """,
            [HALF_OPEN, TRY_SECONDS, service, CLOSED],
        )
        return await cursor.fetchone() is not None


async def note_failure(connection: AsyncConnection, service: str, failure: Failure) -> CircuitState:
    """Count a failure and open the circuit when it is time; the circuit as it is now."""
    async with connection.transaction():
        return await _write(connection, (await _locked(connection, service)).after_failure(failure))


async def note_successes(connection: AsyncConnection, service: str, successes: int) -> CircuitState:
    """Count requests that went well; the circuit as it is now."""
    async with connection.transaction():
        return await _write(connection, (await _locked(connection, service)).after_success(successes))


def let_try(*services: str) -> int:
    """Let the next request try these open circuits (without names: all) without waiting; how many there are.

    For a person who asks now, and may have mended something. A service that asked to be left alone is let be, unless it
    is named.
    """
    circuits = Circuit.objects.exclude(state=CLOSED)
    if services:
        circuits = circuits.filter(service__in=services)
    else:
        circuits = circuits.exclude(error_type=ErrorType.RATE_LIMITED)
    return circuits.update(state=OPEN, try_at=Now(), pause=0)


async def _locked(connection: AsyncConnection, service: str) -> CircuitState:
    await connection.execute("INSERT INTO venue_images_circuit (service) VALUES (%s) ON CONFLICT DO NOTHING", [service])
    async with connection.cursor(row_factory=class_row(CircuitState)) as cursor:
        await cursor.execute(
            f"SELECT {COLUMNS} FROM venue_images_circuit WHERE service = %s FOR UPDATE",
            [service],
        )
        found = await cursor.fetchone()
    return found or CircuitState(service)


async def _write(connection: AsyncConnection, state: CircuitState) -> CircuitState:
    parameters: dict[str, Any] = dataclasses.asdict(state)
    await connection.execute(
        """
        UPDATE venue_images_circuit
        SET opened_at = CASE WHEN %(state)s = 'closed' THEN NULL
                             WHEN state = 'closed' THEN now() ELSE opened_at END,
            state = %(state)s, failures = %(failures)s, error_type = %(error_type)s, message = %(message)s,
            try_at = now() + make_interval(secs => %(wait)s), pause = %(pause)s,
            retry_tokens = %(retry_tokens)s, reckoned_at = clock_timestamp()
        WHERE service = %(service)s
        """,
        parameters,
    )
    return state


async def lease_concurrency(
    connection: AsyncConnection, service: str, worker_id: uuid.UUID, wanted: int, usual: int, *, in_use: int = 0
) -> int:
    """How many downloads at once this worker may do at the host from now on, of those that it wants; 0 gives all back.

    The owner's limit goes before the ``usual`` one. No worker gets more than its share while others live, and what dead
    workers held is free. When that is less than what is ``in_use``, nobody else gets the difference until it is told that
    those downloads have ended.
    """
    async with connection.transaction():
        await _locked(connection, service)
        async with connection.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute(
                LEASE_CONCURRENCY,
                {"service": service, "me": str(worker_id), "wanted": wanted, "usual": usual, "in_use": in_use},
            )
            return int(await cursor.fetchone() or 0)


LEASE_CONCURRENCY = f"""
    WITH living AS (
        SELECT id::text FROM venue_images_worker WHERE heartbeat_at > now() - interval '{WORKER_SILENCE} seconds'
    ), held AS (
        SELECT coalesce(jsonb_object_agg(key, value::int), '{{}}') AS leases, coalesce(sum(value::int), 0)::int AS total
        FROM venue_images_circuit, jsonb_each_text(leases)
        WHERE service = %(service)s AND key <> %(me)s AND key IN (SELECT id FROM living)
    ), mine AS (
        SELECT greatest(0, least(
            %(wanted)s,
            coalesce(circuit.concurrency, %(usual)s) - held.total,
            ceil(coalesce(circuit.concurrency, %(usual)s)::float8 / greatest((SELECT count(*) FROM living), 1))::int
        )) AS count
        FROM venue_images_circuit AS circuit, held WHERE circuit.service = %(service)s
    ), kept AS (SELECT greatest(mine.count, %(in_use)s) AS count FROM mine)
    UPDATE venue_images_circuit
    SET leases = held.leases || CASE WHEN kept.count = 0 THEN '{{}}' ELSE jsonb_build_object(%(me)s::text, kept.count) END
    FROM held, mine, kept WHERE service = %(service)s RETURNING mine.count
"""

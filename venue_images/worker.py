"""The worker: one asyncio process that takes jobs and gives every image an end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import psycopg
from asgiref.sync import sync_to_async
from django.db import Error as DatabaseError
from django.db import close_old_connections
from pgqueuer import PgQueuer
from pgqueuer.adapters.drivers.psycopg import PsycopgDriver
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.errors import FailingListenerError, RetryRequested
from pgqueuer.domain.models import Job, Schedule
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from venue_images import (
    cleanup_scheduler,
    embedded_postgres,
    enrichment_job,
    failed_upload_retry_worker,
    image_ledger,
    job_queue,
    operation_log,
    rate_limits,
)
from venue_images.conf import settings
from venue_images.errors import UserError
from venue_images.models import Trigger
from venue_images.runtime import CONCURRENCY, Runtime, connection_string, open_runtime

logger = logging.getLogger(__name__)

#: Jobs fetched by one statement.
BATCH = 10
#: Seconds after which a job without heartbeat is picked up by another worker.
JOB_SILENCE = timedelta(seconds=30)
#: Seconds between two looks for what dead workers left.
SWEEP_EVERY = 10
#: The longest wait for a job whose notification was missed.
POLL = timedelta(seconds=5)
#: Seconds between two looks whether a draining worker is done.
DRAIN_EVERY = 0.1
#: Times that a job is tried again because the database, and not the job, was at fault.
OWN_FAULTS = 20
#: Seconds before a worker that lost its database tries again.
RECONNECT = 2
DATABASE_GONE = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, FailingListenerError)

Perform = Callable[[dict[str, Any], Runtime], Awaitable[None]]


class PoolDriver(PsycopgDriver):
    """The engine's driver with two ways to the database: one connection listens, the pool runs the statements.

    On one connection a statement would wait until the listening pauses, up to a second.
    """

    def __init__(self, listening: psycopg.AsyncConnection, pool: AsyncConnectionPool) -> None:
        super().__init__(listening)
        self._pool = pool

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        async with self._pool.connection() as connection:
            cursor = psycopg.AsyncRawCursor(connection, row_factory=dict_row)
            await cursor.execute(query.encode(), args or None)
            return await cursor.fetchall()

    async def execute(self, query: str, *args: object) -> str:
        async with self._pool.connection() as connection:
            cursor = psycopg.AsyncRawCursor(connection)
            await cursor.execute(query.encode(), args or None)
            return cursor.statusmessage or ""


async def run_worker(*, drain: bool = False, concurrency: int = CONCURRENCY) -> None:
    """Take jobs until SIGTERM or SIGINT, or with ``drain`` until none is due; what is under way is finished first.

    A database that goes away is waited for. Raises :class:`UserError` when it is away at the start.
    """
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    first = True
    while not stopping.is_set():
        try:
            async with open_runtime("worker", concurrency=concurrency) as runtime:
                first = False
                await _take_jobs(runtime, stopping, drain, concurrency)
                return
        except (*DATABASE_GONE, UserError) as error:
            if first:
                raise
            logger.warning("worker.database_away error=%s", type(error).__name__)
            await _revive_database()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), RECONNECT)


async def _revive_database() -> None:
    """The embedded server has nobody else to start it again; any other has its own keeper."""
    if not embedded_postgres.in_use():
        return
    try:
        await asyncio.to_thread(embedded_postgres.revive, settings().home)
    except UserError as error:
        logger.warning("worker.database_not_revived reason=%s", error)


async def _take_jobs(runtime: Runtime, stopping: asyncio.Event, drain: bool, concurrency: int) -> None:
    async with await psycopg.AsyncConnection.connect(connection_string(), autocommit=True) as listening:
        engine = PgQueuer(PoolDriver(listening, runtime.pool))
        _register(engine, runtime)
        await _forget_old_schedules(engine)
        swept = asyncio.Event()
        beside = [
            _stop(engine, runtime, stopping),
            _sweep(runtime, swept),
            *([_drain(engine, runtime, swept)] if drain else []),
        ]
        async with _beside(*beside):
            await engine.run(
                dequeue_timeout=POLL,
                batch_size=BATCH,
                max_concurrent_tasks=max(2 * BATCH, concurrency),
                heartbeat_timeout=JOB_SILENCE,
                shutdown_on_listener_failure=True,
            )


def _register(engine: PgQueuer, runtime: Runtime) -> None:
    performers: dict[str, Perform] = {
        job_queue.CLEANUP: _perform_cleanup,
        job_queue.RETRY: failed_upload_retry_worker.perform,
        job_queue.ENRICH: enrichment_job.perform,
    }
    for name, perform in performers.items():
        engine.entrypoint(name, on_failure="hold")(_job_function(perform, runtime))
    if settings().cleanup_cron:
        engine.schedule(job_queue.NIGHTLY, settings().cleanup_cron)(_nightly)


def _job_function(perform: Perform, runtime: Runtime) -> Callable[[Job], Awaitable[None]]:
    async def run(job: Job) -> None:
        try:
            await perform(job_queue.payload_of(job.payload), runtime)
        except (*DATABASE_GONE, psycopg.errors.DeadlockDetected) as error:
            if job.attempts >= OWN_FAULTS:
                raise
            raise RetryRequested(delay=JOB_SILENCE, reason=type(error).__name__) from error

    return run


async def _perform_cleanup(payload: dict[str, Any], _runtime: Runtime) -> None:
    await in_django(cleanup_scheduler.perform, int(payload["run"]))


async def _nightly(_schedule: Schedule) -> None:
    await in_django(cleanup_scheduler.enqueue, trigger=Trigger.NIGHTLY)


async def in_django(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a function that uses Django's own connection, in Django's thread."""

    def call() -> Any:
        close_old_connections()
        try:
            return function(*args, **options)
        finally:
            close_old_connections()

    return await sync_to_async(call)()


async def _forget_old_schedules(engine: PgQueuer) -> None:
    """A changed or switched-off nightly time leaves the old one in the engine's table."""
    queries = Queries(engine.connection)
    wanted = {" ".join(key.expression.split()) for key in engine.sm.registry}
    old = {
        row.id
        for row in await queries.peek_schedule()
        if row.entrypoint == job_queue.NIGHTLY and row.expression not in wanted
    }
    if old:
        await queries.delete_schedule(ids=old, entrypoints=set())


@contextlib.asynccontextmanager
async def _beside(*loops: Any) -> AsyncIterator[None]:
    """Run these loops as long as the block runs."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _stop(engine: PgQueuer, runtime: Runtime, stopping: asyncio.Event) -> None:
    await stopping.wait()
    logger.info("worker.stopping")
    runtime.stopping.set()
    engine.shutdown.set()


IS_DRAINED = """
    SELECT NOT EXISTS (SELECT FROM pgqueuer WHERE status = 'picked' OR (status = 'queued' AND execute_after <= now()))
       AND NOT EXISTS (SELECT FROM venue_images_venueimage WHERE upload_status = 'uploading')
"""


async def _drain(engine: PgQueuer, runtime: Runtime, swept: asyncio.Event) -> None:
    """End the engine when no job is due and nobody is at an image, dead workers included; jobs for later stay."""
    await swept.wait()
    while True:
        async with runtime.pool.connection() as connection:
            row = await (await connection.execute(IS_DRAINED)).fetchone()
        if row and row[0]:
            engine.shutdown.set()
            return
        await asyncio.sleep(DRAIN_EVERY)


async def _sweep(runtime: Runtime, swept: asyncio.Event) -> None:
    """Take up what dead workers left, every few seconds.

    Not after a pause or an outage of our own: others may have been as silent as this process was, and live.
    """
    trusted_from, expected = 0.0, time.monotonic()
    while True:
        if time.monotonic() - expected > SWEEP_EVERY:
            trusted_from = time.monotonic() + image_ledger.WORKER_SILENCE
        try:
            await _give_back_abandoned(runtime)
            if time.monotonic() >= trusted_from:
                await _sweep_once(runtime)
                swept.set()
        except (*DATABASE_GONE, DatabaseError) as error:
            logger.warning("worker.sweep_failed error=%s", type(error).__name__)
            trusted_from = time.monotonic() + image_ledger.WORKER_SILENCE
            await _revive_database()
        expected = time.monotonic() + SWEEP_EVERY
        await asyncio.sleep(SWEEP_EVERY)


async def _sweep_once(runtime: Runtime) -> None:
    async with runtime.pool.connection() as connection:
        venues = await image_ledger.sweep(connection)
        await operation_log.sweep(connection)
        await rate_limits.forget_old_calls(connection)
    if venues and await in_django(failed_upload_retry_worker.enqueue_lost, venues):
        logger.warning("worker.lost_images venues=%s", len(venues))


async def _give_back_abandoned(runtime: Runtime) -> None:
    if runtime.abandoned:
        async with runtime.pool.connection() as connection:
            await image_ledger.give_back(connection, runtime.abandoned, begun=True)
        runtime.abandoned.clear()

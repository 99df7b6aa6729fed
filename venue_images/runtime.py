"""What a process needs to upload images: database pool, HTTP session, storage, and a heartbeat that shows it is alive."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import psycopg
from django.db import connections
from psycopg_pool import AsyncConnectionPool

from venue_images import downloads
from venue_images.conf import settings
from venue_images.errors import UserError
from venue_images.gates import Gates
from venue_images.image_ledger import ClaimedImage
from venue_images.storage import Storage, open_storage

logger = logging.getLogger(__name__)

#: Seconds between two heartbeats; a third of what makes a worker dead.
HEARTBEAT = 10
#: Downloads at once in one process unless asked otherwise.
CONCURRENCY = 32
POOL_SIZE = 8
#: Seconds that a request waits in this process for a limit: a worker has other things to do, a person waits for a command.
PATIENCE = {"worker": 1.0, "command": 65.0}
#: What Django tells psycopg itself, and no connection string may hold.
NOT_OF_LIBPQ = frozenset({"cursor_factory", "context", "prepare_threshold"})


@dataclass(frozen=True)
class Runtime:
    pool: AsyncConnectionPool
    #: For downloads: guarded against private addresses, carries no key.
    downloads: aiohttp.ClientSession
    #: For provider APIs; their addresses are the owner's settings.
    api: aiohttp.ClientSession
    storage: Storage
    #: The limits, circuits and budgets on the way to every service outside.
    gates: Gates
    worker_id: uuid.UUID
    #: Held by each download under way.
    slots: asyncio.Semaphore
    #: Set when this process is to end: what has not begun is given back.
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    #: Claimed images that could not be given back while the database was away.
    abandoned: list[ClaimedImage] = field(default_factory=list)


def connection_string() -> str:
    """How to reach Django's default database; names it as psycopg wants it."""
    parameters = connections["default"].get_connection_params()
    wanted = {name: parameters[name] for name in parameters if name not in NOT_OF_LIBPQ}
    return psycopg.conninfo.make_conninfo("", **wanted)


@contextlib.asynccontextmanager
async def open_runtime(kind: str, *, concurrency: int = CONCURRENCY) -> AsyncIterator[Runtime]:
    """Everything opened, this process entered as a worker of this ``kind``, and all of it given back at the end.

    Raises :class:`UserError` when the database does not answer.
    """
    async with contextlib.AsyncExitStack() as stack:
        pool = await stack.enter_async_context(_open_pool())
        storage = open_storage(settings().effective_storage_url)
        stack.push_async_callback(storage.close)
        worker_id = uuid.uuid4()
        gates = Gates(pool, worker_id, patience=PATIENCE[kind], host_concurrency=settings().host_concurrency)
        runtime = Runtime(
            pool=pool,
            downloads=await stack.enter_async_context(downloads.open_session()),
            api=await stack.enter_async_context(_open_api_session()),
            storage=storage,
            gates=gates,
            worker_id=worker_id,
            slots=asyncio.Semaphore(concurrency),
        )
        await stack.enter_async_context(_heartbeat(runtime, kind))
        stack.push_async_callback(gates.give_back_unused)
        yield runtime


def _open_api_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        headers={"User-Agent": downloads.user_agent(), "Accept": "application/json"},
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=(_ask_once,),
    )


async def _ask_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Let a lost connection be an error before aiohttp asks a second time by itself: every call may be billed."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientConnectionError("the connection was lost") from error


@contextlib.asynccontextmanager
async def _open_pool() -> AsyncIterator[AsyncConnectionPool]:
    pool = AsyncConnectionPool(
        connection_string(),
        min_size=1,
        max_size=POOL_SIZE,
        timeout=5,
        kwargs={"autocommit": True},
        check=AsyncConnectionPool.check_connection,
        open=False,
    )
    try:
        await pool.open(wait=True, timeout=10)
    except psycopg.Error:
        await pool.close()
        raise UserError("The database does not answer: is it running, and is DATABASE_URL right?") from None
    try:
        yield pool
    finally:
        await pool.close()


@contextlib.asynccontextmanager
async def _heartbeat(runtime: Runtime, kind: str) -> AsyncIterator[None]:
    await _beat_once(runtime, kind)
    beside = [asyncio.create_task(_beat(runtime, kind)), asyncio.create_task(_give_back(runtime))]
    try:
        yield
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        with contextlib.suppress(psycopg.Error):
            async with runtime.pool.connection() as connection:
                await connection.execute("DELETE FROM venue_images_worker WHERE id = %s", [runtime.worker_id])


async def _beat_once(runtime: Runtime, kind: str) -> None:
    """Show that this worker is alive, also when it was silent for so long that its row was dropped."""
    async with runtime.pool.connection() as connection:
        await connection.execute(
            """
            INSERT INTO venue_images_worker (id, kind, hostname, pid) VALUES (%s, %s, %s, %s)
            ON CONFLICT (id) DO UPDATE SET heartbeat_at = now()
            """,
            [runtime.worker_id, kind, socket.gethostname(), os.getpid()],
        )


async def _beat(runtime: Runtime, kind: str) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT)
        try:
            await _beat_once(runtime, kind)
        except psycopg.Error as error:
            logger.warning("worker.heartbeat_missed worker=%s error=%s", runtime.worker_id, type(error).__name__)


async def _give_back(runtime: Runtime) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT)
        await runtime.gates.give_back_unused()

"""Gates of several workers at once, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import pytest
from psycopg_pool import AsyncConnectionPool

from tests.runtimes import new_connection
from venue_images.errors import Held
from venue_images.gates import Gates
from venue_images.runtime import connection_string

Result = TypeVar("Result")


@contextlib.asynccontextmanager
async def open_gates(*, patience: float = 10.0) -> AsyncIterator[Gates]:
    """The gates of one more worker, with connections of their own."""
    pool = AsyncConnectionPool(
        connection_string(),
        min_size=2,
        kwargs={"autocommit": True},
        check=AsyncConnectionPool.check_connection,
        open=False,
    )
    async with pool:
        worker = uuid.uuid4()
        async with pool.connection() as connection:
            await connection.execute(
                "INSERT INTO venue_images_worker (id, kind, hostname, pid) VALUES (%s, 'worker', 'here', 1)", [worker]
            )
        yield Gates(pool, worker, patience=patience, host_concurrency=16)


def with_gates(work: Callable[..., Awaitable[Result]], *, workers: int = 1, patience: float = 10.0) -> Result:
    """What ``work`` makes of the gates of so many workers."""

    async def main() -> Result:
        async with contextlib.AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(open_gates(patience=patience)) for _ in range(workers)]
            return await work(*opened)

    return asyncio.run(main())


async def held_by(entering: Awaitable[object]) -> Held:
    with pytest.raises(Held) as caught:
        await entering
    return caught.value


async def execute(statement: str) -> None:
    async with await new_connection() as connection:
        await connection.execute(statement)


async def cancel_some(tasks: Sequence[asyncio.Task[Any]], chance: random.Random) -> None:
    """Cancel every second one, each at a moment of its own."""
    for task in tasks[::2]:
        await asyncio.sleep(chance.uniform(0, 0.01))
        task.cancel()

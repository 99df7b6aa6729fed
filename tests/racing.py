"""Several processes at one row, for tests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

from psycopg import AsyncConnection

from tests.runtimes import new_connection

Result = TypeVar("Result")


def at_once(count: int, work: Callable[[AsyncConnection], Awaitable[Result]]) -> list[Result]:
    """What ``work`` gives on so many connections at once."""

    async def run() -> list[Result]:
        async with contextlib.AsyncExitStack() as stack:
            connections = [await stack.enter_async_context(await new_connection()) for _ in range(count)]
            return list(await asyncio.gather(*(work(connection) for connection in connections)))

    return asyncio.run(run())

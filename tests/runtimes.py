"""Runs a piece of asynchronous work in a test that also uses Django's own, synchronous, connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from psycopg import AsyncConnection

from venue_images.runtime import Runtime, connection_string, open_runtime

Result = TypeVar("Result")


def in_runtime(work: Callable[[Runtime], Awaitable[Result]]) -> Result:
    """What ``work`` makes of a runtime that is opened for it."""

    async def run() -> Result:
        async with open_runtime("command") as runtime:
            return await work(runtime)

    return asyncio.run(run())


def connected(work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
    """What ``work`` makes of a connection of its own."""

    async def run() -> Result:
        async with await new_connection() as connection:
            return await work(connection)

    return asyncio.run(run())


async def new_connection() -> AsyncConnection:
    return await AsyncConnection.connect(connection_string(), autocommit=True)

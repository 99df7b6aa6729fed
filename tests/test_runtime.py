"""What a process opens to upload images: it shows that it is alive."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone
from psycopg.conninfo import conninfo_to_dict

from tests.runtimes import in_runtime
from venue_images import runtime
from venue_images.models import Worker
from venue_images.runtime import Runtime, connection_string

pytestmark = pytest.mark.usefixtures("transactional_db")


async def worker_row(opened: Runtime) -> tuple[Any, ...] | None:
    async with opened.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT kind, heartbeat_at FROM venue_images_worker WHERE id = %s", [opened.worker_id]
        )
        return await cursor.fetchone()


def test_a_process_stands_among_the_workers_as_long_as_it_runs() -> None:
    started = timezone.now()
    row = in_runtime(worker_row)
    assert row
    assert row[0] == "command"
    assert row[1] >= started
    assert not Worker.objects.exists()


def test_a_worker_that_was_taken_for_dead_shows_itself_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that slept for hours finds its row dropped; without one its images would be swept for ever."""
    monkeypatch.setattr(runtime, "HEARTBEAT", 0.05)

    async def work(opened: Runtime) -> bool:
        async with opened.pool.connection() as connection:
            await connection.execute("DELETE FROM venue_images_worker")
        async with asyncio.timeout(10):
            while not await worker_row(opened):  # noqa: ASYNC110 - the row comes from a task of the process
                await asyncio.sleep(0.02)
        return True

    assert in_runtime(work)


def test_what_django_alone_understands_is_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = connections["default"].get_connection_params()
    with_options = {**copy.copy(parameters), "prepare_threshold": 5, "application_name": "venues"}
    monkeypatch.setattr(connections["default"], "get_connection_params", lambda: with_options)
    found = conninfo_to_dict(connection_string())
    assert (found["host"], found["dbname"]) == (parameters["host"], parameters["dbname"])
    assert found["application_name"] == "venues"

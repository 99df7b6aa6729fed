"""The job engine, pgqueuer: its tables, and how jobs get into it.

A job is an entrypoint name and a small JSON payload of ids. It can be lost or run twice without harm: the rows tell
what is left to do. Names start with their queue: ``maintenance`` or ``venue_enrichment``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from django.db import connection, connections, transaction
from pgqueuer.adapters.drivers.psycopg import PsycopgDriver
from pgqueuer.adapters.persistence.queries import Queries, SyncQueries
from psycopg.rows import dict_row

CLEANUP = "maintenance.cleanup"
RETRY = "venue_enrichment.retry"
ENRICH = "venue_enrichment.enrich"
#: The name under which the engine keeps the nightly cleanup's next time.
NIGHTLY = "maintenance.nightly_cleanup"

#: How long the engine's notes on single jobs are kept.
KEEP_LOG = "14 days"
#: Queued jobs of one statement.
BATCH = 5000


@dataclass(frozen=True)
class NewJob:
    """A job to queue. Of two waiting or running jobs with one ``dedupe_key`` only the first is kept."""

    payload: Mapping[str, Any]
    dedupe_key: str
    delay: timedelta = timedelta(0)
    #: Taken before the others that are due.
    is_urgent: bool = False

    def body(self) -> bytes:
        return json.dumps({**self.payload, "key": self.dedupe_key}).encode()


class DjangoDriver:
    """Runs the engine's SQL on Django's own connection, so that a job is queued when the transaction commits."""

    def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        connection.ensure_connection()
        with connection.wrap_database_errors, psycopg.RawCursor(connection.connection, row_factory=dict_row) as cursor:
            cursor.execute(query.encode(), args or None)
            return cursor.fetchall()


def install(using: str = "default") -> None:
    """Create the engine's tables, or bring them up to the installed version of the engine."""
    parameters = connections[using].get_connection_params()
    asyncio.run(_install({name: parameters[name] for name in parameters if name not in ("cursor_factory", "context")}))


async def _install(parameters: Mapping[str, Any]) -> None:
    async with await psycopg.AsyncConnection.connect(**parameters, autocommit=True) as fresh:
        queries = Queries(PsycopgDriver(fresh))
        if await queries.schema_is_installed():
            await queries.upgrade()
        else:
            await queries.install()


def enqueue(entrypoint: str, jobs: Sequence[NewJob], *, bring_forward: bool = False) -> int:
    """Queue these jobs within the current transaction; the number that were not waiting or running already.

    ``bring_forward``: a job that waits already takes the new payload, and the new time if that is earlier; one that is
    running finds the new payload at its end, see :func:`latest_payload`.
    """
    queued = 0
    # One order for all, so that two that queue the same jobs never wait for each other.
    ordered = sorted(jobs, key=lambda job: job.dedupe_key)
    for start in range(0, len(ordered), BATCH):
        batch = ordered[start : start + BATCH]
        with transaction.atomic():
            queued += _enqueue_batch(entrypoint, batch)
            if bring_forward:
                _bring_forward(batch)
    return queued


def _enqueue_batch(entrypoint: str, batch: Sequence[NewJob]) -> int:
    ids = SyncQueries(DjangoDriver()).enqueue(
        [entrypoint] * len(batch),
        [job.body() for job in batch],
        [int(job.is_urgent) for job in batch],
        [job.delay for job in batch],
        [job.dedupe_key for job in batch],
        on_conflict="skip",
    )
    return sum(1 for job_id in ids if job_id is not None)


def _bring_forward(batch: Sequence[NewJob]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH wanted AS MATERIALIZED (
                SELECT job.id, wanted.payload, wanted.delay
                FROM unnest(%s::text[], %s::bytea[], %s::interval[]) AS wanted (dedupe_key, payload, delay)
                JOIN pgqueuer AS job ON job.dedupe_key = wanted.dedupe_key AND job.status IN ('queued', 'picked')
                WHERE job.payload <> wanted.payload
                ORDER BY job.id FOR NO KEY UPDATE OF job
            )
            UPDATE pgqueuer AS job
            SET payload = wanted.payload, updated = now(), execute_after = CASE
                WHEN job.status = 'queued' THEN least(job.execute_after, now() + wanted.delay) ELSE job.execute_after
            END
            FROM wanted WHERE job.id = wanted.id
            """,
            [
                [job.dedupe_key for job in batch],
                [job.body() for job in batch],
                [job.delay for job in batch],
            ],
        )


def due_jobs() -> int:
    """Jobs that wait for a worker now."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pgqueuer WHERE status = 'queued' AND execute_after <= now()")
        row = cursor.fetchone()
    return int(row[0]) if row else 0


def waiting_payload(dedupe_key: str) -> dict[str, Any] | None:
    """The payload of the job that waits or runs under this key; None when there is none."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT payload FROM pgqueuer WHERE dedupe_key = %s AND status IN ('queued', 'picked')", [dedupe_key]
        )
        row = cursor.fetchone()
    return payload_of(bytes(row[0])) if row else None


async def latest_payload(connection: psycopg.AsyncConnection, payload: Mapping[str, Any]) -> dict[str, Any]:
    """The payload of the job that runs, as it is now: somebody may have asked again since it began."""
    cursor = await connection.execute(
        "SELECT payload FROM pgqueuer WHERE dedupe_key = %s AND status = 'picked'", [payload.get("key")]
    )
    row = await cursor.fetchone()
    return payload_of(bytes(row[0])) if row else dict(payload)


def forget_old_log() -> None:
    """Drop what the engine noted of jobs long ago; its statistics stay."""
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM pgqueuer_log WHERE aggregated AND created < now() - interval '{KEEP_LOG}'")


def database_time() -> datetime:
    """Now, by the clock that all processes share."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        row = cursor.fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has a row
    now: datetime = row[0]
    return now


def payload_of(payload: bytes | None) -> dict[str, Any]:
    """The payload of a job as it was queued."""
    loaded = json.loads(payload or b"{}")
    return loaded if isinstance(loaded, dict) else {}

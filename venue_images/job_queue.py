"""The job engine, pgqueuer: its tables, and how jobs get into it.

A job is an entrypoint name and a small JSON payload of ids. It can be lost or run twice without harm: the rows tell
what is left to do. Names start with their queue: ``maintenance`` or ``venue_enrichment``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
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

#: Queued jobs of one statement.
BATCH = 5000


@dataclass(frozen=True)
class NewJob:
    """A job to queue. Of two waiting or running jobs with one ``dedupe_key`` only the first is kept."""

    payload: Mapping[str, Any]
    dedupe_key: str
    delay: timedelta = timedelta(0)


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

    ``bring_forward``: a job that waits already takes the new payload, and the new time if that is earlier.
    """
    queued = 0
    for start in range(0, len(jobs), BATCH):
        batch = jobs[start : start + BATCH]
        with transaction.atomic():
            queued += _enqueue_batch(entrypoint, batch)
            if bring_forward:
                _bring_forward(batch)
    return queued


def _enqueue_batch(entrypoint: str, batch: Sequence[NewJob]) -> int:
    ids = SyncQueries(DjangoDriver()).enqueue(
        [entrypoint] * len(batch),
        [json.dumps(job.payload).encode() for job in batch],
        [0] * len(batch),
        [job.delay for job in batch],
        [job.dedupe_key for job in batch],
        on_conflict="skip",
    )
    return sum(1 for job_id in ids if job_id is not None)


def _bring_forward(batch: Sequence[NewJob]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE pgqueuer AS job
            SET payload = wanted.payload, execute_after = least(job.execute_after, now() + wanted.delay), updated = now()
            FROM unnest(%s::text[], %s::bytea[], %s::interval[]) AS wanted (dedupe_key, payload, delay)
            WHERE job.dedupe_key = wanted.dedupe_key AND job.status = 'queued' AND job.payload <> wanted.payload
            """,
            [
                [job.dedupe_key for job in batch],
                [json.dumps(job.payload).encode() for job in batch],
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


def payload_of(payload: bytes | None) -> dict[str, Any]:
    """The payload of a job as it was queued."""
    loaded = json.loads(payload or b"{}")
    return loaded if isinstance(loaded, dict) else {}

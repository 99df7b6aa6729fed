"""The record of what was done to a venue: one row before it begins, completed when it ends."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import scalar_row
from psycopg.types.json import Jsonb

from venue_images.image_ledger import WORKER_SILENCE
from venue_images.models import Operation
from venue_images.runtime import Runtime


@dataclass
class OperationResult:
    """What was done to one venue, or to several when added up. Counts are images; money is US dollars."""

    venues: int = 0
    venues_skipped: int = 0
    images_discovered: int = 0
    images_tried: int = 0
    images_uploaded: int = 0
    images_failed: int = 0
    images_permanently_failed: int = 0
    images_hotlinked: int = 0
    metered_calls: int = 0
    cost_usd: Decimal = field(default_factory=Decimal)
    #: What asking the providers again would have cost for the images that were recovered.
    saved_usd: Decimal = field(default_factory=Decimal)
    failure_breakdown: dict[str, int] = field(default_factory=dict)
    uploaded_by_provider: dict[str, int] = field(default_factory=dict)
    provider_results: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Seconds until a provider may be asked about the venue again; None: none is left. Of several venues the first.
    due_in: float | None = None

    def add(self, other: OperationResult) -> None:
        """Add the figures of another part, or of another venue."""
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.cost_usd += other.cost_usd
        self.saved_usd += other.saved_usd
        self.provider_results |= other.provider_results
        self.due_in = min((wait for wait in (self.due_in, other.due_in) if wait is not None), default=None)
        for ours, theirs in (
            (self.failure_breakdown, other.failure_breakdown),
            (self.uploaded_by_provider, other.uploaded_by_provider),
        ):
            for name, count in theirs.items():
                ours[name] = ours.get(name, 0) + count

    def to_json(self) -> dict[str, Any]:
        """The keys of ``enrich --now``."""
        names = ("venues", "images_discovered", "images_uploaded", "images_failed", "images_hotlinked", "metered_calls")
        return {
            **{name: getattr(self, name) for name in names},
            "cost_usd": float(self.cost_usd),
            "failure_breakdown": self.failure_breakdown,
        }

    def problems(self) -> list[str]:
        """What was not even tried; empty when all was."""
        if not self.venues_skipped:
            return []
        return [f"{self.venues_skipped:,} venues were skipped because the database refused them; the log says why."]

    @property
    def is_empty(self) -> bool:
        """Whether nobody was asked and nothing was tried."""
        return not (self.images_tried or self.images_discovered or self.provider_results)

    @property
    def state(self) -> Operation.State:
        troubled = self.images_failed or any("error_type" in result for result in self.provider_results.values())
        if not troubled:
            return Operation.State.SUCCEEDED
        return Operation.State.PARTIAL if self.images_uploaded or self.images_hotlinked else Operation.State.FAILED


COUNTS = (
    "venues",
    "venues_skipped",
    "images_discovered",
    "images_tried",
    "images_uploaded",
    "images_failed",
    "images_permanently_failed",
    "images_hotlinked",
    "metered_calls",
)


async def begin(
    connection: AsyncConnection, worker_id: uuid.UUID, venue_id: int, kind: Operation.Kind, run_id: int | None = None
) -> int:
    """Note that this worker is at the venue; the id of the operation."""
    async with connection.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(
            """
            INSERT INTO venue_images_operation (venue_id, kind, run_id, state, worker_id, provider_results, failure_breakdown)
            VALUES (%s, %s, %s, %s, %s, '{}', '{}') RETURNING id
            """,
            [venue_id, kind, run_id, Operation.State.RUNNING, worker_id],
        )
        operation_id = await cursor.fetchone()
    return int(operation_id or 0)


@dataclass
class OpenOperation:
    """An operation that gets its row when there is something to do."""

    runtime: Runtime
    venue_id: int
    kind: Operation.Kind
    id: int | None = None

    async def begin(self) -> int:
        """Note that this worker is at the venue, once; the id of the operation."""
        if self.id is None:
            async with self.runtime.pool.connection() as connection:
                self.id = await begin(connection, self.runtime.worker_id, self.venue_id, self.kind)
        return self.id


@contextlib.asynccontextmanager
async def operation(
    runtime: Runtime, venue_id: int, kind: Operation.Kind, result: OperationResult
) -> AsyncIterator[OpenOperation]:
    """Do something to a venue; ``result`` is written at the end, if it was begun. An error leaves the row to the sweep."""
    opened = OpenOperation(runtime, venue_id, kind)
    yield opened
    if opened.id is not None:
        await complete(runtime, opened.id, result)


async def complete(runtime: Runtime, operation_id: int, result: OperationResult) -> None:
    """Write what was done; a retry whose images were all held back leaves no row."""
    if result.is_empty:
        async with runtime.pool.connection() as connection:
            await connection.execute("DELETE FROM venue_images_operation WHERE id = %s", [operation_id])
        return
    parameters: Mapping[str, Any] = {
        **{name: getattr(result, name) for name in COUNTS},
        "id": operation_id,
        "state": result.state,
        "cost_usd": result.cost_usd,
        "saved_usd": result.saved_usd,
        "failure_breakdown": Jsonb(result.failure_breakdown),
        "provider_results": Jsonb(result.provider_results),
    }
    async with runtime.pool.connection() as connection:
        await connection.execute(
            """
            UPDATE venue_images_operation
            SET state = %(state)s, finished_at = now(), worker_id = NULL, images_discovered = %(images_discovered)s,
                images_uploaded = %(images_uploaded)s, images_failed = %(images_failed)s,
                images_hotlinked = %(images_hotlinked)s, metered_calls = %(metered_calls)s, cost_usd = %(cost_usd)s,
                saved_usd = %(saved_usd)s,
                failure_breakdown = %(failure_breakdown)s, provider_results = %(provider_results)s
            WHERE id = %(id)s
            """,
            parameters,
        )


async def sweep(connection: AsyncConnection) -> None:
    """End the operations of dead workers, and forget the workers."""
    await connection.execute(
        f"""
        UPDATE venue_images_operation AS operation
        SET state = %s, finished_at = now(), message = 'The worker that was at it ended without a result.'
        WHERE operation.state = %s AND operation.worker_id IS NOT NULL AND NOT EXISTS (
            SELECT FROM venue_images_worker AS worker
            WHERE worker.id = operation.worker_id
              AND worker.heartbeat_at > now() - interval '{WORKER_SILENCE} seconds'
        )
        """,
        [Operation.State.FAILED, Operation.State.RUNNING],
    )
    await connection.execute("DELETE FROM venue_images_worker WHERE heartbeat_at < now() - interval '1 hour'")

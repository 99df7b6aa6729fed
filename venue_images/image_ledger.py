"""The SQL of the image rows: claim, settle, sweep. New rows come from ``photo_ledger``.

Each is one statement for all images of a venue. No lock and no transaction is held across the network: a claim marks
the rows with a token, a settlement writes only where the token still stands.

Rows are locked by several processes at once, so none may wait for another that waits for it: claim and sweep pass over
rows that are locked, and a settlement takes its rows in the order of their ids.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import class_row, scalar_row

from venue_images.conf import unwanted_providers
from venue_images.errors import ErrorClass, ErrorType, retried_types, types_of
from venue_images.models import UploadStatus

#: Seconds without a heartbeat after which a worker is dead; it beats three times in that.
WORKER_SILENCE = 30
#: Venues that one sweep queues; the next ones follow with the next sweep.
SWEPT_AT_ONCE = 1000

DEAD_WORKER = f"""
    NOT EXISTS (
        SELECT FROM venue_images_worker AS worker
        WHERE worker.id = image.worker_id AND worker.heartbeat_at > now() - interval '{WORKER_SILENCE} seconds'
    )
"""


@dataclass(frozen=True)
class ClaimedImage:
    """An image that this process is at, until it settles it."""

    id: int
    claim_token: uuid.UUID
    provider: str
    provider_url: str
    url_hash: str
    host: str
    retry_count: int
    #: What the last attempt ended with.
    error_type: str | None


@dataclass(frozen=True)
class Scope:
    """Which images of a venue are to be tried."""

    pending: bool = True
    failed: bool = True
    #: Also what is ambiguous, and once more what was blocked.
    ambiguous: bool = False
    #: Nothing but what a dead worker left.
    only_lost: bool = False
    image_ids: tuple[int, ...] | None = None
    #: When somebody asked: back-off from before does not count. A host's Retry-After always does.
    asked_at: datetime | None = None
    #: Each image at most once since ``asked_at``.
    once: bool = False

    def parameters(self, venue_id: int, max_attempts: int) -> dict[str, Any]:
        return {
            "venue": venue_id,
            "pending": self.pending,
            "failed": self.failed,
            "types": [str(ErrorType.WORKER_LOST)] if self.only_lost else retried_types(on_request=self.ambiguous),
            "blocked": types_of(ErrorClass.BLOCKED),
            "max_attempts": max_attempts,
            "ids": list(self.image_ids) if self.image_ids is not None else None,
            "asked_at": self.asked_at,
            "once": self.once,
            "unwanted": unwanted_providers(),
        }


IN_SCOPE = f"""
    venue_id = %(venue)s
    AND (
        (upload_status = '{UploadStatus.PENDING}' AND %(pending)s)
        OR (
            upload_status = '{UploadStatus.FAILED}' AND %(failed)s
            AND error_type = ANY(%(types)s) AND retry_count < %(max_attempts)s
        )
    )
    AND provider <> ALL(%(unwanted)s)
    AND (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s))
    AND (claimed_at IS NULL OR claimed_at < %(asked_at)s
         OR NOT (%(once)s OR coalesce(error_type = ANY(%(blocked)s), false)))
"""
#: When the first request may try the image's host or the storage again; None: both are well.
CIRCUIT_TRY = """
    (SELECT max(circuit.try_at) FROM venue_images_circuit AS circuit
     WHERE circuit.service IN ('storage', 'host:' || host) AND circuit.state <> 'closed')
"""
#: Seconds over which those who wait for a circuit come back.
SPREAD = 10
#: Our own back-off, unless somebody has asked since the last attempt.
BACK_OFF = """
    CASE WHEN claimed_at IS NULL OR claimed_at < %(asked_at)s::timestamptz THEN NULL ELSE next_attempt_at END
"""


async def claim(
    connection: AsyncConnection, venue_id: int, worker_id: uuid.UUID, scope: Scope, max_attempts: int
) -> list[ClaimedImage]:
    """Take every image of the venue that is in scope and due; none is taken by two processes.

    What would only meet an open circuit stays as it is.
    """
    async with connection.cursor(row_factory=class_row(ClaimedImage)) as cursor:
        await cursor.execute(
            f"""
            WITH due AS MATERIALIZED (
                SELECT id AS due_id FROM venue_images_venueimage
                WHERE {IN_SCOPE}
                  AND (not_before IS NULL OR not_before <= now())
                  AND coalesce({BACK_OFF} <= now(), true)
                  AND coalesce({CIRCUIT_TRY} <= now(), true)
                FOR NO KEY UPDATE SKIP LOCKED
            )
            UPDATE venue_images_venueimage
            SET upload_status = '{UploadStatus.UPLOADING}', claim_token = %(token)s, worker_id = %(worker)s,
                claimed_at = now()
            FROM due WHERE id = due_id
            RETURNING id, claim_token, provider, provider_url, url_hash, host, retry_count, error_type
            """,
            {**scope.parameters(venue_id, max_attempts), "token": uuid.uuid4(), "worker": worker_id},
        )
        return await cursor.fetchall()


async def next_due(connection: AsyncConnection, venue_id: int, scope: Scope, max_attempts: int) -> timedelta | None:
    """How long until an image of the venue can be tried, or a worker at it be known to be dead; None: nothing is left."""
    async with connection.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(
            f"""
            SELECT min(due) - now() FROM (
                SELECT greatest(now(), not_before, {BACK_OFF}, CASE
                    WHEN {CIRCUIT_TRY} > now() THEN {CIRCUIT_TRY} + random() * interval '{SPREAD} seconds'
                END) AS due
                FROM venue_images_venueimage WHERE {IN_SCOPE}
                UNION ALL
                SELECT greatest(now(), worker.heartbeat_at) + interval '{WORKER_SILENCE} seconds'
                FROM venue_images_venueimage AS image
                LEFT JOIN venue_images_worker AS worker ON worker.id = image.worker_id
                WHERE image.venue_id = %(venue)s AND image.upload_status = '{UploadStatus.UPLOADING}'
            ) AS times
            """,
            scope.parameters(venue_id, max_attempts),
        )
        delay: timedelta | None = await cursor.fetchone()
        return delay


@dataclass(frozen=True)
class Settlement:
    """The outcome of one attempt, as it goes into the image's row and into the attempt's."""

    image_id: int
    claim_token: uuid.UUID
    status: UploadStatus
    started_at: datetime
    seconds: float
    host: str
    byte_size: int
    retry_count: int
    error_type: str | None = None
    error_message: str = ""
    http_status: int | None = None
    #: Seconds from now: our own back-off, and what the host asked for.
    back_off: float | None = None
    retry_after: float | None = None
    url: str = ""
    storage_key: str = ""
    sha256: str = ""
    content_type: str = ""
    width: int | None = None
    height: int | None = None


SETTLEMENT_TYPES = {
    "image_id": "bigint",
    "claim_token": "uuid",
    "status": "text",
    "started_at": "timestamptz",
    "seconds": "float8",
    "host": "text",
    "byte_size": "bigint",
    "retry_count": "int",
    "error_type": "text",
    "error_message": "text",
    "http_status": "int",
    "back_off": "float8",
    "retry_after": "float8",
    "url": "text",
    "storage_key": "text",
    "sha256": "text",
    "content_type": "text",
    "width": "int",
    "height": "int",
}
SETTLEMENT_ROWS = "unnest({arrays}) AS result ({names})".format(
    arrays=", ".join(f"%({name})s::{sql_type}[]" for name, sql_type in SETTLEMENT_TYPES.items()),
    names=", ".join(SETTLEMENT_TYPES),
)
SETTLE = f"""
    WITH result AS MATERIALIZED (SELECT * FROM {SETTLEMENT_ROWS}),
    ours AS MATERIALIZED (
        SELECT image.id FROM venue_images_venueimage AS image JOIN result ON result.image_id = image.id
        WHERE image.claim_token = result.claim_token ORDER BY image.id FOR NO KEY UPDATE OF image
    ),
    settled AS (
        UPDATE venue_images_venueimage AS image
        SET upload_status = result.status, error_type = result.error_type, error_message = result.error_message,
            http_status = result.http_status, retry_count = result.retry_count,
            failed_at = CASE WHEN result.error_type IS NULL THEN image.failed_at ELSE now() END,
            next_attempt_at = now() + make_interval(secs => result.back_off),
            not_before = now() + make_interval(secs => result.retry_after),
            claim_token = NULL, worker_id = NULL,
            url = coalesce(nullif(result.url, ''), image.url),
            storage_key = coalesce(nullif(result.storage_key, ''), image.storage_key),
            sha256 = coalesce(nullif(result.sha256, ''), image.sha256),
            content_type = coalesce(nullif(result.content_type, ''), image.content_type),
            byte_size = CASE WHEN result.sha256 = '' THEN image.byte_size ELSE result.byte_size END,
            width = coalesce(result.width, image.width), height = coalesce(result.height, image.height),
            uploaded_at = CASE WHEN result.status = '{UploadStatus.UPLOADED}' THEN now() ELSE image.uploaded_at END
        FROM result JOIN ours ON ours.id = result.image_id
        WHERE image.id = result.image_id AND image.claim_token = result.claim_token
          AND image.upload_status = '{UploadStatus.UPLOADING}'
        RETURNING image.id
    ),
    attempted AS (
        INSERT INTO venue_images_uploadattempt
            (image_id, operation_id, started_at, host, error_type, error_message, http_status, byte_size, seconds)
        SELECT image_id, %(operation)s, started_at, host, error_type, error_message, http_status, byte_size, seconds
        FROM result WHERE EXISTS (SELECT FROM venue_images_venueimage AS image WHERE image.id = result.image_id)
    )
    SELECT id FROM settled
"""


async def settle(connection: AsyncConnection, operation_id: int | None, results: Sequence[Settlement]) -> set[int]:
    """Write all outcomes of a venue and an attempt for each; the ids of the images that were still ours."""
    if not results:
        return set()
    arrays: dict[str, Any] = {name: [getattr(result, name) for result in results] for name in SETTLEMENT_TYPES}
    async with connection.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(SETTLE, {**arrays, "operation": operation_id})
        return set(await cursor.fetchall())


async def is_wanted(connection: AsyncConnection, image_id: int, storage_key: str) -> bool:
    """Whether the object may belong to the image: false when the row is gone or has ended without that object."""
    async with connection.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(
            f"""
            SELECT EXISTS (
                SELECT FROM venue_images_venueimage
                WHERE id = %s AND (storage_key = %s OR upload_status IN (
                    '{UploadStatus.PENDING}', '{UploadStatus.UPLOADING}', '{UploadStatus.FAILED}'
                ))
            )
            """,
            [image_id, storage_key],
        )
        return bool(await cursor.fetchone())


async def give_back(connection: AsyncConnection, images: Sequence[ClaimedImage], *, begun: bool) -> None:
    """Drop the claims on images that this process will not settle; no attempt is counted.

    ``begun``: the outcome is not known, as if the worker had died. Otherwise they are again what they were before.
    """
    await connection.execute(
        f"""
        WITH ours AS MATERIALIZED (
            SELECT id AS our_id FROM venue_images_venueimage
            WHERE id = ANY(%(ids)s) AND claim_token = ANY(%(tokens)s) ORDER BY id FOR NO KEY UPDATE
        )
        UPDATE venue_images_venueimage
        SET upload_status = CASE
                WHEN %(begun)s OR error_type IS NOT NULL THEN '{UploadStatus.FAILED}' ELSE '{UploadStatus.PENDING}'
            END,
            error_type = CASE WHEN %(begun)s THEN '{ErrorType.WORKER_LOST}' ELSE error_type END,
            error_message = CASE
                WHEN %(begun)s THEN 'The worker that was at it was stopped.' ELSE error_message
            END,
            http_status = CASE WHEN %(begun)s THEN NULL ELSE http_status END,
            failed_at = CASE WHEN %(begun)s THEN now() ELSE failed_at END,
            next_attempt_at = CASE WHEN %(begun)s THEN NULL ELSE next_attempt_at END,
            claimed_at = CASE WHEN %(begun)s THEN claimed_at END,
            claim_token = NULL, worker_id = NULL
        FROM ours WHERE id = our_id
        """,
        {
            "ids": [image.id for image in images],
            "tokens": [image.claim_token for image in images],
            "begun": begun,
        },
    )


async def hold_back(connection: AsyncConnection, held: Mapping[ClaimedImage, float]) -> None:
    """Drop the claims on images that were not tried, and let them wait, each so many seconds: 0 for as they were."""
    waiting = {image.id: seconds for image, seconds in held.items() if seconds > 0}
    async with connection.transaction():
        await give_back(connection, list(held), begun=False)
        await connection.execute(
            """
            UPDATE venue_images_venueimage AS image
            SET not_before = greatest(image.not_before, now() + make_interval(secs => held.seconds))
            FROM unnest(%s::bigint[], %s::float8[]) AS held (id, seconds)
            WHERE image.id = held.id AND image.claim_token IS NULL
            """,
            [list(waiting), list(waiting.values())],
        )


SWEEP = f"""
    WITH orphan AS MATERIALIZED (
        SELECT image.id FROM venue_images_venueimage AS image
        WHERE image.upload_status = '{UploadStatus.UPLOADING}' AND {DEAD_WORKER}
        FOR NO KEY UPDATE OF image SKIP LOCKED
    ),
    lost AS (
        UPDATE venue_images_venueimage AS image
        SET upload_status = '{UploadStatus.FAILED}', error_type = '{ErrorType.WORKER_LOST}',
            error_message = 'The worker that was at it ended without a result.', http_status = NULL,
            failed_at = now(), next_attempt_at = NULL, claim_token = NULL, worker_id = NULL
        FROM orphan WHERE image.id = orphan.id
        RETURNING image.id, image.venue_id, image.claimed_at, image.host
    ),
    attempted AS (
        INSERT INTO venue_images_uploadattempt
            (image_id, started_at, host, error_type, error_message, byte_size, seconds)
        SELECT id, coalesce(claimed_at, now()), host, '{ErrorType.WORKER_LOST}', '', 0,
               extract(epoch FROM now() - coalesce(claimed_at, now()))
        FROM lost
    )
    SELECT DISTINCT venue_id FROM lost
"""


async def sweep(connection: AsyncConnection) -> list[int]:
    """Give back the images of dead workers, without counting the attempt; the venues that have such images now.

    Those of an earlier sweep are among them, so that it does not matter when a process ends before it has queued them.
    """
    async with connection.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(SWEEP)
        await cursor.execute(
            f"""
            SELECT DISTINCT venue_id FROM venue_images_venueimage
            WHERE upload_status = '{UploadStatus.FAILED}' AND error_type = '{ErrorType.WORKER_LOST}'
              AND claimed_at IS NOT NULL
            ORDER BY venue_id LIMIT {SWEPT_AT_ONCE}
            """
        )
        return await cursor.fetchall()

"""How often each service may be asked, and how often it was: shared by every worker on every machine.

One row a bucket: a service (``provider:<name>``, ``host:<host>``) and a window (second, minute, hour, day). A worker
leases the requests that it wants now in one transaction over all windows of the service; what it leases it uses at once.

No window is exceeded wherever it begins, which is more than a counter that starts anew with each minute would give: the
window slides. It is cut into slices; a slice counts as a whole, and as long as a request may take from its grant until it is
sent (``GRACE``: 60 ms for a limit by the second, 3.6 s by the minute). What the network adds beyond that is not covered. That
costs 7 % of the rate at most.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import AsyncConnection
from psycopg.rows import class_row, scalar_row

#: Seconds of each window.
WINDOWS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
#: Slices of a window, and slices within which a granted request has to be sent.
SLICES = 100
GRACE = 6
#: Slices that are remembered: the window, the grace, and the slice that is not over.
REMEMBERED = SLICES + GRACE + 1

#: Counters are kept a little longer than the longest window that a page shows.
KEEP = "25 hours"


@dataclass(frozen=True)
class Bucket:
    """What was granted lately in one window of one service, newest slice first."""

    window: str
    granted: Sequence[int]
    newest: int

    def at(self, now: float) -> Bucket:
        """The bucket as it is ``now``, in seconds since 1970; a clock that went back does not bring time back."""
        newest = max(int(now / self.slice_seconds), self.newest)
        passed = min(newest - self.newest, REMEMBERED)
        return Bucket(self.window, ([0] * passed + list(self.granted))[:REMEMBERED], newest)

    def room(self, limit: int) -> int:
        """Requests that may be granted at once."""
        return max(limit - sum(self.granted), 0)

    def with_granted(self, count: int) -> Bucket:
        first, *others = self.granted or [0]
        return Bucket(self.window, [first + count, *others], self.newest)

    def wait(self, limit: int, now: float) -> float:
        """Seconds from ``now`` until one more request may be granted; a limit of 0 is never met: infinite."""
        used = sum(self.granted)
        for age in range(len(self.granted) - 1, -1, -1):
            if used < limit:
                break
            used -= self.granted[age]
            if used < limit:
                return max((self.newest - age + REMEMBERED) * self.slice_seconds - now, 0.0)
        return 0.0 if used < limit else math.inf

    @property
    def slice_seconds(self) -> float:
        return WINDOWS[self.window] / SLICES


@dataclass(frozen=True)
class Lease:
    """Requests granted to this process, to be sent before ``valid_until`` (``time.monotonic``)."""

    granted: int
    valid_until: float
    #: Seconds until more can be granted, when none was.
    wait: float


async def lease(
    connection: AsyncConnection, service: str, limits: Mapping[str, int], wanted: int, *, uncounted: int = 0
) -> Lease:
    """At most ``wanted`` requests, as many as all windows of ``limits`` have room for.

    They count as made; ``uncounted`` of them replace such as were granted before and not made.
    """
    leased = await _lease(connection, service, limits, wanted, uncounted)
    while leased is None:
        await _add_missing(connection, service, limits)
        leased = await _lease(connection, service, limits, wanted, uncounted)
    return leased


async def _lease(
    connection: AsyncConnection, service: str, limits: Mapping[str, int], wanted: int, uncounted: int
) -> Lease | None:
    """The lease; None, and nothing done, when a window has no row yet."""
    async with connection.pipeline(), connection.transaction():
        if set(limits) == {"second"}:
            # What a crash of the database forgets is over by then; waiting for its disk would cost more.
            await connection.execute("SET LOCAL synchronous_commit TO off")
        buckets = await _locked(connection, service, limits)
        if len(buckets) < len(limits):
            return None
        asked = time.monotonic()
        now = await _now(connection)
        buckets = [bucket.at(now) for bucket in buckets]
        granted = min([wanted, *(bucket.room(limits[bucket.window]) for bucket in buckets)])
        if granted:
            await _write(connection, service, [bucket.with_granted(granted) for bucket in buckets])
        await count(connection, service, granted - uncounted)
    grace = GRACE * min((bucket.slice_seconds for bucket in buckets), default=math.inf)
    wait = max((bucket.wait(limits[bucket.window], now) for bucket in buckets), default=0.0)
    return Lease(granted, asked + grace, 0.0 if granted else wait)


async def count(connection: AsyncConnection, service: str, requests: int) -> None:
    """Count requests to a provider's API, now: for the pages, and for the month."""
    kind, _, name = service.partition(":")
    if kind == "provider" and requests > 0:
        await connection.execute(COUNT, {"name": name, "requests": requests})


async def uncount(connection: AsyncConnection, service: str, requests: int) -> None:
    """Take requests back that were granted lately and not made."""
    await connection.execute(UNCOUNT, {"name": service.partition(":")[2], "requests": requests})


UNCOUNT = """
    WITH by_month AS (
        UPDATE venue_images_providerspend SET calls = calls - %(requests)s
        WHERE provider = %(name)s AND month = date_trunc('month', now() AT TIME ZONE 'UTC') AND calls >= %(requests)s
    )
    UPDATE venue_images_providerusage SET calls = calls - %(requests)s
    WHERE provider = %(name)s AND second = (
        SELECT max(second) FROM venue_images_providerusage WHERE provider = %(name)s AND calls >= %(requests)s
    )
"""
COUNT = """
    WITH by_month AS (
        INSERT INTO venue_images_providerspend AS spend (provider, month, calls, cost_usd)
        SELECT %(name)s, date_trunc('month', now() AT TIME ZONE 'UTC'), %(requests)s, 0
        ON CONFLICT (provider, month) DO UPDATE SET calls = spend.calls + %(requests)s
    )
    INSERT INTO venue_images_providerusage AS usage (provider, second, calls)
    SELECT %(name)s, date_trunc('second', now()), %(requests)s
    ON CONFLICT (provider, second) DO UPDATE SET calls = usage.calls + %(requests)s
"""


async def _locked(connection: AsyncConnection, service: str, limits: Mapping[str, int]) -> list[Bucket]:
    async with connection.cursor(row_factory=class_row(Bucket)) as cursor:
        await cursor.execute(
            """
            SELECT "window", granted, newest FROM venue_images_ratebucket
            WHERE service = %s AND "window" = ANY(%s) ORDER BY "window" FOR UPDATE
            """,
            [service, list(limits)],
        )
        return await cursor.fetchall()


async def _add_missing(connection: AsyncConnection, service: str, limits: Mapping[str, int]) -> None:
    """Make the rows of the windows, in a transaction of its own: who holds one of them must not wait for another."""
    await connection.execute(
        """
        INSERT INTO venue_images_ratebucket (service, "window", granted, newest)
        SELECT %s, name, '{}', 0 FROM unnest(%s::text[]) AS name ORDER BY name ON CONFLICT DO NOTHING
        """,
        [service, list(limits)],
    )


async def _now(connection: AsyncConnection) -> float:
    """The database's clock once the rows are ours, in seconds since 1970."""
    async with connection.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        return float(await cursor.fetchone() or 0)


async def _write(connection: AsyncConnection, service: str, buckets: Sequence[Bucket]) -> None:
    for bucket in buckets:
        await connection.execute(
            'UPDATE venue_images_ratebucket SET granted = %s, newest = %s WHERE service = %s AND "window" = %s',
            [list(bucket.granted), bucket.newest, service, bucket.window],
        )


async def forget_old_calls(connection: AsyncConnection) -> None:
    """Drop the counters that no window reaches any more."""
    await connection.execute(f"DELETE FROM venue_images_providerusage WHERE second < now() - interval '{KEEP}'")

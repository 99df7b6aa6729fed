"""How often each provider was asked: counters by second, shared by every process."""

from __future__ import annotations

from psycopg import AsyncConnection

#: Counters are kept a little longer than the longest window that a page shows.
KEEP = "25 hours"


async def record_call(connection: AsyncConnection, provider: str) -> None:
    """Count one API call to ``provider``, now."""
    await connection.execute(
        """
        INSERT INTO venue_images_providerusage (provider, second, calls) VALUES (%s, date_trunc('second', now()), 1)
        ON CONFLICT (provider, second) DO UPDATE SET calls = venue_images_providerusage.calls + 1
        """,
        [provider],
    )


async def forget_old_calls(connection: AsyncConnection) -> None:
    """Drop the counters that no window reaches any more."""
    await connection.execute(f"DELETE FROM venue_images_providerusage WHERE second < now() - interval '{KEEP}'")

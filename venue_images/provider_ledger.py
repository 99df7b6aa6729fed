"""The SQL of the provider rows: what the owner chose, what was asked and paid, and how far each venue has come."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from psycopg import AsyncConnection
from psycopg.rows import class_row, scalar_row
from psycopg.types.json import Jsonb

from venue_images import rate_limits
from venue_images.providers.base import Billing


@dataclass(frozen=True)
class Choices:
    """The owner's row of one provider."""

    name: str
    metered: bool = False
    geocode: bool = False
    cost_per_search: Decimal = field(default_factory=Decimal)
    cost_per_call: Decimal = field(default_factory=Decimal)
    cost_per_image: Decimal = field(default_factory=Decimal)
    monthly_budget_usd: Decimal | None = None
    spent_this_month_usd: Decimal = field(default_factory=Decimal)
    limit_per_second: int | None = None
    limit_per_minute: int | None = None
    limit_per_hour: int | None = None
    limit_per_day: int | None = None

    @property
    def limits(self) -> dict[str, int]:
        """Calls allowed in each window that is limited."""
        limits = {window: getattr(self, f"limit_per_{window}") for window in rate_limits.WINDOWS}
        return {window: limit for window, limit in limits.items() if limit is not None}

    @property
    def seconds_per_call(self) -> float:
        """How long the provider takes for each call in the long run, as its limits have it."""
        return max((rate_limits.WINDOWS[window] / max(limit, 1) for window, limit in self.limits.items()), default=0.0)

    @property
    def is_used_up(self) -> bool:
        """Whether this month's budget pays nothing more of what the provider charges for."""
        prices = [price for price in (self.cost_per_search, self.cost_per_call, self.cost_per_image) if price]
        if self.monthly_budget_usd is None or not prices:
            return False
        return self.spent_this_month_usd + min(prices) > self.monthly_budget_usd

    @property
    def no_budget(self) -> str:
        return f"this month's budget of ${self.monthly_budget_usd:,.2f} is used up."

    def price(self, billing: Billing) -> Decimal:
        """US dollars."""
        prices = {
            Billing.SEARCH: self.cost_per_search,
            Billing.CALL: self.cost_per_call,
            Billing.IMAGE: self.cost_per_image,
        }
        return prices.get(billing, Decimal(0))


async def active(connection: AsyncConnection) -> list[str]:
    """The names of the active providers, in the order of their priority."""
    async with connection.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute("SELECT name FROM venue_images_provider WHERE active ORDER BY priority, name")
        return await cursor.fetchall()


async def choices(connection: AsyncConnection) -> dict[str, Choices]:
    """The owner's rows of all providers, by name."""
    async with connection.cursor(row_factory=class_row(Choices)) as cursor:
        await cursor.execute(
            """
            SELECT name, metered, geocode, cost_per_search, cost_per_call, cost_per_image, monthly_budget_usd,
                   limit_per_second, limit_per_minute, limit_per_hour, limit_per_day,
                   coalesce(spend.cost_usd, 0) AS spent_this_month_usd
            FROM venue_images_provider AS provider LEFT JOIN venue_images_providerspend AS spend
              ON spend.provider = provider.name AND spend.month = date_trunc('month', now() AT TIME ZONE 'UTC')
            """
        )
        return {row.name: row for row in await cursor.fetchall()}


@dataclass(frozen=True)
class Payment:
    """What one call costs, booked in its month."""

    provider: str
    price: Decimal
    month: date


async def pay(connection: AsyncConnection, choices: Choices, price: Decimal) -> Payment | None:
    """Book the price of one call, now; None, and nothing booked, when the month's budget does not allow it."""
    async with connection.cursor(row_factory=class_row(Payment)) as cursor:
        await cursor.execute(
            """
            INSERT INTO venue_images_providerspend AS spend (provider, month, calls, cost_usd)
            SELECT %(name)s, date_trunc('month', now() AT TIME ZONE 'UTC'), 0, %(price)s
            WHERE %(price)s <= coalesce(%(budget)s, %(price)s)
            ON CONFLICT (provider, month) DO UPDATE SET cost_usd = spend.cost_usd + %(price)s
            WHERE spend.cost_usd + %(price)s <= coalesce(%(budget)s, spend.cost_usd + %(price)s)
            RETURNING provider, %(price)s AS price, month
            """,
            {"name": choices.name, "price": price, "budget": choices.monthly_budget_usd},
        )
        return await cursor.fetchone()


async def refund(connection: AsyncConnection, payment: Payment) -> None:
    """Take back the price of a call that was not sent."""
    await connection.execute(
        "UPDATE venue_images_providerspend SET cost_usd = cost_usd - %s WHERE provider = %s AND month = %s",
        [payment.price, payment.provider, payment.month],
    )


@dataclass(frozen=True)
class Check:
    """How far one provider has been asked about one venue; times in seconds from now."""

    provider: str
    #: None: it has never answered, or so long ago that it is asked again.
    checked_at: datetime | None = None
    #: None: it was never asked.
    tried_at: datetime | None = None
    #: Seconds until it may be asked again; None: nobody comes back for it.
    due_in: float | None = None
    failures: int = 0

    def has_answered_since(self, moment: datetime | None) -> bool:
        """Whether it answered after that moment; None: ever."""
        return self.checked_at is not None and (moment is None or self.checked_at > moment)

    def was_tried_since(self, moment: datetime | None) -> bool:
        """Whether it was asked after that moment; None: no."""
        return self.tried_at is not None and moment is not None and self.tried_at > moment


async def checks(connection: AsyncConnection, venue_id: int) -> dict[str, Check]:
    """What is known of the venue, by provider."""
    async with connection.cursor(row_factory=class_row(Check)) as cursor:
        await cursor.execute(
            """
            SELECT provider, failures, tried_at, extract(epoch FROM due_at - now())::float8 AS due_in,
                   CASE WHEN checked_at > now() - interval '90 days' THEN checked_at END AS checked_at
            FROM venue_images_providercheck WHERE venue_id = %s
            """,
            [venue_id],
        )
        return {check.provider: check for check in await cursor.fetchall()}


@dataclass(frozen=True)
class CheckResult:
    """What asking one provider about one venue came to."""

    provider: str
    #: It answered, or refused for good: it is not asked again before the venue is stale again.
    is_done: bool
    #: Seconds until it may be asked again; None: nobody has to come back for it.
    due_in: float | None = None
    #: Seconds by which those who wait for it are spread, each.
    spread: float = 0.0
    #: A failure that passes, not a limit of ours.
    has_failed: bool = False
    confidence: float | None = None
    note: str = ""


SAVE_CHECKS = """
    INSERT INTO venue_images_providercheck AS known
        (venue_id, provider, checked_at, tried_at, due_at, failures, confidence, note)
    SELECT %(venue)s, provider, CASE WHEN is_done THEN now() END, now(),
           now() + make_interval(secs => due_in + CASE WHEN spread > 0 THEN random() * spread * (
               SELECT count(*) FROM (
                   SELECT FROM venue_images_providercheck AS other
                   WHERE other.provider = result.provider AND other.due_at > now() LIMIT 10000
               ) AS waiting
           ) ELSE 0 END),
           (has_failed AND NOT is_done)::int, confidence, note
    FROM jsonb_to_recordset(%(results)s) AS result (
        provider text, is_done boolean, due_in float8, spread float8, has_failed boolean, confidence float8, note text
    ) ORDER BY provider
    ON CONFLICT (venue_id, provider) DO UPDATE
    SET checked_at = coalesce(excluded.checked_at, known.checked_at), tried_at = now(), due_at = excluded.due_at,
        failures = CASE WHEN excluded.checked_at IS NULL THEN known.failures + excluded.failures ELSE 0 END,
        confidence = coalesce(excluded.confidence, known.confidence), note = excluded.note
"""


async def save_checks(connection: AsyncConnection, venue_id: int, results: Sequence[CheckResult]) -> None:
    """Write how far the venue has come; many venues that wait for one provider get different times."""
    if results:
        rows = Jsonb([dataclasses.asdict(result) for result in results])
        await connection.execute(SAVE_CHECKS, {"venue": venue_id, "results": rows})


async def keep_ids(connection: AsyncConnection, venue_id: int, found: Mapping[str, str]) -> None:
    """Add ids to the venue; one that it has already stays."""
    if found:
        await connection.execute(
            "UPDATE venue_images_venue SET provider_ids = %s || provider_ids WHERE id = %s",
            [Jsonb(dict(found)), venue_id],
        )


@dataclass(frozen=True)
class Unreported:
    """A chosen photo whose provider wants to be told."""

    id: int
    provider: str
    report_path: str


async def unreported(connection: AsyncConnection, venue_id: int, providers: Sequence[str]) -> list[Unreported]:
    """The venue's chosen photos whose provider, one of these, was not told yet; marked as told."""
    async with connection.cursor(row_factory=class_row(Unreported)) as cursor:
        await cursor.execute(
            """
            UPDATE venue_images_venueimage SET reported_at = now()
            WHERE venue_id = %s AND provider = ANY(%s) AND report_path <> '' AND reported_at IS NULL
            RETURNING id, provider, report_path
            """,
            [venue_id, list(providers)],
        )
        return await cursor.fetchall()


async def not_reported(connection: AsyncConnection, image_id: int) -> None:
    """Take back the mark: the provider was not told."""
    await connection.execute("UPDATE venue_images_venueimage SET reported_at = NULL WHERE id = %s", [image_id])

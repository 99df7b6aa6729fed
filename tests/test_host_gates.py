"""Downloads at once from one photo host: shared by all workers, and given back whatever happens to them."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.gates import cancel_some, held_by, open_gates, with_gates
from tests.runtimes import new_connection
from venue_images import gates
from venue_images.errors import Held
from venue_images.gates import IDLE, Gates
from venue_images.models import Circuit
from venue_images.providers.base import HostLimit

pytestmark = pytest.mark.usefixtures("transactional_db")

HOST = "photos.example"
SIX = HostLimit(concurrency=6)


class Downloads:
    """Downloads from one host, counted while they are under way."""

    def __init__(self) -> None:
        self.under_way = self.most = self.done = 0
        self.full = asyncio.Event()

    async def one(self, gates: Gates, seconds: float = 0.01) -> None:
        async with gates.host(HOST).permit(SIX):
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            if self.most == SIX.concurrency:
                self.full.set()
            try:
                await asyncio.sleep(seconds)
            finally:
                self.under_way -= 1
        self.done += 1


def leases() -> dict[str, int]:
    return dict(Circuit.objects.get(service=f"host:{HOST}").leases)


def test_two_workers_together_keep_to_the_downloads_at_once_of_a_host() -> None:
    downloads = Downloads()

    async def work(one: Gates, other: Gates) -> None:
        await asyncio.gather(*(downloads.one(each) for each in (one, other) for _ in range(60)))

    with_gates(work, workers=2)
    assert downloads.done == 120
    assert 3 <= downloads.most <= 6


def test_a_worker_that_joins_takes_nothing_that_is_in_use() -> None:
    downloads = Downloads()

    async def work(one: Gates) -> None:
        first = [asyncio.create_task(downloads.one(one, 0.4)) for _ in range(20)]
        await downloads.full.wait()
        async with open_gates() as other:
            await asyncio.gather(*first, *(downloads.one(other, 0.1) for _ in range(10)))

    with_gates(work)
    assert (downloads.done, downloads.most) == (30, 6)


def test_what_is_not_used_any_more_is_given_back() -> None:
    async def work(one: Gates, other: Gates) -> dict[str, int]:
        async with one.host(HOST).permit(SIX), one.host(HOST).permit(SIX):
            pass
        async with one.host(HOST).permit(SIX):
            await one.give_back_unused()
            async with await new_connection() as connection:
                found = await connection.execute("SELECT leases FROM venue_images_circuit")
                row = await found.fetchone()
        await one.give_back_unused()
        return row[0] if row else {}

    assert list(with_gates(work, workers=2).values()) == [1]
    assert leases() == {}


def test_who_gets_no_turn_soon_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "TURN_PATIENCE", 0.2)

    async def work(gates: Gates) -> Held:
        async with gates.host(HOST).permit(HostLimit(concurrency=1)):
            return await held_by(gates.host(HOST).permit(HostLimit(concurrency=1)).__aenter__())

    assert "all its downloads at once are in use" in with_gates(work, patience=0.1).message


def test_downloads_that_are_cancelled_at_any_moment_leave_no_permit_behind() -> None:
    downloads, chance = Downloads(), random.Random(5)

    async def work(gates: Gates) -> None:
        for _ in range(4):
            tasks = [asyncio.create_task(downloads.one(gates)) for _ in range(40)]
            await cancel_some(tasks, chance)
            await asyncio.gather(*tasks, return_exceptions=True)
            await gates.give_back_unused()
        downloads.most = 0
        await asyncio.gather(*(downloads.one(gates, 0.3) for _ in range(6)))
        await gates.give_back_unused()
        assert gates.host(HOST)._turns.in_use == 0

    with_gates(work)
    assert (downloads.under_way, downloads.most) == (0, 6)
    assert leases() == {}


def test_the_gate_of_a_host_that_nobody_asks_any_more_is_forgotten() -> None:
    async def work(gates: Gates) -> tuple[bool, bool]:
        gate = gates.host(HOST)
        async with gate.permit(HostLimit()):
            await gate.enter({})
            gate._looked_at -= 2 * IDLE
            await gates.give_back_unused()
            is_kept = gates.host(HOST) is gate
        await gates.give_back_unused()
        return is_kept, gates.host(HOST) is gate

    assert with_gates(work) == (True, False)

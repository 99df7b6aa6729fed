"""Turns that several processes share: never more at once than there are, whenever the database's answer arrives."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator

import pytest

from tests.gates import held_by
from venue_images import turns
from venue_images.errors import Held
from venue_images.turns import Turns


class Ledger:
    """A limit, and what each process has of it, as the database keeps them; and the turns that are used at one time."""

    def __init__(self, limit: int, *, living: int = 1) -> None:
        self.limit = limit
        #: Processes that share the limit evenly.
        self.living = living
        self.leases: dict[str, int] = {}
        self.asked = 0
        self.under_way = self.most = self.done = 0
        self._answers: dict[str, asyncio.Event] = {}
        self._delay = random.Random(0)

    def turns(self, name: str, *, slow: bool = False) -> Turns:
        """The turns of one process."""
        answer = self._answers[name] = asyncio.Event()
        answer.set()

        async def lease(wanted: int, in_use: int) -> int:
            if slow:
                await asyncio.sleep(self._delay.uniform(0, 0.003))
            granted = self._write(name, wanted, in_use)
            if slow:
                await asyncio.sleep(self._delay.uniform(0, 0.003))
            await answer.wait()
            return granted

        return Turns(lease, "All are in use.")

    def _write(self, name: str, wanted: int, in_use: int) -> int:
        self.asked += 1
        others = sum(count for other, count in self.leases.items() if other != name)
        granted = max(0, min(wanted, self.limit - others, -(-self.limit // self.living)))
        self.leases[name] = max(granted, in_use)
        return granted

    @contextlib.contextmanager
    def late_answers(self, name: str) -> Iterator[None]:
        """What this process asks is written at once, and answered only at the end."""
        self._answers[name].clear()
        yield
        self._answers[name].set()

    async def use(self, turns: Turns, end: asyncio.Event, patience: float = 5.0) -> None:
        async with turns.turn(patience):
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            try:
                await end.wait()
            finally:
                self.under_way -= 1
        self.done += 1

    async def start(self, turns: Turns, end: asyncio.Event) -> asyncio.Task[None]:
        """Begin to use a turn; everything that needs no late answer has happened."""
        task = asyncio.create_task(self.use(turns, end))
        await let_all_go_on()
        return task


async def let_all_go_on() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def now() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def test_what_is_being_given_back_is_handed_out_no_more() -> None:
    ledger, end = Ledger(2), asyncio.Event()
    one, other = ledger.turns("one"), ledger.turns("other")
    await asyncio.gather(ledger.use(one, now()), ledger.use(one, now()))
    with ledger.late_answers("one"):
        giving = asyncio.create_task(one.give_back())
        await let_all_go_on()
        assert ledger.leases == {"one": 0}
        others = [await ledger.start(other, end) for _ in range(2)]
        late = await ledger.start(one, now())
        assert ledger.under_way == 2
    end.set()
    await asyncio.gather(giving, *others)
    await other.give_back()
    await late
    assert (ledger.done, ledger.most) == (5, 2)


async def test_a_process_that_gets_less_than_before_hands_out_nothing_of_the_rest_meanwhile() -> None:
    ledger, first, second, end = Ledger(2), asyncio.Event(), asyncio.Event(), asyncio.Event()
    one, other = ledger.turns("one"), ledger.turns("other")
    tasks = [await ledger.start(one, first), await ledger.start(one, second)]
    with ledger.late_answers("one"):
        tasks.append(await ledger.start(one, end))
        first.set()
        await let_all_go_on()
        giving = asyncio.create_task(one.give_back())
        await let_all_go_on()
        second.set()
        await let_all_go_on()
        assert ledger.under_way == 1
        # Another process appears before the turns are given back: its share is one of the two.
        ledger.living = 2
    with ledger.late_answers("one"):
        await let_all_go_on()
        assert ledger.leases == {"one": 1}
        tasks += [await ledger.start(other, end), await ledger.start(one, end)]
        assert ledger.under_way == 2
    end.set()
    await asyncio.gather(giving, *tasks)
    assert (ledger.done, ledger.most) == (5, 2)


@pytest.mark.parametrize("seed", range(3))
async def test_there_are_never_more_at_once_whatever_happens_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(turns, "ASK_AGAIN", 0.004)
    chance = random.Random(seed)
    ledger = Ledger(chance.choice([1, 2, 3, 6]), living=2)
    processes = [ledger.turns(name, slow=True) for name in ("one", "other")]

    async def one(process: Turns) -> None:
        end = asyncio.Event()
        asyncio.get_running_loop().call_later(chance.uniform(0, 0.02), end.set)
        with contextlib.suppress(Held):
            await ledger.use(process, end, chance.choice([0.005, 5.0]))

    tasks: list[asyncio.Task[None]] = []
    for _ in range(100):
        process = chance.choice(processes)
        tasks += [asyncio.create_task(one(process)) for _ in range(chance.randint(0, 2))]
        tasks.append(asyncio.create_task(process.give_back()))
        await asyncio.sleep(chance.uniform(0, 0.004))
    await asyncio.gather(*tasks)
    for process in processes:
        await process.give_back()
    assert ledger.done
    assert 0 < ledger.most <= ledger.limit
    assert ledger.leases == {"one": 0, "other": 0}


@pytest.mark.parametrize("leaves_by", ["time", "being cancelled"])
async def test_for_one_that_has_left_nothing_is_leased(monkeypatch: pytest.MonkeyPatch, leaves_by: str) -> None:
    monkeypatch.setattr(turns, "ASK_AGAIN", 0.01)
    ledger, end = Ledger(1), asyncio.Event()
    one, other = ledger.turns("one"), ledger.turns("other")
    holder = await ledger.start(other, end)
    before = asyncio.all_tasks()
    if leaves_by == "time":
        held = await held_by(ledger.use(one, end, patience=0.05))
        assert held.seconds == turns.COME_BACK
    else:
        task = await ledger.start(one, end)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert one.waiting == 0
    async with asyncio.timeout(5):
        await asyncio.gather(*(asyncio.all_tasks() - before))
    end.set()
    await holder
    await other.give_back()
    asked = ledger.asked
    await one.give_back()
    assert (ledger.asked, ledger.leases, one.in_use) == (asked, {"one": 0, "other": 0}, 0)

"""The way out of a process: many tasks and several workers at one service, which is asked as it wants to be."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from typing import Any

import pytest
from psycopg_pool import AsyncConnectionPool

from tests.gates import cancel_some, execute, held_by, with_gates
from tests.runtimes import new_connection
from venue_images import circuits
from venue_images.circuits import RETRY_TOKENS, CircuitState, Failure
from venue_images.errors import ErrorType, Held
from venue_images.gates import LOOK_EVERY, Gate, Gates
from venue_images.models import Circuit, RateBucket
from venue_images.providers.base import HostLimit
from venue_images.rate_limits import GRACE, SLICES
from venue_images.sandbox.strictness import Rules

pytestmark = pytest.mark.usefixtures("transactional_db")

API, HOST = "example", "photos.example"
DOWN = Failure(ErrorType.SERVICE_UNAVAILABLE, "It answered 503.")


def api_gate(gates: Gates) -> Gate:
    return gates.provider(API, "Example")


async def note_failure(service: str, failure: Failure) -> CircuitState:
    """As another worker does."""
    async with await new_connection() as connection:
        return await circuits.note_failure(connection, service, failure)


# Limits


def test_many_tasks_of_two_workers_keep_the_limit() -> None:
    rules = Rules()
    rules.add(API, 30, 1.0, ban=True)

    async def send(gate: Gate) -> None:
        await gate.enter({"second": 30, "hour": 1000})
        rules.allow(API)

    async def work(one: Gates, other: Gates) -> None:
        await asyncio.gather(*(send(api_gate(each)) for each in (one, other) for _ in range(45)))

    with_gates(work, workers=2)
    assert rules.violations() == {}
    assert sum(RateBucket.objects.get(window="hour").granted) >= 90


def test_who_would_wait_for_too_long_is_sent_away_with_a_time() -> None:
    async def work(gates: Gates) -> tuple[Held, float]:
        await api_gate(gates).enter({"minute": 1})
        started = time.monotonic()
        return await held_by(api_gate(gates).enter({"minute": 1})), time.monotonic() - started

    held, took = with_gates(work, patience=2.0)
    assert "Example: the limit of 1 a minute is used up" in held.message
    assert 55 < held.seconds < 66
    assert (held.by_circuit, took < 2.0) == (False, True)


def test_who_has_the_patience_waits_for_the_next_turn() -> None:
    async def work(gates: Gates) -> float:
        started = time.monotonic()
        for _ in range(2):
            await api_gate(gates).enter({"second": 1})
        return time.monotonic() - started

    assert with_gates(work) >= 1.0


def test_what_nobody_came_for_in_time_is_not_sent_late() -> None:
    async def work(gates: Gates) -> int:
        gate = api_gate(gates)
        others = [asyncio.create_task(gate.enter({"second": 100})) for _ in range(10)]
        await others[0]
        for task in others[1:]:
            task.cancel()
        await asyncio.sleep(2 * GRACE / SLICES)
        await gate.enter({"second": 100})
        return len(others)

    leased = with_gates(work)
    assert sum(RateBucket.objects.get(window="second").granted) == leased + 1


def test_the_owners_limit_for_a_host_goes_before_its_providers() -> None:
    Circuit.objects.create(service=f"host:{HOST}", limit_per_second=1)

    async def work(gates: Gates) -> Held:
        await gates.host(HOST).enter({"second": 50})
        return await held_by(gates.host(HOST).enter({"second": 50}))

    assert "the limit of 1 a second" in with_gates(work, patience=0.0).message


def test_a_limit_that_the_owner_has_raised_holds_at_once() -> None:
    async def work(gates: Gates) -> None:
        await api_gate(gates).enter({"day": 1})
        await held_by(api_gate(gates).enter({"day": 1}))
        await api_gate(gates).enter({"day": 2})

    with_gates(work)


def test_tasks_that_are_cancelled_while_they_wait_leave_nothing_behind() -> None:
    chance = random.Random(3)
    rules = Rules()
    rules.add(API, 20, 1.0, ban=True)

    async def send(gate: Gate) -> None:
        await gate.enter({"second": 20})
        rules.allow(API)

    async def work(gates: Gates) -> Gate:
        gate = api_gate(gates)
        tasks = [asyncio.create_task(send(gate)) for _ in range(80)]
        await cancel_some(tasks, chance)
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(send(gate) for _ in range(20)))
        return gate

    gate = with_gates(work)
    assert (gate._waiting, gate._leasing.locked()) == (0, False)
    assert rules.violations() == {}


# Circuits


def test_a_look_at_a_healthy_circuit_holds_for_a_moment_and_no_longer() -> None:
    async def work(gates: Gates) -> tuple[Held, float]:
        gate = api_gate(gates)
        looked = time.monotonic()
        await gate.enter({})
        await note_failure(f"provider:{API}", Failure(ErrorType.PROVIDER_KEY, "The key is wrong."))
        while True:
            try:
                await gate.enter({})
            except Held as held:
                return held, time.monotonic() - looked
            await asyncio.sleep(0.02)

    held, after = with_gates(work)
    assert LOOK_EVERY < after < LOOK_EVERY + 2
    assert (held.message, held.by_circuit) == ("Example is left alone: The key is wrong.", True)
    assert 50 < held.seconds <= 60


def test_a_look_that_holds_asks_the_database_nothing() -> None:
    async def work(gates: Gates) -> tuple[int, float]:
        started = time.monotonic()
        for _ in range(500):
            await gates.storage().enter({})
        return gates._pool.get_stats()["requests_num"], time.monotonic() - started

    asked, seconds = with_gates(work)
    assert asked <= 2 + seconds / LOOK_EVERY


def test_a_failure_of_its_own_is_known_at_once() -> None:
    async def work(gates: Gates) -> Held:
        await gates.host(HOST).enter({})
        for _ in range(circuits.FAILURES_TO_OPEN):
            await gates.host(HOST).failed(DOWN)
        return await held_by(gates.host(HOST).enter({}))

    held = with_gates(work)
    assert 0 < held.seconds <= 5
    assert held.by_circuit


def test_photos_that_are_missing_say_nothing_of_their_host() -> None:
    async def work(gates: Gates) -> None:
        for _ in range(50):
            await gates.host(HOST).failed(Failure(ErrorType.NOT_FOUND, "It answered 404."))

    with_gates(work)
    assert not Circuit.objects.exists()


def test_one_task_of_all_workers_tries_and_its_success_lets_the_others_in() -> None:
    async def work(one: Gates, other: Gates) -> tuple[list[Any], list[Any]]:
        await note_failure(f"provider:{API}", Failure(ErrorType.PROVIDER_QUOTA, "No credit."))
        await execute("UPDATE venue_images_circuit SET try_at = now()")
        all_gates = [api_gate(each) for each in (one, other) for _ in range(10)]
        first = await asyncio.gather(*(gate.enter({}) for gate in all_gates), return_exceptions=True)
        await all_gates[first.index(None)].succeeded()
        return first, await asyncio.gather(*(gate.enter({}) for gate in all_gates))

    first, then = with_gates(work, workers=2)
    assert sum(isinstance(outcome, Held) for outcome in first) == 19
    assert then == [None] * 20


def test_without_budget_retries_wait_and_first_attempts_go_on() -> None:
    Circuit.objects.create(service=f"host:{HOST}", retry_tokens=-1000)

    async def work(gates: Gates) -> Held:
        await gates.host(HOST).enter({}, is_retry=False)
        return await held_by(gates.host(HOST).enter({}, is_retry=True))

    assert 0 < with_gates(work).seconds <= 101


def test_requests_that_go_well_fill_the_budget_again() -> None:
    async def work(gates: Gates) -> list[float]:
        gate, tokens = gates.host(HOST), []
        await gate.failed(Failure(DOWN.error_type, DOWN.message, was_retry=True))
        await execute("UPDATE venue_images_circuit SET retry_tokens = 100")
        for successes in (1, 20):
            for _ in range(successes):
                await gate.succeeded()
            async with await new_connection() as connection:
                tokens.append((await circuits.look(connection, [f"host:{HOST}"]))[0].retry_tokens)
        return tokens

    first, then = with_gates(work)
    assert then - first >= 20


def test_what_went_well_while_the_budget_was_full_does_not_fill_it_later() -> None:
    async def work(gates: Gates) -> float:
        gate = gates.host(HOST)
        for _ in range(1000):
            await gate.succeeded()
        for _ in range(9):
            await gate.failed(Failure(DOWN.error_type, DOWN.message, was_retry=True))
        await execute("UPDATE venue_images_circuit SET retry_tokens = 100, reckoned_at = now()")
        await gate.succeeded()
        async with await new_connection() as connection:
            return (await circuits.look(connection, [f"host:{HOST}"]))[0].retry_tokens

    assert with_gates(work) < RETRY_TOKENS / 2


# The database


async def everything(gates: Gates) -> list[Held]:
    """What comes of all that a gate does, without a database."""
    await gates.host(HOST).succeeded()
    await gates.host(HOST).failed(DOWN)
    await gates.give_back_unused()
    return [
        await held_by(gates.host(HOST).enter({})),
        await held_by(gates.storage().enter({})),
        await held_by(api_gate(gates).enter({"second": 5})),
        await held_by(gates.host(HOST).permit(HostLimit()).__aenter__()),
    ]


def test_without_a_database_everything_waits_and_nothing_fails() -> None:
    async def main() -> list[Held]:
        pool = AsyncConnectionPool("host=127.0.0.1 port=1", min_size=1, timeout=0.1, open=False)
        async with pool:
            return await everything(Gates(pool, uuid.uuid4(), patience=1.0, host_concurrency=4))

    for held in asyncio.run(main()):
        assert (held.message, held.seconds, held.by_circuit) == ("The database is away.", 5.0, False)


def test_a_database_that_has_come_back_is_asked_again() -> None:
    async def work(gates: Gates) -> None:
        async with gates._pool.connection() as first, gates._pool.connection() as second:
            pids = [first.info.backend_pid, second.info.backend_pid]
        await execute(f"SELECT pg_terminate_backend(pid) FROM unnest(ARRAY{pids}) AS pid")
        await gates.storage().enter({"minute": 5})

    with_gates(work)
    assert sum(RateBucket.objects.get(window="minute").granted) == 1

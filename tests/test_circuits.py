"""Circuit breakers and retry budgets: when a service is left alone, who tries it again, and how many may at once."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import uuid
from collections.abc import Sequence
from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from tests.racing import at_once
from tests.runtimes import connected, new_connection
from venue_images import circuits
from venue_images.circuits import (
    CLOSED,
    FAILURES_TO_OPEN,
    HALF_OPEN,
    OPEN,
    RETRY_COST,
    RETRY_TOKENS,
    TOKENS_PER_SECOND,
    TRY_SECONDS,
    CircuitState,
    Failure,
)
from venue_images.errors import ErrorClass, ErrorType
from venue_images.models import Circuit, Worker

HOST, API = "host:photos.example", "provider:example"
DOWN = Failure(ErrorType.SERVICE_UNAVAILABLE, "It answered 503.")
NO_KEY = Failure(ErrorType.PROVIDER_KEY, "The key is wrong.")


def quiet_for(seconds: float) -> Failure:
    return Failure(ErrorType.RATE_LIMITED, "It answered 429.", retry_after=seconds)


def after(state: CircuitState, failure: Failure, times: int) -> CircuitState:
    for _ in range(times):
        state = state.after_failure(failure)
    return state


def pauses(state: CircuitState, failure: Failure, tries: int) -> list[float]:
    """How long each quiet lasts when every try at its end fails."""
    lasted = []
    for _ in range(tries):
        state = dataclasses.replace(state, state=HALF_OPEN, wait=TRY_SECONDS).after_failure(failure)
        assert state.state == OPEN
        assert state.wait == state.pause
        lasted.append(state.pause)
    return lasted


# When it opens


def test_it_opens_at_the_tenth_failure_in_a_row() -> None:
    almost = after(CircuitState(HOST), DOWN, FAILURES_TO_OPEN - 1)
    assert (almost.state, almost.wait) == (CLOSED, None)
    opened = almost.after_failure(DOWN)
    assert (opened.state, opened.wait, opened.failures) == (OPEN, 5.0, 10)
    assert (opened.error_type, opened.message) == ("service_unavailable", "It answered 503.")


@given(st.lists(st.booleans(), max_size=60))
def test_it_opens_after_ten_failures_in_a_row_and_only_then(outcomes: list[bool]) -> None:
    state, in_a_row = CircuitState(API), 0
    for is_well in outcomes:
        state = state.after_success() if is_well else state.after_failure(DOWN)
        in_a_row = 0 if is_well else in_a_row + 1
        if in_a_row == 10:
            assert state.state == OPEN
            return
        assert (state.state, state.failures) == (CLOSED, in_a_row)


@pytest.mark.parametrize("error_type", ErrorType)
def test_only_what_tells_that_a_service_is_unwell_counts_as_its_failure(error_type: ErrorType) -> None:
    harmless_types = {
        *(ErrorType.WORKER_LOST, ErrorType.URL_EXPIRED),
        *(ErrorType.HTTP_ERROR, ErrorType.DOWNLOAD_FAILED, ErrorType.UNKNOWN_ERROR),
    }
    harmless = error_type.error_class is ErrorClass.PERMANENT or error_type in harmless_types
    assert circuits.is_failure(error_type) is not harmless


@pytest.mark.parametrize("error_type", [ErrorType.PROVIDER_KEY, ErrorType.PROVIDER_QUOTA, ErrorType.STORAGE_CONFIG])
def test_what_a_person_has_to_mend_opens_it_at_once(error_type: ErrorType) -> None:
    state = CircuitState(API).after_failure(Failure(error_type, "Mend it."))
    assert (state.state, state.wait) == (OPEN, 60.0)


@given(st.floats(0.1, 1e7))
def test_a_provider_that_asks_to_be_left_alone_is_for_a_day_at_most(seconds: float) -> None:
    state = CircuitState(API).after_failure(quiet_for(seconds))
    assert (state.state, state.wait) == (OPEN, min(seconds, 86400.0))


def test_a_photo_host_that_asks_to_be_left_alone_is_tried_earlier_but_never_earlier_than_it_asks_for_little() -> None:
    assert CircuitState(HOST).after_failure(quiet_for(2.5)).wait == 2.5
    assert CircuitState(HOST).after_failure(quiet_for(3600)).wait == 15.0


# Trying again


@pytest.mark.parametrize(
    ("service", "failure", "expected"),
    [
        (API, DOWN, [5, 10, 20, 30, 30, 30]),
        (HOST, DOWN, [5, 10, 20, 30, 30, 30]),
        (API, NO_KEY, [60, 120, 240, 480, 900, 900]),
        (HOST, quiet_for(100), [15, 30, 60, 100, 100]),
        (API, quiet_for(100), [100, 100]),
    ],
)
def test_the_pause_doubles_while_the_tries_fail_up_to_its_cap(
    service: str, failure: Failure, expected: list[float]
) -> None:
    assert pauses(CircuitState(service), failure, len(expected)) == expected


def test_a_key_that_was_mended_while_the_service_is_down_is_not_waited_for_as_long() -> None:
    blocked = CircuitState(API, OPEN, error_type="provider_key", pause=900.0)
    assert pauses(blocked, DOWN, 1) == [30.0]


def test_a_try_that_goes_well_closes_it_and_forgets_everything() -> None:
    tried = dataclasses.replace(after(CircuitState(API), DOWN, 10), state=HALF_OPEN)
    closed = tried.after_success()
    assert closed == CircuitState(API, retry_tokens=closed.retry_tokens)


def test_requests_that_were_under_way_when_it_opened_change_nothing() -> None:
    opened = after(CircuitState(API), DOWN, 10)
    late = opened.after_failure(quiet_for(5000)).after_failure(NO_KEY)
    assert dataclasses.replace(late, failures=10) == opened
    assert late.after_success().state == OPEN


def test_a_photo_host_that_wanted_quiet_and_goes_on_answering_is_asked_again() -> None:
    assert CircuitState(HOST).after_failure(quiet_for(60)).after_success().is_closed
    assert not CircuitState(API).after_failure(quiet_for(60)).after_success().is_closed


# The retry budget


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 30), st.integers(0, 60)), max_size=40))
def test_retries_that_fail_stay_under_a_tenth_of_what_goes_well(steps: list[tuple[float, int, int]]) -> None:
    state, seconds, successes, failed = CircuitState(HOST), 0.0, 0, 0
    for pause, well, retries in steps:
        seconds, successes = seconds + pause, successes + well
        state = dataclasses.replace(state, token_seconds=state.token_seconds + pause).after_success(well)
        for _ in range(retries):
            if state.retry_wait == 0:
                state, failed = state.after_failure(dataclasses.replace(DOWN, was_retry=True)), failed + 1
        assert 0 <= state.tokens <= RETRY_TOKENS
        assert failed * RETRY_COST <= RETRY_TOKENS + successes + seconds * TOKENS_PER_SECOND + 1e-6


def test_the_budget_bears_fifty_failing_retries_at_once_and_one_a_second_after() -> None:
    state = after(CircuitState(HOST), dataclasses.replace(DOWN, was_retry=True), 49)
    assert state.retry_wait == 0
    spent = state.after_failure(dataclasses.replace(DOWN, was_retry=True))
    assert spent.retry_wait == 1.0
    assert dataclasses.replace(spent, token_seconds=1.0).retry_wait == 0


@given(st.floats(0, RETRY_TOKENS))
def test_the_budget_allows_a_retry_when_its_wait_is_over(tokens: float) -> None:
    state = CircuitState(HOST, retry_tokens=tokens)
    later = dataclasses.replace(state, token_seconds=state.retry_wait + 1e-6)
    assert later.retry_wait == 0


def test_first_attempts_cost_nothing_of_the_budget() -> None:
    assert after(CircuitState(HOST), DOWN, 100).retry_tokens == RETRY_TOKENS


# The rows


def note(failure: Failure, service: str = HOST) -> CircuitState:
    return connected(lambda connection: circuits.note_failure(connection, service, failure))


def succeed(successes: int = 1, service: str = HOST) -> CircuitState:
    return connected(lambda connection: circuits.note_successes(connection, service, successes))


def look(service: str = HOST) -> CircuitState:
    return connected(lambda connection: circuits.look(connection, [service]))[0]


def may_try(service: str = HOST) -> bool:
    return connected(lambda connection: circuits.may_try(connection, service))


def open_circuit(service: str = HOST, **fields: object) -> None:
    """An open circuit whose time has come."""
    defaults = {"state": OPEN, "error_type": "network_error", "try_at": timezone.now(), "pause": 5.0}
    Circuit.objects.create(service=service, **{**defaults, **fields})


@pytest.mark.usefixtures("transactional_db")
class TestRows:
    def test_a_service_that_was_never_in_trouble_is_closed(self) -> None:
        assert look() == CircuitState(HOST)
        assert not may_try()

    def test_no_failure_is_lost_when_several_processes_note_theirs_at_once(self) -> None:
        retry = dataclasses.replace(DOWN, was_retry=True)
        states = at_once(20, lambda connection: circuits.note_failure(connection, HOST, retry))
        row = Circuit.objects.get(service=HOST)
        assert (row.failures, row.state) == (20, OPEN)
        assert sorted(state.failures for state in states) == list(range(1, 21))
        refilled = (timezone.now() - row.opened_at).total_seconds() * TOKENS_PER_SECOND if row.opened_at else 0
        assert 300 <= row.retry_tokens <= 300 + refilled + 20

    def test_a_circuit_is_read_as_it_was_written(self) -> None:
        written, read = note(quiet_for(3600), API), look(API)
        assert written.wait
        assert read.wait == pytest.approx(written.wait, abs=5)
        assert dataclasses.replace(read, wait=written.wait, token_seconds=0.0) == written

    def test_a_late_failure_does_not_put_off_the_try(self) -> None:
        note(quiet_for(3600), API)
        tried_at = Circuit.objects.get(service=API).try_at
        note(quiet_for(7200), API)
        later = Circuit.objects.get(service=API).try_at
        assert tried_at
        assert later
        assert abs(later - tried_at) < timedelta(milliseconds=1)

    def test_success_closes_it_for_everybody(self) -> None:
        open_circuit()
        assert may_try()
        assert succeed().is_closed
        row = Circuit.objects.get(service=HOST)
        assert (row.state, row.try_at, row.opened_at, row.pause) == (CLOSED, None, None, 0)

    def test_nobody_tries_before_its_time(self) -> None:
        open_circuit(try_at=timezone.now() + timedelta(seconds=60))
        assert not may_try()

    def test_one_of_twenty_tries(self) -> None:
        open_circuit()
        won = at_once(20, lambda connection: circuits.may_try(connection, HOST))
        assert sum(won) == 1
        assert look().state == HALF_OPEN

    def test_a_try_that_was_never_heard_of_again_is_made_by_somebody_else(self) -> None:
        open_circuit()
        assert (may_try(), may_try()) == (True, False)
        wait = look().wait
        assert wait == pytest.approx(TRY_SECONDS, abs=5)
        Circuit.objects.update(try_at=timezone.now())
        assert (may_try(), may_try()) == (True, False)

    def test_a_person_who_asks_now_has_it_tried_without_waiting(self) -> None:
        tomorrow = timezone.now() + timedelta(days=1)
        open_circuit(HOST, try_at=tomorrow, pause=30.0)
        open_circuit("storage", state=HALF_OPEN, try_at=tomorrow)
        open_circuit(API, error_type="rate_limited", try_at=tomorrow)
        Circuit.objects.create(service="host:well.example")
        assert circuits.let_try() == 2
        assert (may_try(HOST), may_try("storage"), may_try(API), may_try("host:well.example")) == (
            True,
            True,
            False,
            False,
        )
        assert note(DOWN).pause == 5.0

    def test_who_is_named_is_tried_even_if_it_asked_to_be_left_alone(self) -> None:
        tomorrow = timezone.now() + timedelta(days=1)
        open_circuit(HOST, try_at=tomorrow)
        open_circuit(API, error_type="rate_limited", try_at=tomorrow)
        assert circuits.let_try(API) == 1
        assert (may_try(API), may_try(HOST)) == (True, False)


# Downloads at once


def make_workers(count: int) -> list[uuid.UUID]:
    return [Worker.objects.create(kind="worker", hostname="here", pid=number).pk for number in range(count)]


def lease(worker: uuid.UUID, wanted: int, usual: int = 16, in_use: int = 0) -> int:
    return connected(
        lambda connection: circuits.lease_concurrency(connection, HOST, worker, wanted, usual, in_use=in_use)
    )


def leases() -> dict[str, int]:
    return dict(Circuit.objects.get(service=HOST).leases)


@pytest.mark.usefixtures("transactional_db")
class TestDownloadsAtOnce:
    def test_a_worker_alone_gets_what_it_wants_up_to_the_cap(self) -> None:
        [worker] = make_workers(1)
        assert [lease(worker, 3), lease(worker, 99), lease(worker, 0)] == [3, 16, 0]
        assert leases() == {}

    def test_workers_that_come_at_once_share_the_cap(self) -> None:
        workers = make_workers(5)
        granted = lease_at_once(workers)
        assert sum(granted) == 16
        assert max(granted) == 4
        assert leases() == {str(worker): count for worker, count in zip(workers, granted, strict=True) if count}

    def test_however_they_come_and_go_the_cap_is_never_exceeded(self) -> None:
        workers = make_workers(4)
        for held, recorded in asyncio.run(come_and_go(workers, random.Random(7))):
            assert sum(held.values()) <= 16
            assert recorded == {str(worker): count for worker, count in held.items() if count}

    def test_what_is_in_use_is_not_given_to_a_worker_that_joins(self) -> None:
        [first] = make_workers(1)
        assert lease(first, 16) == 16
        [second] = make_workers(1)
        assert (lease(first, 17, in_use=16), lease(second, 16)) == (8, 0)
        assert (lease(first, 10, in_use=13), lease(second, 16)) == (8, 3)
        assert (lease(first, 10, in_use=5), lease(second, 16)) == (8, 8)

    def test_a_cap_that_was_lowered_is_kept_for_what_is_new(self) -> None:
        [worker] = make_workers(1)
        assert lease(worker, 16) == 16
        assert lease(worker, 16, usual=4, in_use=12) == 4
        assert leases() == {str(worker): 12}

    def test_the_share_of_a_dead_worker_is_free(self) -> None:
        alive, dead = make_workers(2)
        assert (lease(dead, 99), lease(alive, 99)) == (8, 8)
        Worker.objects.filter(pk=dead).update(heartbeat_at=timezone.now() - timedelta(seconds=31))
        assert lease(alive, 99) == 16
        assert leases() == {str(alive): 16}

    def test_the_share_of_a_worker_that_has_ended_is_free(self) -> None:
        alive, ended = make_workers(2)
        assert lease(ended, 99) == 8
        Worker.objects.filter(pk=ended).delete()
        assert lease(alive, 99) == 16

    def test_the_owners_cap_goes_before_the_usual_one(self) -> None:
        [worker] = make_workers(1)
        Circuit.objects.create(service=HOST, concurrency=2)
        assert lease(worker, 99) == 2

    def test_a_lease_leaves_the_circuit_as_it_is(self) -> None:
        [worker] = make_workers(1)
        open_circuit(failures=10)
        before = look()
        lease(worker, 4)
        after_lease = look()
        assert (after_lease.state, after_lease.failures, after_lease.pause) == (OPEN, 10, before.pause)


def lease_at_once(workers: Sequence[uuid.UUID]) -> list[int]:
    """What each worker gets when all want all they can get."""
    asking = iter(workers)
    return at_once(len(workers), lambda connection: circuits.lease_concurrency(connection, HOST, next(asking), 99, 16))


async def come_and_go(
    workers: Sequence[uuid.UUID], chance: random.Random
) -> list[tuple[dict[uuid.UUID, int], dict[str, int]]]:
    """What each worker holds after each of many rounds, and what the row says."""
    held, rounds = dict.fromkeys(workers, 0), []
    async with contextlib.AsyncExitStack() as stack:
        connections = {worker: await stack.enter_async_context(await new_connection()) for worker in workers}
        for _ in range(60):
            asking = chance.sample(workers, chance.randint(1, len(workers)))
            leasing = (
                circuits.lease_concurrency(connections[worker], HOST, worker, chance.choice([0, 1, 5, 99]), 16)
                for worker in asking
            )
            held = {**held, **dict(zip(asking, await asyncio.gather(*leasing), strict=True))}
            found = await connections[workers[0]].execute("SELECT leases FROM venue_images_circuit")
            row = await found.fetchone()
            rounds.append((held, row[0] if row else {}))
    return rounds

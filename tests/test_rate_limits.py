"""How often a service may be asked: no window is exceeded, wherever it begins, and hardly any of it is wasted."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from tests.racing import at_once
from tests.runtimes import connected, new_connection
from venue_images import rate_limits
from venue_images.models import ProviderSpend, ProviderUsage, RateBucket
from venue_images.rate_limits import GRACE, REMEMBERED, SLICES, WINDOWS, Bucket, Lease

SERVICE = "provider:example"
NOW = 1_800_000_000.0
#: Floating-point seconds since 1970 are this exact.
EXACT = 1e-6

windows = st.sampled_from(sorted(WINDOWS))
#: In slices: how long nothing happens, how far the clock is set back, how late the requests arrive; and how many there are.
steps = st.tuples(
    st.floats(0, 130) | st.sampled_from([0.0, 1.0, float(SLICES), float(REMEMBERED)]),
    st.just(0.0) | st.floats(0, 150),
    st.sampled_from([0.0, float(GRACE)]) | st.floats(0, GRACE),
    st.integers(0, 40),
)


def arrivals(window: str, limit: int, asked: Sequence[tuple[float, float, float, int]]) -> list[float]:
    """When the requests that were granted reach the service; every second one of a lease sets out at once."""
    bucket = Bucket(window, [], 0)
    slice_seconds, now, set_back, arrived = bucket.slice_seconds, NOW, 0.0, []
    for pause, back, late, wanted in asked:
        now += pause * slice_seconds
        set_back += back * slice_seconds
        bucket = bucket.at(now - set_back)
        granted = min(wanted, bucket.room(limit))
        bucket = bucket.with_granted(granted)
        arrived += [now + late * slice_seconds * (number % 2) for number in range(granted)]
    return sorted(arrived)


def most_at_once(times: Sequence[float], seconds: float) -> int:
    """The most that any sliding window held."""
    ordered, first, most = sorted(times), 0, 0
    for last, moment in enumerate(ordered):
        while moment - ordered[first] > seconds - EXACT:
            first += 1
        most = max(most, last - first + 1)
    return most


# The bucket


@given(windows, st.integers(0, 50), st.lists(steps, max_size=30))
def test_no_sliding_window_ever_holds_more_than_the_limit(
    window: str, limit: int, asked: list[tuple[float, float, float, int]]
) -> None:
    assert most_at_once(arrivals(window, limit, asked), WINDOWS[window]) <= limit


@pytest.mark.parametrize("window", WINDOWS)
def test_what_arrives_as_late_as_it_may_does_not_meet_what_is_granted_next(window: str) -> None:
    full_and_late = (0.999, 0.0, float(GRACE), 20)
    at_once = (1 / SLICES, 0.0, 0.0, 10)
    times = arrivals(window, 10, [full_and_late, *[at_once] * (REMEMBERED * SLICES)])
    assert len(times) == 20
    assert most_at_once(times, WINDOWS[window]) == 10


@given(
    windows,
    st.lists(st.integers(0, 9), max_size=REMEMBERED),
    st.integers(1, 60),
    st.floats(0, 300),
)
def test_the_wait_ends_when_there_is_room_and_not_before(
    window: str, granted: list[int], limit: int, passed: float
) -> None:
    bucket = Bucket(window, granted, int(NOW / Bucket(window, [], 0).slice_seconds))
    now = NOW + passed * bucket.slice_seconds
    bucket = bucket.at(now)
    wait, blink = bucket.wait(limit, now), bucket.slice_seconds / 1000
    assert bucket.at(now + wait + blink).room(limit) > 0
    if wait:
        assert bucket.at(now + wait - blink).room(limit) == 0


@given(windows, st.lists(st.integers(0, 9), max_size=REMEMBERED))
def test_a_limit_of_nothing_is_never_met(window: str, granted: list[int]) -> None:
    bucket = Bucket(window, granted, int(NOW)).at(NOW)
    assert bucket.room(0) == 0
    assert bucket.wait(0, NOW) == math.inf


@given(windows, st.floats(0, 1e9), st.integers(1, 20))
def test_a_clock_that_goes_back_brings_no_time_back(window: str, back: float, limit: int) -> None:
    full = Bucket(window, [], 0).at(NOW).with_granted(limit)
    earlier = full.at(NOW - back)
    assert (earlier.newest, earlier.room(limit)) == (full.newest, 0)
    assert earlier.wait(limit, NOW - back) > back


@pytest.mark.parametrize("wanted", [1, 3, 1000])
@pytest.mark.parametrize("limit", [1, 7, 100, 1000])
@pytest.mark.parametrize("window", WINDOWS)
def test_who_always_wants_more_gets_nine_tenths_of_the_limit(window: str, limit: int, wanted: int) -> None:
    bucket, now, total = Bucket(window, [], 0), NOW, 0
    end = NOW + 30 * WINDOWS[window]
    while now < end:
        bucket = bucket.at(now)
        granted = min(wanted, bucket.room(limit))
        bucket, total = bucket.with_granted(granted), total + granted
        now += 0.0 if granted else bucket.wait(limit, now) + EXACT
    assert total >= 0.9 * 30 * limit


def test_a_bucket_remembers_no_more_than_it_needs() -> None:
    bucket = Bucket("second", [], 0)
    for step in range(500):
        bucket = bucket.at(NOW + step / 7).with_granted(1)
    assert len(bucket.granted) == REMEMBERED


# The rows


def lease(limits: Mapping[str, int], wanted: int) -> Lease:
    return connected(lambda connection: rate_limits.lease(connection, SERVICE, limits, wanted))


def lease_from_many(limits: Mapping[str, int], wanted: int, processes: int) -> list[int]:
    """What each of so many processes gets when all ask at once."""
    leases = at_once(processes, lambda connection: rate_limits.lease(connection, SERVICE, limits, wanted))
    return [lease.granted for lease in leases]


def rows() -> dict[str, int]:
    """What was granted, by window."""
    return {row.window: sum(row.granted) for row in RateBucket.objects.filter(service=SERVICE)}


def calls() -> tuple[int, int]:
    """The calls to the provider: of all seconds, and of the month."""
    return sum(row.calls for row in ProviderUsage.objects.all()), ProviderSpend.objects.get(provider="example").calls


@pytest.mark.usefixtures("transactional_db")
class TestLease:
    def test_the_first_lease_makes_the_rows(self) -> None:
        assert rows() == {}
        assert lease({"second": 5, "day": 100}, 3).granted == 3
        assert rows() == {"second": 3, "day": 3}

    def test_nobody_gets_more_because_several_are_the_first(self) -> None:
        granted = lease_from_many({"minute": 40, "hour": 25, "day": 90}, 3, processes=20)
        assert sum(granted) == 25
        assert rows() == {"minute": 25, "hour": 25, "day": 25}

    def test_a_window_that_is_limited_later_is_one_more_row(self) -> None:
        lease({"minute": 10}, 4)
        granted = lease_from_many({"second": 100, "minute": 10, "day": 100}, 2, processes=10)
        assert sum(granted) == 6
        assert rows() == {"minute": 10, "second": 6, "day": 6}

    def test_what_is_asked_for_is_granted_up_to_what_the_strictest_window_allows(self) -> None:
        limits = {"minute": 50, "hour": 8}
        assert [lease(limits, 5).granted, lease(limits, 5).granted, lease(limits, 5).granted] == [5, 3, 0]

    def test_an_empty_window_tells_when_it_has_room(self) -> None:
        lease({"minute": 4, "hour": 100}, 4)
        refused = lease({"minute": 4, "hour": 100}, 1)
        assert refused.granted == 0
        assert 60 < refused.wait <= 60 * REMEMBERED / SLICES

    def test_a_refusal_is_not_counted(self) -> None:
        lease({"hour": 2}, 2)
        before = RateBucket.objects.get()
        lease({"hour": 2}, 5)
        assert RateBucket.objects.get().granted == before.granted

    def test_a_limit_of_nothing_grants_nothing_and_no_time_mends_that(self) -> None:
        refused = lease({"second": 10, "day": 0}, 1)
        assert (refused.granted, refused.wait) == (0, math.inf)

    def test_a_lease_holds_as_long_as_the_shortest_window_bears(self) -> None:
        before = time.monotonic()
        by_the_minute = lease({"minute": 10, "day": 10}, 1).valid_until
        assert by_the_minute - time.monotonic() <= GRACE * 60 / SLICES <= by_the_minute - before

    def test_what_was_granted_to_a_provider_is_counted_as_calls(self) -> None:
        lease({"minute": 8}, 5)
        connected(lambda connection: rate_limits.lease(connection, SERVICE, {"minute": 8}, 5, uncounted=2))
        lease({"minute": 8}, 5)
        assert calls() == (6, 6)

    def test_calls_that_were_not_made_are_taken_back(self) -> None:
        lease({"minute": 8}, 5)
        connected(lambda connection: rate_limits.uncount(connection, SERVICE, 2))
        assert calls() == (3, 3)

    def test_no_call_is_forgotten_when_several_are_counted_at_once(self) -> None:
        granted = lease_from_many({"minute": 1000}, 3, processes=20)
        assert calls() == (sum(granted), 60)

    def test_requests_to_photo_hosts_are_no_calls(self) -> None:
        connected(lambda connection: rate_limits.lease(connection, "host:photos.example", {"minute": 8}, 5))
        assert not ProviderSpend.objects.exists()

    def test_services_do_not_share_a_limit(self) -> None:
        lease({"hour": 1}, 1)
        other = connected(lambda connection: rate_limits.lease(connection, "host:photos.example", {"hour": 1}, 1))
        assert other.granted == 1

    def test_a_database_whose_clock_was_ahead_grants_nothing_until_it_is_there_again(self) -> None:
        newest = int((time.time() + 600) / 0.6)
        RateBucket.objects.create(service=SERVICE, window="minute", granted=[3], newest=newest)
        refused = lease({"minute": 3}, 1)
        assert refused.granted == 0
        assert refused.wait == pytest.approx(600 + 60 * REMEMBERED / SLICES, abs=5)

    def test_several_workers_that_want_all_they_can_get_stay_within_every_second(self) -> None:
        times = asyncio.run(saturate(limit=40, connections=6, seconds=1.6))
        assert most_at_once(times, 1.0) <= 40
        assert len(times) > 40

    def test_counters_that_no_window_reaches_are_dropped(self) -> None:
        now = timezone.now()
        for hours in (0, 24, 26, 100):
            ProviderUsage.objects.create(provider="example", second=now - timedelta(hours=hours), calls=1)
        connected(rate_limits.forget_old_calls)
        assert ProviderUsage.objects.count() == 2


async def saturate(limit: int, connections: int, seconds: float) -> list[float]:
    """When requests were sent by so many workers, each of which leases again at once or when it was told to."""
    sent: list[float] = []
    end = time.monotonic() + seconds

    async def work() -> None:
        async with await new_connection() as connection:
            while time.monotonic() < end:
                lease = await rate_limits.lease(connection, SERVICE, {"second": limit}, 5)
                now = time.monotonic()
                if now <= lease.valid_until:
                    sent.extend([now] * lease.granted)
                await asyncio.sleep(lease.wait)

    await asyncio.gather(*(work() for _ in range(connections)))
    return sent

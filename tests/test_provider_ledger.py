"""The rows of the providers: what is paid, how far each venue has come, which ids it has."""

from __future__ import annotations

from datetime import UTC, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone
from psycopg import AsyncConnection

from tests.factories import make_image, make_venue
from tests.racing import at_once
from tests.runtimes import connected
from venue_images import provider_ledger
from venue_images.models import Provider, ProviderCheck, ProviderSpend, Venue, VenueImage
from venue_images.provider_ledger import Check, CheckResult, Choices, Payment
from venue_images.providers.base import Billing

pytestmark = pytest.mark.usefixtures("transactional_db")

CENT = Decimal("0.01")
BUDGETED = Choices("example", cost_per_call=CENT, monthly_budget_usd=Decimal("0.10"))


# What the owner chose


def test_the_limits_are_those_that_there_are() -> None:
    choices = Choices("example", limit_per_second=5, limit_per_day=0)
    assert choices.limits == {"second": 5, "day": 0}
    assert Choices("example").limits == {}


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        ({}, 0.0),
        ({"limit_per_second": 5}, 0.2),
        ({"limit_per_second": 5, "limit_per_day": 300}, 288.0),
        ({"limit_per_hour": 0}, 3600.0),
    ],
)
def test_a_provider_takes_as_long_for_a_call_as_its_strictest_limit(limits: dict[str, int], seconds: float) -> None:
    assert Choices("example", **limits).seconds_per_call == seconds  # type: ignore[arg-type]


def test_a_call_costs_what_it_is_billed_as() -> None:
    choices = Choices("example", cost_per_call=CENT, cost_per_image=2 * CENT)
    assert [choices.price(billing) for billing in (Billing.FREE, Billing.CALL, Billing.IMAGE)] == [
        Decimal(0),
        CENT,
        2 * CENT,
    ]


def test_the_owners_rows_are_read_as_they_are() -> None:
    Provider.objects.filter(name="yelp").update(
        limit_per_second=3, monthly_budget_usd=5, geocode=True, cost_per_call=CENT
    )
    found = connected(provider_ledger.choices)["yelp"]
    assert (found.limit_per_second, found.monthly_budget_usd, found.geocode) == (3, Decimal("5.00"), True)
    assert found.price(Billing.CALL) == CENT


def test_the_active_providers_come_by_their_priority() -> None:
    Provider.objects.update(active=False)
    for name, priority in (("yelp", 2), ("here", 1), ("catalog", 2)):
        Provider.objects.filter(name=name).update(active=True, priority=priority)
    assert connected(provider_ledger.active) == ["here", "catalog", "yelp"]


# Money


def pay(choices: Choices = BUDGETED, price: Decimal = CENT) -> Payment | None:
    return connected(lambda connection: provider_ledger.pay(connection, choices, price))


def spent() -> Decimal:
    return ProviderSpend.objects.get(provider="example").cost_usd


def test_a_budget_pays_for_as_many_calls_as_it_is_worth() -> None:
    assert [bool(pay()) for _ in range(12)] == [True] * 10 + [False] * 2
    assert spent() == Decimal("0.10")


def test_a_budget_pays_for_no_more_however_many_ask_at_once() -> None:
    paid = at_once(20, lambda connection: provider_ledger.pay(connection, BUDGETED, CENT))
    assert sum(payment is not None for payment in paid) == 10
    assert spent() == Decimal("0.10")


def test_a_price_that_is_more_than_what_is_left_is_not_paid_but_a_smaller_one_is() -> None:
    assert pay(price=Decimal("0.095"))
    assert pay() is None
    assert pay(price=Decimal("0.005"))


def test_the_first_call_may_be_too_expensive_already() -> None:
    assert pay(price=Decimal("0.11")) is None
    assert not ProviderSpend.objects.exists()


def test_a_budget_of_nothing_pays_for_nothing() -> None:
    assert pay(Choices("example", monthly_budget_usd=Decimal(0))) is None


def test_without_a_budget_everything_is_paid_and_summed_up() -> None:
    paid = at_once(20, lambda connection: provider_ledger.pay(connection, Choices("example"), CENT))
    assert all(paid)
    assert spent() == Decimal("0.20")


def test_a_payment_is_taken_back_from_the_month_that_it_was_made_in() -> None:
    payment = pay()
    assert payment
    month = timezone.now().astimezone(UTC).date().replace(day=1)
    assert payment == Payment("example", CENT, month)
    connected(lambda connection: provider_ledger.refund(connection, payment))
    assert spent() == 0
    assert [bool(pay()) for _ in range(11)] == [True] * 10 + [False]


def test_last_month_is_paid() -> None:
    last_month = timezone.now().date().replace(day=1) - timedelta(days=1)
    ProviderSpend.objects.create(provider="example", month=last_month.replace(day=1), cost_usd=Decimal("0.10"))
    assert pay()


# How far a venue has come


def save(venue: Venue, *results: CheckResult) -> dict[str, Check]:
    async def work(connection: AsyncConnection) -> dict[str, Check]:
        await provider_ledger.save_checks(connection, venue.pk, results)
        return await provider_ledger.checks(connection, venue.pk)

    return connected(work)


def test_what_a_provider_has_answered_is_known() -> None:
    before, venue = timezone.now() - timedelta(seconds=1), make_venue()
    checks = save(
        venue, CheckResult("yelp", is_done=True, confidence=0.9), CheckResult("here", is_done=False, due_in=60)
    )
    assert checks["yelp"].has_answered_since(before)
    assert checks["yelp"].has_answered_since(None)
    assert not checks["yelp"].has_answered_since(timezone.now() + timedelta(seconds=60))
    assert (checks["yelp"].due_in, checks["here"].checked_at) == (None, None)
    assert not checks["here"].has_answered_since(None)
    assert checks["here"].due_in == pytest.approx(60, abs=5)
    assert ProviderCheck.objects.get(provider="yelp").confidence == 0.9


def test_an_answer_from_long_ago_is_asked_for_again() -> None:
    venue = make_venue()
    save(venue, CheckResult("yelp", is_done=True))
    ProviderCheck.objects.update(checked_at=timezone.now() - timedelta(days=91))
    assert save(venue)["yelp"].checked_at is None


def test_failures_are_counted_until_it_answers() -> None:
    venue, failed = make_venue(), CheckResult("yelp", is_done=False, due_in=5, has_failed=True, note="down")
    held = CheckResult("yelp", is_done=False, due_in=5)
    counts = [save(venue, result)["yelp"].failures for result in (failed, held, failed, failed)]
    assert counts == [1, 1, 2, 3]
    answered = save(venue, CheckResult("yelp", is_done=True))["yelp"]
    assert (answered.failures, answered.due_in) == (0, None)
    assert ProviderCheck.objects.get().note == ""


def test_a_refusal_for_good_is_an_answer_and_no_failure_that_passes() -> None:
    refused = CheckResult("yelp", is_done=True, has_failed=True, note="no such place")
    check = save(make_venue(), refused)["yelp"]
    assert check.checked_at
    assert check.failures == 0


def test_what_was_known_stays_when_it_fails_later() -> None:
    venue = make_venue()
    answered = save(venue, CheckResult("yelp", is_done=True, confidence=0.9))["yelp"]
    later = save(venue, CheckResult("yelp", is_done=False, due_in=5, has_failed=True))["yelp"]
    assert later.checked_at == answered.checked_at
    assert ProviderCheck.objects.get().confidence == 0.9


def test_many_venues_that_wait_for_one_provider_come_back_one_after_the_other() -> None:
    waits = [
        save(make_venue(), CheckResult("yelp", is_done=False, due_in=100, spread=10))["yelp"].due_in or 0
        for _ in range(30)
    ]
    assert all(95 < wait <= 100 + 10 * number for number, wait in enumerate(waits))
    assert max(waits) > 150
    alone = save(make_venue(), CheckResult("here", is_done=False, due_in=100, spread=10))["here"].due_in
    assert alone == pytest.approx(100, abs=5)


def test_several_jobs_at_one_venue_do_not_lose_each_others_checks() -> None:
    venue, names = make_venue(), ["yelp", "here", "pexels", "unsplash"]

    async def work(connection: AsyncConnection) -> None:
        failed = [CheckResult(name, is_done=False, due_in=1, has_failed=True) for name in names]
        await provider_ledger.save_checks(connection, venue.pk, failed)

    at_once(20, work)
    assert {row.provider: row.failures for row in ProviderCheck.objects.all()} == dict.fromkeys(names, 20)


# Ids


def keep(venue: Venue, found: dict[str, str]) -> dict[str, str]:
    connected(lambda connection: provider_ledger.keep_ids(connection, venue.pk, found))
    venue.refresh_from_db()
    return dict(venue.provider_ids)


def test_an_id_that_the_venue_has_stays() -> None:
    venue = make_venue(provider_ids={"yelp": "own"})
    assert keep(venue, {"yelp": "found", "here": "found"}) == {"yelp": "own", "here": "found"}
    assert keep(venue, {}) == {"yelp": "own", "here": "found"}


def test_ids_that_are_found_at_once_are_all_kept() -> None:
    venue, names = make_venue(), iter(range(20))

    async def work(connection: AsyncConnection) -> None:
        await provider_ledger.keep_ids(connection, venue.pk, {f"provider_{next(names)}": "found"})

    at_once(20, work)
    venue.refresh_from_db()
    assert len(venue.provider_ids) == 20


# Uses that a provider wants to hear of


def test_each_use_is_told_once_however_many_are_about_to_tell() -> None:
    venue = make_venue()
    images = [make_image(venue, provider="unsplash", report_path=f"/photos/{number}/download") for number in range(8)]
    make_image(venue, provider="unsplash")
    make_image(venue, provider="pexels", report_path="/other")
    make_image(make_venue(), provider="unsplash", report_path="/elsewhere")

    told = at_once(20, lambda connection: provider_ledger.unreported(connection, venue.pk, ["unsplash", "yelp"]))

    assert sorted(use.id for uses in told for use in uses) == sorted(image.pk for image in images)
    assert {use.report_path for uses in told for use in uses} == {image.report_path for image in images}
    assert VenueImage.objects.filter(reported_at__isnull=False).count() == 8


def test_what_could_not_be_told_is_told_later() -> None:
    venue = make_venue()
    image = make_image(venue, provider="unsplash", report_path="/photos/1/download")

    async def work(connection: AsyncConnection) -> list[int]:
        told = [await provider_ledger.unreported(connection, venue.pk, ["unsplash"]) for _ in range(2)]
        await provider_ledger.not_reported(connection, image.pk)
        told.append(await provider_ledger.unreported(connection, venue.pk, ["unsplash"]))
        return [len(uses) for uses in told]

    assert connected(work) == [1, 0, 1]

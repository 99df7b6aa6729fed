"""The buttons “Try now” and “Refresh URLs”: who may press them, what they do, what they say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.dashboard.pages import PAGE, expire, flashes, sign_in, stop, text_of
from tests.factories import make_venue
from venue_images import job_queue
from venue_images.models import Circuit, Provider, ProviderCheck, Venue

pytestmark = pytest.mark.django_db

TRY = f"{PAGE}/try-now"
REFRESH = f"{PAGE}/refresh-urls"
BUTTONS = [(TRY, {"service": "storage"}), (REFRESH, {"provider": "google_places", "up_to_usd": "1"})]


@pytest.fixture(autouse=True)
def _keys(set_environment: Callable[..., None]) -> None:
    set_environment(GOOGLE_PLACES_API_KEY="key", GOOGLE_PLACES_STORAGE_POLICY="store")


@pytest.fixture
def owner() -> Client:
    return sign_in("manage_providers", "enrich_venues")


def is_tried_next(service: str) -> bool:
    return Circuit.objects.filter(service=service, try_at__lte=timezone.now()).exists()


def refresh_jobs() -> int:
    return sum(job_queue.waiting_payload(f"refresh:{venue.pk}") is not None for venue in Venue.objects.all())


def test_the_addresses_are_the_documented_ones() -> None:
    assert [reverse(f"venue_images:{name}") for name in ("try_now", "refresh_urls")] == [TRY, REFRESH]


@pytest.mark.parametrize(("address", "form"), BUTTONS)
@pytest.mark.parametrize("permissions", [(), ("retry_uploads",)])
def test_a_post_without_the_permission_does_nothing(
    address: str, form: dict[str, str], permissions: tuple[str, ...]
) -> None:
    stop("storage")
    expire(make_venue(), 1)
    assert sign_in(*permissions).post(address, form).status_code == 403
    assert not is_tried_next("storage")
    assert refresh_jobs() == 0


def test_each_button_has_a_permission_of_its_own() -> None:
    client = sign_in("enrich_venues")
    assert [client.post(address, form).status_code for address, form in BUTTONS] == [403, 302]


@pytest.mark.parametrize(("address", "form"), BUTTONS)
def test_a_post_without_the_token_is_forbidden(address: str, form: dict[str, str]) -> None:
    assert sign_in("manage_providers", "enrich_venues", strict=True).post(address, form).status_code == 403


@pytest.mark.parametrize(("address", "form"), BUTTONS)
def test_whoever_is_no_staff_is_sent_to_the_sign_in(address: str, form: dict[str, str]) -> None:
    for client in (Client(), sign_in("manage_providers", "enrich_venues", staff=False)):
        assert client.post(address, form).headers["Location"].startswith("/admin/login/?next=")


@pytest.mark.parametrize(("address", "form"), BUTTONS)
def test_the_buttons_take_a_post_alone(owner: Client, address: str, form: dict[str, str]) -> None:
    assert owner.get(address, form).status_code == 405


@pytest.mark.parametrize(
    ("service", "title"),
    [("storage", "The storage"), ("host:photos.example", "photos.example"), ("provider:openverse", "Openverse")],
)
def test_a_stopped_service_is_tried_by_the_next_request(owner: Client, service: str, title: str) -> None:
    stop(service)
    for _ in range(2):
        response = owner.post(TRY, {"service": service})
        assert (response.status_code, response.headers["Location"]) == (302, PAGE)
        assert flashes(response)[-1] == (
            "success",
            f"✅ {title} will be tried by the next request - no venue waits for it",
        )
        assert is_tried_next(service)


def test_a_try_takes_up_the_venues_that_wait(owner: Client) -> None:
    venue = make_venue()
    ProviderCheck.objects.create(venue=venue, provider="openverse", due_at=timezone.now() + timedelta(hours=1))
    stop("provider:openverse")
    [(_, text)] = flashes(owner.post(TRY, {"service": "provider:openverse"}))
    assert text == "✅ Openverse will be tried by the next request - 1 venue waiting for it will be taken up"
    assert job_queue.waiting_payload(f"enrich:{venue.pk}")


def test_a_provider_that_is_turned_off_is_not_tried(owner: Client) -> None:
    stop("provider:openverse")
    Provider.objects.filter(name="openverse").update(active=False)
    [(level, text)] = flashes(owner.post(TRY, {"service": "provider:openverse"}))
    assert (level, "turned off" in text) == ("warning", True)
    assert not is_tried_next("provider:openverse")


@pytest.mark.parametrize("service", ["", "host:", "host:nowhere.example", "provider:<b>mine</b>", "x:y", "storage:1"])
def test_a_service_that_does_not_exist_is_said_to_be_none(owner: Client, service: str) -> None:
    [(level, text)] = flashes(owner.post(TRY, {"service": service}))
    assert (level, "There is no" in text) == ("warning", True)
    assert "<b>mine" not in owner.get(PAGE).content.decode()


def test_urls_are_refreshed_for_the_price_of_the_button(owner: Client) -> None:
    expire(make_venue(), 2)
    expire(make_venue(), 10)
    response = owner.post(REFRESH, {"provider": "google_places", "up_to_usd": "0.084"})
    assert (response.status_code, response.headers["Location"]) == (302, PAGE)
    assert flashes(response) == [("success", "✅ New URLs enqueued for 12 images in 2 venues: 14 calls, $0.084")]
    assert refresh_jobs() == 2


def test_a_second_click_queues_nothing_and_says_so(owner: Client) -> None:
    expire(make_venue(), 1)
    form = {"provider": "google_places", "up_to_usd": "0.007"}
    owner.post(REFRESH, form)
    [(level, text)] = flashes(owner.post(REFRESH, form))[-1:]
    assert (level, "enqueued already" in text) == ("info", True)
    assert refresh_jobs() == 1


def test_nothing_is_refreshed_once_nothing_is_expired(owner: Client) -> None:
    [(level, text)] = flashes(owner.post(REFRESH, {"provider": "google_places", "up_to_usd": "0.007"}))
    assert (level, "No URL to refresh" in text) == ("info", True)


def test_a_price_that_has_risen_is_said_and_not_paid(owner: Client) -> None:
    expire(make_venue(), 3)
    Provider.objects.filter(name="google_places").update(cost_per_image=2)
    response = owner.post(REFRESH, {"provider": "google_places", "up_to_usd": "0.021"})
    [(level, text)] = flashes(response)
    assert (level, "$6.00" in text) == ("warning", True)
    assert refresh_jobs() == 0
    assert "Refresh URLs ($6.00)" in text_of(owner.get(PAGE))


@pytest.mark.parametrize("price", ["", "free", "nan", "sNaN", "inf", "-1", "1e400", "1000001"])
def test_what_is_no_price_is_a_bad_request(owner: Client, price: str) -> None:
    expire(make_venue(), 1)
    assert owner.post(REFRESH, {"provider": "google_places", "up_to_usd": price}).status_code == 400
    assert refresh_jobs() == 0


@pytest.mark.parametrize("provider", ["", "mine", "yelp"])
def test_a_provider_that_cannot_be_asked_refreshes_nothing(owner: Client, provider: str) -> None:
    expire(make_venue(), 1)
    [(level, _)] = flashes(owner.post(REFRESH, {"provider": provider, "up_to_usd": "1"}))
    assert level == "warning"
    assert refresh_jobs() == 0


@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_queued_is_said_in_one_line() -> None:
    expire(make_venue(), 1)
    owner = sign_in("enrich_venues")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE pgqueuer RENAME TO pgqueuer_away")
    try:
        [(level, text)] = flashes(owner.post(REFRESH, {"provider": "google_places", "up_to_usd": "1"}))
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE pgqueuer_away RENAME TO pgqueuer")
    assert level == "error"
    assert text.startswith("❌ Failed to refresh the URLs: ")
    assert "\n" not in text

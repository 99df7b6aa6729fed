"""What the page says of providers and of stopped services."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.dashboard.pages import PAGE, expire, panel_of, sign_in, stop, text_of
from tests.factories import make_image, make_venue
from venue_images.errors import ErrorType
from venue_images.models import (
    CleanupRun,
    Operation,
    Provider,
    ProviderCheck,
    ProviderSpend,
    ProviderUsage,
    UploadStatus,
)
from venue_images.providers import PROVIDERS

pytestmark = pytest.mark.django_db
SetEnvironment = Callable[..., None]


@pytest.fixture
def reader() -> Client:
    return sign_in()


@pytest.fixture
def manager() -> Client:
    return sign_in("manage_providers")


@pytest.fixture
def keys(set_environment: SetEnvironment) -> None:
    """Google Places is set up, besides those that need no key."""
    set_environment(GOOGLE_PLACES_API_KEY="key", GOOGLE_PLACES_STORAGE_POLICY="store")


def set_google(**fields: object) -> None:
    Provider.objects.filter(name="google_places").update(**fields)


def ask(provider: str, calls: int, seconds_ago: float) -> None:
    second = timezone.now() - timedelta(seconds=seconds_ago)
    ProviderUsage.objects.create(provider=provider, second=second, calls=calls)


def spend(cost_usd: str, calls: int = 1) -> None:
    month = timezone.now().date().replace(day=1)
    ProviderSpend.objects.create(provider="google_places", month=month, calls=calls, cost_usd=Decimal(cost_usd))


def card(client: Client, name: str) -> str:
    return text_of(panel_of(client.get(PAGE), f"provider-{name}"))


def cards(client: Client) -> list[str]:
    """The names of the providers with a card, in the order of the page."""
    return re.findall(r'<article[^>]*aria-labelledby="venue-images-provider-(\w+)"', client.get(PAGE).content.decode())


def test_a_card_tells_state_usage_and_price(reader: Client, keys: None) -> None:
    set_google(limit_per_minute=2000, limit_per_hour=None)
    ask("google_places", 1700, seconds_ago=20)
    response = reader.get(PAGE)
    text = text_of(panel_of(response, "provider-google_places"))
    assert "Google Places Ready metered" in text
    assert "Active yes Priority 20 Cost per image $0.007 Cost per call $0.00" in text
    assert "Last second 0 Last minute 1,700 of 2,000 (85 %) Last hour 1,700" in text
    assert "Last day" not in text
    assert "Warning Google Places used 1,700 of 2,000 calls in the last minute" in text_of(response)


def test_the_last_day_is_told_where_it_is_limited(reader: Client, keys: None) -> None:
    set_google(limit_per_day=1000)
    ask("google_places", 250, seconds_ago=7200)
    assert "Last hour 0 Last day 250 of 1,000 (25 %)" in card(reader, "google_places")


def test_a_card_counts_failed_images_and_waiting_venues(reader: Client, keys: None) -> None:
    venue = make_venue()
    make_image(venue, UploadStatus.FAILED, provider="openverse")
    make_image(venue, UploadStatus.FAILED, ErrorType.GONE, provider="openverse")
    ProviderCheck.objects.create(venue=venue, provider="openverse", due_at=timezone.now() + timedelta(hours=1))
    assert "Failed images 2 Venues waiting 1" in card(reader, "openverse")


def test_a_card_tells_the_money_of_the_month(reader: Client, keys: None) -> None:
    spend("4.214", calls=1204)
    assert "This month Calls 1,204 Spent $4.21 (no budget set)" in card(reader, "google_places")
    set_google(monthly_budget_usd=5)
    html = panel_of(reader.get(PAGE), "provider-google_places")
    assert "Spent $4.21 of $5.00 (84.3 %)" in text_of(html)
    assert re.search(r'<li class="vi-level-warning">\s*<span>Spent', html)


def test_a_budget_that_is_used_up_is_said(reader: Client, keys: None) -> None:
    set_google(monthly_budget_usd=5)
    spend("5")
    text = card(reader, "google_places")
    assert "budget of $5.00 is used up" in text
    assert "Spent $5.00 of $5.00 (100 %)" in text


def test_a_provider_without_a_price_has_no_spending(reader: Client) -> None:
    assert "Spent" not in card(reader, "openverse")


def test_a_card_says_what_is_done_with_the_photos_and_why(reader: Client, keys: None) -> None:
    html = panel_of(reader.get(PAGE), "provider-google_places")
    info = PROVIDERS["google_places"].info
    assert f"Photos are stored, as you set it (by default photos are not kept). {info.terms}" in text_of(html)
    assert f'href="{info.terms_url}" target="_blank" rel="noopener noreferrer external"' in html
    assert "Photos are stored. " in card(reader, "openverse")


def test_providers_that_are_not_set_up_share_one_list(reader: Client, keys: None) -> None:
    Provider.objects.filter(name="openverse").update(active=False)
    unused = text_of(panel_of(reader.get(PAGE), "unused"))
    assert cards(reader) == ["catalog", "google_places", "wikimedia_commons"]
    assert "Foursquare No key Foursquare needs a key: set FOURSQUARE_API_KEY." in unused
    assert "Openverse Off" in unused
    assert "Google Places" not in unused


def test_the_terms_that_keep_a_provider_out_of_use_are_named(reader: Client, set_environment: SetEnvironment) -> None:
    set_environment(YELP_API_KEY="key", FOURSQUARE_API_KEY="key", FOURSQUARE_STORAGE_POLICY="none")
    html = panel_of(reader.get(PAGE), "unused")
    assert "Yelp Not kept (terms) Yelp's photos are not kept, because of its terms." in text_of(html)
    assert f'href="{PROVIDERS["yelp"].info.terms_url}" target="_blank" rel="noopener noreferrer external"' in html
    assert "Foursquare Not kept Foursquare's photos may not be kept: FOURSQUARE_STORAGE_POLICY is none." in text_of(
        html
    )


def test_failed_images_of_a_provider_out_of_use_are_not_hidden(reader: Client) -> None:
    make_image(make_venue(), UploadStatus.FAILED, provider="yelp")
    assert "Terms of Yelp 1 failed image." in text_of(panel_of(reader.get(PAGE), "unused"))


def test_trouble_comes_first_and_then_what_was_asked_lately(reader: Client, keys: None) -> None:
    assert cards(reader) == ["catalog", "google_places", "wikimedia_commons", "openverse"]
    ask("wikimedia_commons", 1, seconds_ago=600)
    stop("provider:openverse")
    assert cards(reader) == ["openverse", "wikimedia_commons", "catalog", "google_places"]


def test_a_stopped_provider_says_why_and_until_when(manager: Client) -> None:
    circuit = stop("provider:openverse", "Openverse refused us.", error_type=ErrorType.PROVIDER_KEY)
    html = panel_of(manager.get(PAGE), "provider-openverse")
    assert "Openverse Stopped Openverse refused us. Since " in text_of(html)
    assert f"Next try {circuit.try_at:%H:%M:%S} UTC (in 10 minutes)." in re.sub(r"\d+ \w+, ", "", text_of(html))
    assert 'aria-label="Try now: Openverse"' in html


def test_nobody_has_to_press_while_one_request_tries(manager: Client, keys: None) -> None:
    stop("provider:openverse", state="half_open", seconds=20)
    html = panel_of(manager.get(PAGE), "provider-openverse")
    assert "Openverse Trying It answers 503. Since " in text_of(html)
    assert "One request is trying it now." in text_of(html)
    assert "<button" not in html


def test_a_service_whose_time_has_come_waits_for_a_request(manager: Client, keys: None) -> None:
    stop("provider:openverse", seconds=-5)
    assert "The next request tries it. Try now" in text_of(panel_of(manager.get(PAGE), "provider-openverse"))


def test_without_trouble_there_are_no_panels_for_it(manager: Client) -> None:
    page = text_of(manager.get(PAGE))
    assert "Stopped Services" not in page
    assert "Needs a New URL" not in page
    assert "Try now" not in page


def test_stopped_hosts_and_storage_have_a_panel(manager: Client, keys: None) -> None:
    stop("host:photos.example", "photos.example asked to be left alone.")
    stop("storage", "The bucket does not exist.", error_type=ErrorType.STORAGE_CONFIG, seconds=90)
    stop("provider:openverse")
    html = panel_of(manager.get(PAGE), "stopped")
    assert "Stopped Services 2" in text_of(html)
    assert "photos.example Stopped photos.example asked to be left alone. Since" in text_of(html)
    assert "The storage Stopped The bucket does not exist." in text_of(html)
    assert re.search(r"\(in [12] minutes?\)", text_of(html))
    assert re.findall('aria-label="(.*?)"', html) == ["Try now: photos.example", "Try now: The storage"]


def test_a_host_whose_retries_wait_needs_no_try(manager: Client) -> None:
    stop("host:photos.example", "", state="closed", try_at=None, opened_at=None, error_type="", retry_tokens=0)
    html = panel_of(manager.get(PAGE), "stopped")
    assert "photos.example Retries wait Its retries wait, because too many of them failed" in text_of(html)
    assert "<button" not in html


def test_expired_urls_are_offered_with_their_price(keys: None) -> None:
    expire(make_venue(), 2)
    expire(make_venue(), 10)
    html = panel_of(sign_in("enrich_venues").get(PAGE), "stale")
    assert "12 images of Google Places in 2 venues: 14 calls, $0.084 Refresh URLs ($0.084)" in text_of(html)


def test_urls_of_a_provider_that_cannot_be_asked_are_not_offered(reader: Client) -> None:
    expire(make_venue(), 2)
    assert "Needs a New URL" not in text_of(reader.get(PAGE))


def test_a_reader_sees_the_trouble_without_the_buttons(reader: Client, keys: None) -> None:
    stop("provider:openverse")
    stop("storage")
    expire(make_venue(), 2)
    response = reader.get(PAGE)
    page = text_of(response)
    assert "Stopped Services" in page
    assert "2 images of Google Places in 1 venue" in page
    assert "Try now" not in page
    assert "Refresh URLs" not in page


def test_a_refresh_brings_the_buttons_with_their_token(manager: Client) -> None:
    stop("storage")
    page = manager.get(PAGE, headers={"HX-Request": "true"}).content.decode()
    assert re.search(r'name="csrfmiddlewaretoken" value="\w{64}"', page)
    assert "Try now: The storage" in page


def test_what_services_said_is_shown_as_text(manager: Client, keys: None) -> None:
    stop("provider:openverse", "<script>alert(1)</script>")
    stop('host:"><img src=x onerror=1>', "<b>bold</b>")
    page = manager.get(PAGE).content.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "<b>bold" not in page


def test_of_many_alerts_the_worst_are_open(reader: Client) -> None:
    for number in range(5):
        stop(f"host:{number}.example")
    stop("storage", error_type=ErrorType.STORAGE_CONFIG)
    first, more = text_of(panel_of(reader.get(PAGE), "alerts")).split("Show 2 more alerts")
    assert first.startswith("Active Alerts 6 Critical The storage is stopped")
    assert (first.count("Warning"), more.count("Warning")) == (3, 2)


def test_the_last_cleanup_tells_what_it_saved(reader: Client) -> None:
    run = CleanupRun.objects.create(state="finished")
    assert "saved" not in text_of(panel_of(reader.get(PAGE), "last-cleanup"))
    for saved in ("1.19", "0.007"):
        Operation.objects.create(venue=make_venue(), run=run, kind="retry", saved_usd=saved)
    text = text_of(panel_of(reader.get(PAGE), "last-cleanup"))
    assert "$1.20 saved : asking the providers again would have cost that." in text


def test_every_provider_in_trouble_fits_a_page_of_the_same_cost(set_environment: SetEnvironment) -> None:
    client = sign_in("manage_providers", "enrich_venues", "retry_uploads")

    def statements() -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get(PAGE)
        return len(captured)

    make_image(make_venue(), UploadStatus.FAILED)
    few = statements()
    for name in PROVIDERS:
        set_environment(**{f"{name}_API_KEY".upper(): "key", f"{name}_STORAGE_POLICY".upper(): "store"})
        stop(f"provider:{name}", "It answers 503. " * 10)
        stop(f"host:{name}.example", "It answers 503. " * 10)
        make_image(make_venue(), UploadStatus.FAILED, ErrorType.URL_EXPIRED, provider=name)
        ask(name, 1, seconds_ago=1)
    Provider.objects.update(active=True)
    assert len(cards(client)) == len(PROVIDERS) == 11
    assert statements() == few
    assert few <= 30
    assert len(client.get(PAGE).content) < 100_000

"""The page in a real browser: what a refresh must not disturb, and what must work without JavaScript."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from playwright.sync_api import Page, expect

from tests.dashboard.conftest import Chromium
from tests.dashboard.pages import expire, stop
from tests.factories import make_image, make_venue
from venue_images.errors import ErrorType
from venue_images.models import CleanupRun, UploadStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_jobs_left() -> Iterator[None]:
    """The engine's tables are none of Django's, so that nothing else empties them."""
    yield
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE pgqueuer")


@pytest.fixture
def address(live_server: Any) -> str:
    return f"{live_server.url}/admin/venue-images/stats"


@pytest.fixture
def session() -> str:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def fail_in_many_ways() -> None:
    for error_type in list(ErrorType)[:10]:
        make_image(make_venue(), UploadStatus.FAILED, error_type)


def refresh(page: Page) -> None:
    page.clock.fast_forward(10_000)


def test_a_refresh_keeps_focus_scroll_and_open_details(chromium: Chromium, address: str, session: str) -> None:
    fail_in_many_ways()
    page = chromium.page(address, session)

    def read_on() -> float:
        page.click("#venue-images-more-summary")
        page.focus("#venue-images-more-summary")
        page.evaluate("document.getElementById('venue-images-data').dataset.same = 'yes'")
        page.evaluate("window.scrollTo(0, 300)")
        return float(page.evaluate("window.scrollY"))

    def after_refresh() -> dict[str, Any]:
        refresh(page)
        expect(page.locator("#venue-images-images")).to_have_text("11")
        return {
            "scroll": page.evaluate("window.scrollY"),
            "focus": page.evaluate("document.activeElement.id"),
            "open": page.evaluate("document.getElementById('venue-images-more').open"),
        }

    scroll = chromium.run(read_on)
    assert scroll > 0
    make_image(make_venue(), UploadStatus.FAILED)
    expected = {"scroll": scroll, "focus": "venue-images-more-summary", "open": True}
    assert chromium.run(after_refresh) == expected


def test_the_box_goes_when_the_last_failure_is_repaired(chromium: Chromium, address: str, session: str) -> None:
    image = make_image(make_venue(), UploadStatus.FAILED)
    page = chromium.page(address, session)
    chromium.run(lambda: expect(page.get_by_text("Venues with Failures", exact=True)).to_be_visible())
    image.upload_status, image.storage_key = UploadStatus.UPLOADED, "venues/x/ct-0123456789abcdef.jpg"
    image.save()

    def is_calm() -> None:
        refresh(page)
        expect(page.get_by_text("No failed uploads")).to_be_visible()
        expect(page.get_by_text("Venues with Failures", exact=True)).to_have_count(0)

    chromium.run(is_calm)


@pytest.mark.parametrize("answer", ["none", "500", "a page of somebody else"])
def test_a_failed_refresh_keeps_the_figures_and_tries_again(
    chromium: Chromium, address: str, session: str, answer: str
) -> None:
    fail_in_many_ways()
    page = chromium.page(address, session)
    bodies: dict[str, Callable[[Any], None]] = {
        "none": lambda route: route.abort(),
        "500": lambda route: route.fulfill(status=500, body="broken"),
        "a page of somebody else": lambda route: route.fulfill(status=200, body="<p>Please hold the line</p>"),
    }

    def fail_and_recover() -> None:
        page.route(address, bodies[answer])
        refresh(page)
        updated = page.locator("#venue-images-updated")
        expect(updated).to_contain_text("refresh failed, trying again")
        expect(updated).to_contain_text("UTC")
        expect(page.locator("#venue-images-images")).to_have_text("10")
        page.unroute(address)
        refresh(page)
        expect(updated).not_to_contain_text("refresh failed")
        expect(page.locator("#venue-images-images")).to_have_text("10")

    chromium.run(fail_and_recover)


def test_a_refresh_after_the_session_has_ended_leads_to_the_sign_in(
    chromium: Chromium, address: str, session: str
) -> None:
    page = chromium.page(address, session)

    def sign_out() -> None:
        page.context.clear_cookies()
        refresh(page)
        page.wait_for_url("**/admin/login/?next=/admin/venue-images/stats")

    chromium.run(sign_out)


def test_a_double_click_queues_one_cleanup(chromium: Chromium, address: str, session: str) -> None:
    make_image(make_venue(), UploadStatus.FAILED)
    page = chromium.page(address, session)

    def double_click() -> None:
        page.get_by_text("Retry Failed Uploads", exact=True).dblclick()
        expect(page.get_by_text("✅ Cleanup job enqueued - will scan venues and retry failed uploads")).to_be_visible()
        expect(page.get_by_role("button", name="Retry Failed Uploads")).to_be_enabled()

    chromium.run(double_click)
    assert CleanupRun.objects.count() == 1


def test_the_page_and_its_buttons_work_without_javascript(chromium: Chromium, address: str, session: str) -> None:
    make_image(make_venue(), UploadStatus.FAILED)
    page = chromium.page(address, session, java_script_enabled=False)

    def use() -> None:
        expect(page.get_by_role("heading", name="Venue Image Provider Statistics")).to_be_visible()
        expect(page.locator("#venue-images-images")).to_have_text("1")
        page.get_by_role("button", name="Retry Failed Uploads").click()
        expect(page.get_by_text("✅ Cleanup job enqueued")).to_be_visible()

    chromium.run(use)
    assert CleanupRun.objects.count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_can_be_read(
    chromium: Chromium, address: str, session: str, scheme: str, set_environment: Callable[..., None]
) -> None:
    set_environment(GOOGLE_PLACES_API_KEY="key", GOOGLE_PLACES_STORAGE_POLICY="store")
    fail_in_many_ways()
    expire(make_venue(), 2)
    stop("provider:openverse", "Openverse refused us.")
    stop("provider:wikimedia_commons", state="half_open")
    stop(f"host:{'long-' * 20}name.example", "It asked to be left alone.")
    phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": scheme}
    page = chromium.page(address, session, **phone)
    assert chromium.run(lambda: page.evaluate("document.documentElement.scrollWidth")) == 390
    assert chromium.run(lambda: page.evaluate(TOO_FAINT)) == []


#: Texts of the page whose contrast with the ground is below WCAG's 4.5 : 1.
TOO_FAINT = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const pixel = (color) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = pixel(getComputedStyle(e).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255];
  };
  const light = (color) => {
    const [r, g, b] = color.map((part) => part / 255).map((p) => (p <= 0.04045 ? p / 12.92 : ((p + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  return [...document.querySelectorAll('.vi *')].filter(hasText).filter((element) => {
    const pair = [light(pixel(getComputedStyle(element).color)), light(ground(element))];
    return Math.max(...pair) / Math.min(...pair) < 4.5;
  }).map((element) => element.textContent.trim());
}"""

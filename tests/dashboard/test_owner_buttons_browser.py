"""“Try now” and “Refresh URLs” as somebody presses them, with a refresh of the page in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect

from tests.dashboard.conftest import Chromium
from tests.dashboard.pages import PAGE, expire, stop
from tests.factories import make_venue
from venue_images import job_queue
from venue_images.models import Circuit

pytestmark = pytest.mark.usefixtures("jobs")


@pytest.fixture
def page(chromium: Chromium, live_server: Any, set_environment: Callable[..., None]) -> Page:
    """The page with a stopped provider, a stopped host and expired URLs."""
    set_environment(GOOGLE_PLACES_API_KEY="key", GOOGLE_PLACES_STORAGE_POLICY="store")
    stop("provider:openverse", "Openverse refused us.")
    stop("host:photos.example", "photos.example asked to be left alone.")
    expire(make_venue(), 3)
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return chromium.page(live_server.url + PAGE, client.cookies[settings.SESSION_COOKIE_NAME].value)


@pytest.mark.parametrize(
    ("title", "service"), [("Openverse", "provider:openverse"), ("photos.example", "host:photos.example")]
)
def test_a_stopped_service_is_tried_now(chromium: Chromium, page: Page, title: str, service: str) -> None:
    def press() -> None:
        button = page.get_by_role("button", name=f"Try now: {title}")
        button.focus()
        page.clock.run_for(11_000)
        expect(button).to_be_focused()
        button.dblclick()
        expect(page.get_by_text(f"✅ {title} will be tried by the next request")).to_be_visible()
        expect(page.get_by_text("The next request tries it.", exact=True)).to_be_visible()

    chromium.run(press)
    assert Circuit.objects.filter(service=service, try_at__lte=timezone.now()).exists()
    assert Circuit.objects.filter(try_at__gt=timezone.now()).count() == 1


def test_new_urls_are_bought_once_for_the_price_on_the_button(chromium: Chromium, page: Page) -> None:
    def press() -> None:
        page.get_by_role("button", name="Refresh URLs ($0.021)").dblclick()
        expect(page.get_by_text("✅ New URLs enqueued for 3 images in 1 venue: 4 calls, $0.021")).to_be_visible()

    chromium.run(press)
    assert job_queue.due_jobs() == 1

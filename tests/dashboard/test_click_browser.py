"""The click itself, in a real browser: from the page with failures to the page without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect

from tests.catalogue import import_venue
from tests.conftest import Workers
from tests.dashboard.conftest import Chromium
from venue_images import enrichment_job
from venue_images.models import UploadStatus, VenueImage
from venue_images.sandbox import Fault, Sandbox


def signed_in() -> str:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def metric(page: Page, label: str) -> Any:
    return page.get_by_text(label, exact=True).locator("..")


def test_the_operator_clicks_and_sees_the_photos_come_back(
    sandbox: Sandbox, workers: Workers, chromium: Chromium, live_server: Any, tmp_path: Path
) -> None:
    urls = [sandbox.photo_url(f"village-vanguard/{number}.jpg") for number in range(1, 6)]
    for url in urls[:2]:
        sandbox.script(url, Fault("status", status=503), times=1)
    sandbox.script(urls[2], Fault("status", status=404))
    import_venue(tmp_path, "village-vanguard", urls)
    enrichment_job.enqueue()
    workers.drain()
    page = chromium.page(live_server.url + reverse("venue_images:stats"), signed_in())

    def click() -> None:
        expect(page).to_have_title("Venue Image Provider Statistics | Venue Images")
        expect(metric(page, "Failed Images")).to_contain_text("3")
        expect(metric(page, "Transient Failures")).to_contain_text("1")
        page.get_by_role("button", name="Retry Failed Uploads").click()
        flash = "✅ Cleanup job enqueued - will scan venues and retry failed uploads"
        expect(page.get_by_text(flash)).to_be_visible()

    chromium.run(click)
    workers.drain()

    def see() -> None:
        page.clock.run_for(11_000)
        expect(metric(page, "Failed Images")).to_contain_text("1")
        expect(metric(page, "Transient Failures")).to_contain_text("0")
        expect(metric(page, "Permanent Failures")).to_contain_text("1")

    chromium.run(see)
    assert VenueImage.objects.filter(upload_status=UploadStatus.UPLOADED).count() == 4
    assert [len(sandbox.hits(url)) for url in urls] == [2, 2, 1, 1, 1]

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from tests.dashboard.pages import PAGE, flashes, sign_in, text_of
from tests.factories import make_image, make_venue
from venue_images import stats
from venue_images.errors import ErrorType
from venue_images.models import CleanupRun, Provider, UploadStatus

if TYPE_CHECKING:
    from pytest_django import DjangoAssertNumQueries

pytestmark = pytest.mark.django_db

RETRY = "/admin/venue-images/stats/retry-failed-uploads"
ENRICH = "/admin/venue-images/stats/enqueue-enrichment"
QUEUED = "✅ Cleanup job enqueued - will scan venues and retry failed uploads"


@pytest.fixture
def operator() -> Client:
    return sign_in("retry_uploads", "enrich_venues")


@pytest.fixture
def reader() -> Client:
    return sign_in()


def test_the_addresses_are_the_documented_ones() -> None:
    names = ("stats", "retry_failed_uploads", "enqueue_enrichment")
    assert tuple(reverse(f"venue_images:{name}") for name in names) == (PAGE, RETRY, ENRICH)


@pytest.mark.parametrize("signed_in", [False, True])
def test_whoever_is_no_staff_is_sent_to_the_sign_in(signed_in: bool) -> None:
    client = sign_in("retry_uploads", "enrich_venues", staff=False) if signed_in else Client()
    for response in (client.get(PAGE), client.post(RETRY), client.post(ENRICH)):
        assert response.status_code == 302
        assert response.headers["Location"].startswith("/admin/login/?next=/admin/venue-images/stats")
    assert not CleanupRun.objects.exists()


def test_a_refresh_after_the_session_has_ended_leads_to_the_sign_in() -> None:
    response = Client().get(PAGE, headers={"HX-Request": "true"})
    assert response.headers["HX-Redirect"] == f"/admin/login/?next={PAGE}"


def test_a_reader_sees_the_page_without_the_buttons(reader: Client) -> None:
    response = reader.get(PAGE)
    assert "Venue Image Provider Statistics" in text_of(response)
    assert "Retry Failed Uploads" not in text_of(response)
    assert "Enqueue Enrichment" not in text_of(response)


@pytest.mark.parametrize("address", [RETRY, ENRICH])
def test_a_post_without_the_permission_is_forbidden(reader: Client, address: str) -> None:
    assert reader.post(address).status_code == 403
    assert not CleanupRun.objects.exists()


def test_each_button_needs_its_own_permission() -> None:
    client = sign_in("enrich_venues")
    page = text_of(client.get(PAGE))
    assert ("Retry Failed Uploads" in page, "Enqueue Enrichment" in page) == (False, True)
    assert client.post(RETRY).status_code == 403


@pytest.mark.parametrize("address", [RETRY, ENRICH])
def test_the_buttons_take_a_post_alone(operator: Client, address: str) -> None:
    assert operator.get(address).status_code == 405


@pytest.mark.parametrize("address", [RETRY, ENRICH])
def test_a_post_without_the_token_is_forbidden(address: str) -> None:
    client = sign_in("retry_uploads", "enrich_venues", strict=True)
    assert client.post(address).status_code == 403
    assert not CleanupRun.objects.exists()


def test_the_buttons_look_as_specified(operator: Client) -> None:
    page = operator.get(PAGE).content.decode()
    [orange] = re.findall(r'<button[^>]*vi-button-orange[^>]*title="([^"]*)"[^>]*>\s*<span[^>]*>🔄</span>', page)
    assert orange == "Retry transient failed uploads without calling provider APIs"
    assert re.search(r"vi-button-blue[^>]*>\s*<span>Enqueue Enrichment</span>", page)
    assert page.count("csrfmiddlewaretoken") >= 2


def test_the_retry_button_queues_one_cleanup(operator: Client) -> None:
    response = operator.post(RETRY)
    assert (response.status_code, response.headers["Location"]) == (302, PAGE)
    assert flashes(response) == [("success", QUEUED)]
    run = CleanupRun.objects.get()
    assert (run.trigger, run.requested_by) == ("button", User.objects.get())
    assert QUEUED in text_of(operator.get(PAGE))


def test_a_second_click_queues_nothing_and_says_so(operator: Client) -> None:
    operator.post(RETRY)
    [(level, text)] = flashes(operator.post(RETRY))[-1:]
    assert (level, "already" in text) == ("info", True)
    assert CleanupRun.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("address", "what"), [(RETRY, "cleanup job"), (ENRICH, "enrichment")])
def test_what_cannot_be_queued_is_said_in_one_line(address: str, what: str) -> None:
    client = sign_in("retry_uploads", "enrich_venues")
    make_venue()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE pgqueuer RENAME TO pgqueuer_away")
    try:
        [(level, text)] = flashes(client.post(address))
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE pgqueuer_away RENAME TO pgqueuer")
    assert level == "error"
    assert text.startswith(f"❌ Failed to enqueue {what}: ")
    assert "pgqueuer" in text
    assert "\n" not in text


def test_the_enrichment_button_queues_the_stale_venues(operator: Client) -> None:
    make_venue()
    make_venue()
    make_venue(images_checked_at=timezone.now())
    response = operator.post(ENRICH)
    assert (response.status_code, response.headers["Location"]) == (302, PAGE)
    assert flashes(response) == [("success", "✅ Enrichment enqueued - 2 stale venues will be checked for new photos")]


def test_enrichment_with_nothing_stale_is_no_success(operator: Client) -> None:
    make_venue(images_checked_at=timezone.now())
    [(level, text)] = flashes(operator.post(ENRICH))
    assert (level, "No stale venues" in text) == ("info", True)


def test_the_four_metrics_are_the_stats(reader: Client) -> None:
    for error_type in (ErrorType.RATE_LIMITED, ErrorType.GONE, ErrorType.SERVER_ERROR):
        make_image(make_venue(), UploadStatus.FAILED, error_type)
    both = make_venue()
    make_image(both, UploadStatus.FAILED)
    make_image(both, UploadStatus.PERMANENTLY_FAILED, ErrorType.NOT_FOUND)
    counts = stats.summary_stats()
    page = text_of(reader.get(PAGE))
    assert f"Venues with Failures {counts['total_venues_with_failures']}" in page
    assert f"Failed Images {counts['total_failed_images']}" in page
    assert f"Transient Failures {counts['venues_with_transient']} Can be retried" in page
    assert f"Permanent Failures {counts['venues_with_permanent']} Need manual review" in page
    assert f"{counts['venues_with_ambiguous']} venue has ambiguous failures" in page


def test_the_table_says_what_failed_and_why(reader: Client) -> None:
    venue = make_venue()
    make_image(venue, UploadStatus.FAILED, ErrorType.RATE_LIMITED)
    make_image(venue, UploadStatus.FAILED, ErrorType.RATE_LIMITED, retry_count=3)
    assert "Rate limited (429) transient Catalogue · rate_limited 2 1 1" in text_of(reader.get(PAGE))


def test_without_failures_there_is_a_calm_line_instead_of_the_box(reader: Client) -> None:
    make_image(make_venue(), UploadStatus.UPLOADED)
    page = text_of(reader.get(PAGE))
    assert "Failed Upload Summary" not in page
    assert "Transient Failures" not in page
    assert "No failed uploads" in page


def test_an_empty_site_says_how_to_begin(reader: Client) -> None:
    Provider.objects.all().delete()
    page = text_of(reader.get(PAGE))
    assert "venue-images import FILE" in page
    assert "venue-images migrate" in page
    assert "No cleanup has run yet" in page


def test_hostile_names_are_shown_as_text(reader: Client) -> None:
    make_image(make_venue(), UploadStatus.FAILED, "<b>bold</b>", provider="<script>alert(1)</script>")
    Provider.objects.create(name='"><img src=x onerror=1>')
    CleanupRun.objects.create(message="<script>alert(2)</script>")
    page = reader.get(PAGE).content.decode()
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "<b>bold" not in page.lower()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_last_cleanup_is_told_with_its_metered_calls(reader: Client) -> None:
    created_at = timezone.now() - timedelta(minutes=5)
    CleanupRun.objects.create(state="finished", trigger="nightly", venues_queued=1_234_567, created_at=created_at)
    page = text_of(reader.get(PAGE))
    assert f"Last Cleanup Run finished {created_at:%-d %b %Y, %H:%M:%S} UTC" in page
    assert "Venues queued 1,234,567" in page
    assert "Metered calls 0" in page


@override_settings(TIME_ZONE="Asia/Tokyo")
def test_times_are_utc_wherever_the_site_is(reader: Client) -> None:
    before, page, after = timezone.now(), text_of(reader.get(PAGE)), timezone.now()
    [shown] = re.findall(r"Last updated (\d\d:\d\d:\d\d) UTC", page)
    assert shown in (f"{before:%H:%M:%S}", f"{after:%H:%M:%S}")


def test_a_refresh_brings_the_data_alone(operator: Client) -> None:
    make_image(make_venue(), UploadStatus.FAILED)
    page = operator.get(PAGE, headers={"HX-Request": "true"}).content.decode()
    assert "Failed Upload Summary" in page
    assert 'id="venue-images-updated" aria-live="polite" hx-swap-oob="innerHTML"' in page
    assert "<html" not in page
    assert "Enqueue Enrichment" not in page


def test_a_refresh_leaves_the_flash_messages_to_the_page(operator: Client) -> None:
    operator.post(RETRY)
    operator.get(PAGE, headers={"HX-Request": "true"})
    assert QUEUED in text_of(operator.get(PAGE))


def test_the_page_costs_the_same_however_many_venues_fail(
    reader: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(30):
        make_image(make_venue(), UploadStatus.FAILED, list(ErrorType)[number % 25])
    with django_assert_max_num_queries(30):
        reader.get(PAGE, headers={"HX-Request": "true"})


def test_the_page_works_in_an_admin_without_the_theme(operator: Client) -> None:
    make_image(make_venue(), UploadStatus.FAILED)
    plain = [config.name for config in apps.get_app_configs() if config.name != "unfold"]
    with override_settings(INSTALLED_APPS=plain):
        response = operator.get(PAGE)
    page = response.content.decode()
    assert "unfold/" not in page
    assert "django_htmx/htmx-2.min.js" in page
    assert "Failed Upload Summary" in text_of(response)

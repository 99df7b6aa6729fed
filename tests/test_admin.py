from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.factories import make_image, make_venue
from venue_images.errors import ErrorType
from venue_images.models import (
    Circuit,
    CleanupRun,
    Operation,
    Provider,
    ProviderCheck,
    ProviderSpend,
    UploadAttempt,
    UploadStatus,
    Venue,
    VenueImage,
)
from venue_images.providers import PROVIDERS

pytestmark = pytest.mark.django_db

OWN = ("venue", "venueimage", "provider", "providerspend", "circuit", "operation", "cleanuprun")
WRITTEN_BY_JOBS = ("venueimage", "providerspend", "operation", "cleanuprun")
HOST = "host:photos.example:8443"


@pytest.fixture
def owner() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("owner"))
    return client


@pytest.fixture
def rows() -> dict[str, Any]:
    """One row of each kind, by model name."""
    venue = make_venue("Blue Note")
    image = make_image(venue, UploadStatus.FAILED, ErrorType.GONE)
    run = CleanupRun.objects.create()
    operation = Operation.objects.create(venue=venue, run=run, kind=Operation.Kind.RETRY)
    UploadAttempt.objects.create(image=image, operation=operation, started_at=run.created_at, error_type="gone")
    return {
        "venue": venue,
        "venueimage": image,
        "provider": Provider.objects.get(name="catalog"),
        "providerspend": ProviderSpend.objects.create(provider="catalog", month=run.created_at.date(), calls=3),
        "circuit": Circuit.objects.create(service=HOST, state="open", failures=3, message="Leave me alone."),
        "operation": operation,
        "cleanuprun": run,
    }


def address(model: str, page: str, *arguments: Any) -> str:
    app = "auth" if model in ("user", "group") else "venue_images"
    return reverse(f"admin:{app}_{model}_{page}", args=[quote(argument) for argument in arguments])


@pytest.mark.parametrize("model", [*OWN, "user", "group"])
def test_every_list_opens(owner: Client, rows: dict[str, Any], model: str) -> None:
    Group.objects.create(name="Editors")
    assert owner.get(address(model, "changelist")).status_code == 200


@pytest.mark.parametrize("model", OWN)
def test_every_row_opens(owner: Client, rows: dict[str, Any], model: str) -> None:
    assert owner.get(address(model, "change", rows[model].pk)).status_code == 200


@pytest.mark.parametrize("model", WRITTEN_BY_JOBS)
def test_what_jobs_write_cannot_be_added_changed_or_deleted(owner: Client, rows: dict[str, Any], model: str) -> None:
    row = rows[model]
    for page in (address(model, "add"), address(model, "delete", row.pk)):
        assert owner.post(page, {"post": "yes"}).status_code == 403
    assert owner.post(address(model, "change", row.pk), {}).status_code == 403
    assert type(row).objects.filter(pk=row.pk).exists()


def test_a_venue_with_images_is_not_deleted(owner: Client, rows: dict[str, Any]) -> None:
    owner.post(address("venue", "delete", rows["venue"].pk), {"post": "yes"})
    assert Venue.objects.exists()


def test_the_owner_sets_prices_and_limits_of_a_provider(owner: Client) -> None:
    fields = {
        "priority": 7,
        "cost_per_search": "0",
        "cost_per_call": "0.02",
        "cost_per_image": "0.5",
        "monthly_budget_usd": "12.50",
    }
    limits = {"limit_per_minute": 30, "limit_per_day": 500, "geocode": "on"}
    assert owner.post(address("provider", "change", "catalog"), {**fields, **limits}).status_code == 302
    provider = Provider.objects.get(name="catalog")
    assert (provider.active, provider.geocode, provider.priority) == (False, True, 7)
    assert (provider.limit_per_second, provider.limit_per_minute, provider.limit_per_day) == (None, 30, 500)
    assert (provider.cost_per_call, provider.monthly_budget_usd) == (Decimal("0.02"), Decimal("12.5"))
    assert "30 a minute, 500 a day" in owner.get(address("provider", "changelist")).content.decode()


def test_the_owner_finds_the_terms_of_a_provider(owner: Client) -> None:
    page = owner.get(address("provider", "change", "unsplash")).content.decode()
    info = PROVIDERS["unsplash"].info
    assert info.terms in page
    assert f'<a href="{info.terms_url}" target="_blank" rel="noopener noreferrer nofollow"' in page


def test_the_owner_spares_a_photo_host(owner: Client, rows: dict[str, Any]) -> None:
    form = {"concurrency": 2, "limit_per_second": 5, "failures": 0, "state": "closed"}
    assert owner.post(address("circuit", "change", HOST), form).status_code == 302
    circuit = Circuit.objects.get(service=HOST)
    assert (circuit.concurrency, circuit.limit_per_second) == (2, 5)
    assert (circuit.failures, circuit.state) == (3, "open")


def test_what_the_workers_noticed_meanwhile_is_kept(
    owner: Client, rows: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def noticed_while_the_form_is_checked(self: Circuit) -> None:
        Circuit.objects.filter(service=HOST).update(failures=4, leases={"a worker": 3})

    monkeypatch.setattr(Circuit, "clean", noticed_while_the_form_is_checked)
    assert owner.post(address("circuit", "change", HOST), {"concurrency": 2}).status_code == 302
    circuit = Circuit.objects.get(service=HOST)
    assert (circuit.concurrency, circuit.failures, circuit.leases) == (2, 4, {"a worker": 3})


@pytest.mark.parametrize("service", ["storage", "provider:catalog"])
def test_a_service_that_is_no_host_has_nothing_to_set(owner: Client, service: str) -> None:
    Circuit.objects.create(service=service)
    owner.post(address("circuit", "change", service), {"concurrency": 2, "limit_per_second": 5})
    circuit = Circuit.objects.get(service=service)
    assert (circuit.concurrency, circuit.limit_per_second) == (None, None)


def test_services_are_neither_added_nor_deleted(owner: Client, rows: dict[str, Any]) -> None:
    assert owner.post(address("circuit", "add"), {"service": "host:mine"}).status_code == 403
    assert owner.post(address("circuit", "delete", HOST), {"post": "yes"}).status_code == 403


def test_a_venue_tells_how_far_each_provider_was_asked(owner: Client, rows: dict[str, Any]) -> None:
    venue = rows["venue"]
    ProviderCheck.objects.create(venue=venue, provider="openverse", confidence=0.42, note="<b>Nearly</b> it.")
    page = owner.get(address("venue", "change", venue.pk)).content.decode()
    assert "Openverse" in page
    assert "0.42" in page
    assert "&lt;b&gt;Nearly&lt;/b&gt; it." in page
    owner.post(address("venue", "change", venue.pk), {"provider_checks-0-note": "mine", "name": "Blue Note"})
    assert ProviderCheck.objects.get().note == "<b>Nearly</b> it."


def test_providers_come_from_the_registry_alone(owner: Client) -> None:
    assert owner.post(address("provider", "add"), {"name": "mine"}).status_code == 403
    assert owner.post(address("provider", "delete", "catalog"), {"post": "yes"}).status_code == 403


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", 2),
        ("error_type=gone", 1),
        ("error_type=legal", 0),
        ("provider=catalog", 2),
        ("provider=google_places", 0),
        ("upload_status__exact=uploaded", 1),
        ("q=somewhere-else", 0),
    ],
)
def test_images_are_filtered_and_found(owner: Client, rows: dict[str, Any], query: str, found: int) -> None:
    make_image(rows["venue"], UploadStatus.UPLOADED)
    response = owner.get(f"{address('venueimage', 'changelist')}?{query}")
    assert len(response.context["cl"].result_list) == found


def test_the_images_of_one_venue_are_one_click_away(owner: Client, rows: dict[str, Any]) -> None:
    make_image(make_venue(), UploadStatus.UPLOADED)
    venue = rows["venue"]
    link = f"{address('venueimage', 'changelist')}?venue__id__exact={venue.pk}"
    assert link in owner.get(address("venue", "change", venue.pk)).content.decode()
    assert [image.venue for image in owner.get(link).context["cl"].result_list] == [venue]


def test_a_stored_image_is_shown(owner: Client) -> None:
    image = make_image(make_venue(), UploadStatus.UPLOADED, url="/admin/venue-images/media/venues/x/ct-00.jpg")
    page = owner.get(address("venueimage", "change", image.pk)).content.decode()
    assert f'<img src="{image.url}"' in page


@pytest.mark.parametrize("page", ["changelist", "change"])
def test_who_made_a_photo_and_its_licence_stand_beside_it(owner: Client, page: str) -> None:
    page_url = "https://commons.example/wiki/File:A.jpg?a=1&b=<2>"
    fields = {"attribution": "Ana <b>Bold</b>", "licence": "CC BY-SA 4.0", "page_url": page_url}
    image = make_image(make_venue(), UploadStatus.UPLOADED, **fields)
    html = owner.get(address("venueimage", page, *([image.pk] if page == "change" else []))).content.decode()
    link = 'href="https://commons.example/wiki/File:A.jpg?a=1&amp;b=&lt;2&gt;" target="_blank" rel="noopener noreferrer nofollow"'
    assert f"Ana &lt;b&gt;Bold&lt;/b&gt; · CC BY-SA 4.0 · <a {link}" in html


@pytest.mark.parametrize("page_url", ["javascript:alert(1)", "data:text/html,x", "//host.example/", ""])
def test_only_a_web_page_is_linked_to(owner: Client, page_url: str) -> None:
    make_image(make_venue(), UploadStatus.UPLOADED, attribution="Ana", page_url=page_url)
    page = owner.get(address("venueimage", "changelist")).content.decode()
    assert ">Ana</span>" in page
    assert "Page of the photo" not in page


def test_a_list_of_images_counts_no_more_than_a_person_would_look_at(owner: Client, rows: dict[str, Any]) -> None:
    with CaptureQueriesContext(connection) as captured:
        owner.get(address("venueimage", "changelist"))
    statements = [query["sql"] for query in captured.captured_queries]
    counts = [sql for sql in statements if sql.startswith("SELECT COUNT") and "venue_images_venueimage" in sql]
    assert counts
    assert all("LIMIT" in sql for sql in counts)


def test_a_list_of_images_asks_for_its_venues_at_once(owner: Client) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as captured:
            owner.get(address("venueimage", "changelist"))
        return len(captured)

    make_image(make_venue())
    one = statements()
    for _ in range(5):
        make_image(make_venue())
    assert statements() == one
    assert VenueImage.objects.count() == 6


def test_a_reader_sees_rows_without_forms(rows: dict[str, Any]) -> None:
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client = Client()
    client.force_login(user)
    assert client.get(address("venue", "change", rows["venue"].pk)).status_code == 200
    assert client.post(address("venue", "change", rows["venue"].pk), {"name": "Mine"}).status_code == 403


def test_a_user_is_added_in_the_theme(owner: Client) -> None:
    page = owner.get(address("user", "add")).content.decode()
    assert "unfold/css/styles.css" in page
    secret = "long-and-odd-enough-17"
    form = {"username": "newcomer", "password1": secret, "password2": secret, "usable_password": "true"}
    assert owner.post(address("user", "add"), form).status_code == 302
    assert User.objects.get(username="newcomer").check_password(secret)

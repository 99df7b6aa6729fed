from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.factories import make_image, make_venue
from venue_images.errors import ErrorType
from venue_images.models import CleanupRun, Operation, Provider, UploadAttempt, UploadStatus, Venue, VenueImage

pytestmark = pytest.mark.django_db

OWN = ("venue", "venueimage", "provider", "operation", "cleanuprun")
WRITTEN_BY_JOBS = ("venueimage", "operation", "cleanuprun")


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
    provider = Provider.objects.get(name="catalog")
    return {"venue": venue, "venueimage": image, "provider": provider, "operation": operation, "cleanuprun": run}


def address(model: str, page: str, *arguments: Any) -> str:
    app = "auth" if model in ("user", "group") else "venue_images"
    return reverse(f"admin:{app}_{model}_{page}", args=arguments)


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


def test_the_owner_sets_the_limits_of_a_provider(owner: Client) -> None:
    fields = {"priority": 7, "cost_per_image": "0.5", "limit_per_minute": 30}
    assert owner.post(address("provider", "change", "catalog"), fields).status_code == 302
    provider = Provider.objects.get(name="catalog")
    assert (provider.active, provider.priority, provider.limit_per_minute) == (False, 7, 30)


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

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from venue_images.conf import settings
from venue_images.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.django_db

KEY = "venues/blue-note/ct-0123456789abcdef.{}"
BODY = b"the bytes of an image"


@pytest.fixture(autouse=True)
def _stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A storage in a folder, with one image of each kind and a file beside it that is none of its objects."""
    monkeypatch.setenv("STORAGE_URL", (tmp_path / "images").as_uri())
    settings.cache_clear()
    for extension in ("jpg", "png", "webp", "gif", "avif"):
        async_to_sync(open_storage(settings().effective_storage_url).put)(KEY.format(extension), BODY, "")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    yield
    settings.cache_clear()


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_user("reader", is_staff=True))
    return client


def address(key: str) -> str:
    return reverse("venue_images:media", args=[key])


@pytest.mark.parametrize(
    ("extension", "content_type"),
    [
        ("jpg", "image/jpeg"),
        ("png", "image/png"),
        ("webp", "image/webp"),
        ("gif", "image/gif"),
        ("avif", "image/avif"),
    ],
)
def test_staff_see_a_stored_image_with_the_type_of_its_extension(
    staff: Client, extension: str, content_type: str
) -> None:
    response = staff.get(address(KEY.format(extension)))
    assert (response.status_code, response.content) == (200, BODY)
    assert response.headers["Content-Type"] == content_type
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "private" in response.headers["Cache-Control"]


def test_the_address_is_the_documented_one() -> None:
    assert address(KEY.format("jpg")) == f"/admin/venue-images/media/{KEY.format('jpg')}"


def test_whoever_is_no_staff_sees_no_image() -> None:
    assert Client().get(address(KEY.format("jpg"))).headers["Location"].startswith("/admin/login/")


@pytest.mark.parametrize(
    "key",
    [
        "venues/blue-note/ct-ffffffffffffffff.jpg",
        "venues/blue-note/ct-0123456789abcdef.html",
        "venues/blue-note/../../../secret.jpg",
        "venues/%2e%2e/ct-0123456789abcdef.jpg",
        "venues/blue-note/ct-0123456789abcdef.jpg%0A",
        "../secret.jpg",
        "secret.jpg",
        "venues/blue-note",
    ],
)
def test_whatever_is_no_stored_image_is_not_found(staff: Client, key: str) -> None:
    assert staff.get(f"/admin/venue-images/media/{key}").status_code == 404


def test_a_storage_that_cannot_be_read_has_no_image(staff: Client, tmp_path: Path) -> None:
    folder = tmp_path / "images" / "venues"
    folder.rename(tmp_path / "images" / "moved")
    folder.write_text("a file where a folder should be")
    assert staff.get(address(KEY.format("jpg"))).status_code == 404


def test_an_image_is_only_looked_at(staff: Client) -> None:
    assert staff.post(address(KEY.format("jpg"))).status_code == 405

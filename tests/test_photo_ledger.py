"""Photos become image rows: each once, whatever the provider sends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tests.factories import make_image, make_venue
from tests.runtimes import connected, new_connection
from venue_images import photo_ledger, photo_urls
from venue_images.models import UploadStatus, Venue, VenueImage
from venue_images.providers import Photo

pytestmark = pytest.mark.usefixtures("transactional_db")


def discover(venue: Venue, photos: Sequence[Photo], *, checked: bool = True, **policies: str) -> list[str]:
    return connected(lambda connection: photo_ledger.discover(connection, venue.pk, photos, policies, checked=checked))


def test_new_photos_become_rows_and_known_ones_stay_as_they_are() -> None:
    venue = make_venue()
    uploaded = make_image(venue, UploadStatus.UPLOADED, provider_url="https://photos.example/1.jpg", width=10)
    given_up = make_image(venue, UploadStatus.PERMANENTLY_FAILED, "gone", provider_url="https://photos.example/2.jpg")
    before = list(VenueImage.objects.order_by("pk").values())
    photos = [
        Photo("google_places", f"http://PHOTOS.example/{number}.jpg?utm_source=x", width=4000, height=3000)
        for number in (1, 2, 3)
    ]

    assert discover(venue, photos) == [UploadStatus.PENDING]
    assert discover(venue, photos) == []

    assert list(VenueImage.objects.filter(pk__in=[uploaded.pk, given_up.pk]).order_by("pk").values()) == before
    new = VenueImage.objects.exclude(pk__in=[uploaded.pk, given_up.pk]).get()
    assert (new.provider, new.host, new.width, new.height) == ("google_places", "photos.example", 4000, 3000)
    assert (new.score, new.retry_count, new.url) == (1.0, 0, "")


def test_discovering_at_once_makes_each_row_once() -> None:
    venue = make_venue()
    photos = [Photo("catalog", f"https://photos.example/{number}.jpg") for number in range(20)]

    async def everybody() -> list[list[str]]:
        async def one(offers: Sequence[Photo]) -> list[str]:
            async with await new_connection() as connection:
                return await photo_ledger.discover(connection, venue.pk, offers, {}, checked=True)

        return await asyncio.gather(*(one(photos if number % 2 else photos[::-1]) for number in range(6)))

    assert sum(map(len, asyncio.run(everybody()))) == VenueImage.objects.count() == 20


def test_whether_the_venue_was_checked_is_noted_only_when_it_was() -> None:
    venue = make_venue()
    discover(venue, [], checked=False)
    venue.refresh_from_db()
    assert venue.images_checked_at is None
    discover(venue, [], checked=True)
    venue.refresh_from_db()
    assert venue.images_checked_at


def test_a_photo_to_be_hotlinked_gets_the_address_of_the_provider() -> None:
    venue = make_venue()
    states = discover(venue, [Photo("unsplash", "https://photos.example/1.jpg")], unsplash="hotlink")
    image = VenueImage.objects.get()
    assert states == [image.upload_status] == [UploadStatus.HOTLINKED]
    assert image.url == image.provider_url == "https://photos.example/1.jpg"


@pytest.mark.parametrize("policy", ["store", "hotlink"])
def test_an_address_that_is_none_becomes_a_row_that_says_so(policy: str) -> None:
    venue = make_venue()
    photos = [Photo("catalog", url) for url in ("nonsense?key=secret", "ftp://photos.example/1.jpg")]
    assert discover(venue, photos, catalog=policy) == [UploadStatus.PERMANENTLY_FAILED] * 2
    assert discover(venue, photos, catalog=policy) == []
    for image in VenueImage.objects.all():
        assert (image.error_type, image.url, image.host) == ("invalid_provider_url", "", "")
        assert image.failed_at
        assert "secret" not in image.provider_url + image.error_message


@pytest.mark.parametrize(
    "photo",
    [
        {"width": "abc", "height": None},
        {"width": -1, "height": -2},
        {"width": 0, "height": 10**30},
        {"width": 2**31, "height": 1.5},
        {"width": True, "height": [1]},
        {"attribution": "NUL \0, half \ud800", "licence": None},
        {"attribution": {"name": "Ana"}},
        {"photo_id": "x" * 10_000},
        {"photo_id": 7},
        {"url": "https://photos.example/\0\ud800.jpg"},
        {"url": "\0"},
        {"url": f"https://{'a' * 300}.example/1.jpg"},
        {"url": f"https://photos.example/{'a' * 5000}"},
    ],
)
def test_a_photo_can_be_stored_whatever_the_provider_sends(photo: dict[str, Any]) -> None:
    venue = make_venue()
    fields = {"provider": "google_places", "url": "https://photos.example/1.jpg", **photo}
    assert len(discover(venue, [Photo(**fields), Photo("catalog", "https://photos.example/2.jpg")])) == 2
    image = VenueImage.objects.get(provider="google_places")
    assert image.width is None
    assert image.height is None


def test_the_hash_of_a_row_is_the_one_of_its_address() -> None:
    venue = make_venue()
    discover(venue, [Photo("catalog", "https://photos.example/1.jpg?b=2&a=1")])
    image = VenueImage.objects.get()
    assert image.url_hash == photo_urls.url_hash("http://photos.example/1.jpg?a=1&b=2#x")

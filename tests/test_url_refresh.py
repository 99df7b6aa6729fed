"""New addresses for images whose address has expired: offered with their price, and had only when somebody agreed."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tests.factories import make_image, make_venue
from venue_images import orchestrator, url_refresh
from venue_images.errors import ErrorType
from venue_images.models import Provider, UploadStatus, Venue, VenueImage
from venue_images.operation_log import OperationResult
from venue_images.sandbox import Fault, Sandbox

pytestmark = pytest.mark.usefixtures("transactional_db")

GOOGLE = "google_places"
PRICE = Decimal("0.007")


def dead_addresses(sandbox: Sandbox, slug: str = "odeon", photos: int = 5) -> Venue:
    """A venue whose photos can't be had any more from where they were."""
    sandbox.photo_uri_lifetime = 600
    sandbox.place(f"sandbox-{slug}", slug=slug, photos=photos)
    venue = make_venue(slug=slug, provider_ids={GOOGLE: f"sandbox-{slug}"})
    for number in range(photos):
        url = sandbox.photo_url(f"{slug}/{101 + number}.jpg?expires=1")
        make_image(venue, UploadStatus.FAILED, ErrorType.URL_EXPIRED, provider=GOOGLE, provider_url=url)
    return venue


def refresh(venue: Venue) -> OperationResult:
    return orchestrator.enrich_venue_sync(venue, refresh_urls=True)


def rows(*fields: str, **which: Any) -> dict[int, Any]:
    """The images by their id."""
    return {image[0]: image[1:] for image in VenueImage.objects.filter(**which).values_list("pk", *fields)}


# The offer


def test_an_offer_says_what_the_refresh_then_takes(sandbox: Sandbox) -> None:
    venue = dead_addresses(sandbox)
    [offer] = url_refresh.offers()
    assert offer == {"provider": GOOGLE, "images": 5, "venues": 1, "calls": 6, "cost_usd": 0.035}
    result = refresh(venue)
    assert (result.metered_calls, result.cost_usd) == (6, 5 * PRICE)
    assert sandbox.metered_calls[GOOGLE] == 6
    assert url_refresh.offers() == []


def test_an_offer_is_for_the_venues_that_are_asked_about(sandbox: Sandbox) -> None:
    odeon = dead_addresses(sandbox)
    tate = dead_addresses(sandbox, "tate", photos=2)
    offers = [url_refresh.offers(ids) for ids in (None, [odeon.pk, tate.pk], [tate.pk], [])]
    assert [[(each["images"], each["venues"], each["calls"]) for each in offer] for offer in offers] == [
        [(7, 2, 9)],
        [(7, 2, 9)],
        [(2, 1, 3)],
        [],
    ]


def test_the_owners_price_is_the_one_that_is_offered(sandbox: Sandbox) -> None:
    make_image(make_venue(), UploadStatus.FAILED, ErrorType.URL_EXPIRED, provider=GOOGLE)
    Provider.objects.filter(name=GOOGLE).update(cost_per_image=Decimal("0.5"), cost_per_call=Decimal(2))
    assert [offer["cost_usd"] for offer in url_refresh.offers()] == [2.5]


@pytest.mark.parametrize("policy", ["none", "hotlink"])
def test_photos_that_may_not_be_kept_are_neither_offered_nor_paid(
    sandbox: Sandbox, set_environment: Callable[..., None], policy: str
) -> None:
    venue = dead_addresses(sandbox)
    before = rows("upload_status", "provider_url")
    set_environment(GOOGLE_PLACES_STORAGE_POLICY=policy)
    assert url_refresh.offers() == []
    assert refresh(venue).cost_usd == 0
    assert rows("upload_status", "provider_url") == before
    assert sandbox.calls.get(GOOGLE, 0) == 0


def test_without_its_key_a_provider_offers_nothing(sandbox: Sandbox, set_environment: Callable[..., None]) -> None:
    make_image(make_venue(), UploadStatus.FAILED, ErrorType.URL_EXPIRED, provider=GOOGLE)
    make_image(make_venue(), UploadStatus.FAILED, ErrorType.URL_EXPIRED, provider="nobody_knows")
    set_environment(GOOGLE_PLACES_API_KEY="")
    assert url_refresh.offers() == []


@pytest.mark.usefixtures("sandbox")
def test_only_expired_addresses_that_can_be_mended_are_offered() -> None:
    venue = make_venue()
    for status, error_type in (
        (UploadStatus.FAILED, ErrorType.NETWORK_TIMEOUT),
        (UploadStatus.PERMANENTLY_FAILED, ErrorType.URL_EXPIRED),
        (UploadStatus.UPLOADED, None),
        (UploadStatus.PENDING, None),
    ):
        make_image(venue, status, error_type, provider=GOOGLE)
    assert url_refresh.offers() == []


# The refresh


def test_the_same_rows_get_new_addresses_and_are_uploaded_from_there(sandbox: Sandbox) -> None:
    venue = dead_addresses(sandbox)
    before = rows("provider_url", "url_hash")

    result = refresh(venue)

    after = rows("provider_url", "url_hash")
    assert after.keys() == before.keys()
    assert all(after[image] != before[image] for image in before)
    assert (result.images_discovered, result.images_uploaded, result.images_failed) == (0, 5, 0)
    fields = ("upload_status", "error_type", "error_message", "retry_count")
    assert set(rows(*fields).values()) == {("uploaded", None, "", 0)}
    assert all(image.url_obtained_at > image.created_at for image in VenueImage.objects.all())


def test_an_image_that_the_provider_has_no_more_stays_as_it_is(sandbox: Sandbox) -> None:
    venue = dead_addresses(sandbox)
    before = rows("provider_url", "error_type", "retry_count")
    sandbox.place("sandbox-odeon", slug="odeon", photos=3)

    result = refresh(venue)

    assert (result.images_uploaded, result.cost_usd) == (3, 3 * PRICE)
    left = rows("provider_url", "error_type", "retry_count", upload_status=UploadStatus.FAILED)
    assert len(left) == 2
    assert left.items() <= before.items()


def test_nothing_else_is_touched(sandbox: Sandbox) -> None:
    venue = dead_addresses(sandbox)
    expired = set(rows())
    for owner, status, error_type in (
        (venue, UploadStatus.UPLOADED, None),
        (venue, UploadStatus.FAILED, ErrorType.NETWORK_TIMEOUT),
        (venue, UploadStatus.PERMANENTLY_FAILED, ErrorType.URL_EXPIRED),
        (make_venue(), UploadStatus.FAILED, ErrorType.URL_EXPIRED),
    ):
        make_image(owner, status, error_type, provider=GOOGLE)
    others = VenueImage.objects.exclude(pk__in=expired).order_by("pk")
    before = list(others.values())
    checked_at = Venue.objects.get(pk=venue.pk).images_checked_at

    assert refresh(venue).images_uploaded == 5

    assert list(others.values()) == before
    assert Venue.objects.get(pk=venue.pk).images_checked_at == checked_at


def test_an_address_that_the_venue_has_already_is_not_taken_twice(sandbox: Sandbox) -> None:
    venue = dead_addresses(sandbox, photos=1)
    sandbox.photo_uri_lifetime = None
    assert refresh(venue).images_uploaded == 1
    again = make_image(venue, UploadStatus.FAILED, ErrorType.URL_EXPIRED, provider=GOOGLE)
    before = rows("provider_url", "upload_status")

    assert not refresh(venue).images_tried

    assert rows("provider_url", "upload_status") == before
    assert before[again.pk][1] == "failed"


def test_a_provider_that_is_down_changes_nothing_and_says_why(sandbox: Sandbox) -> None:
    venue = dead_addresses(sandbox)
    before = list(VenueImage.objects.order_by("pk").values())
    sandbox.script("/google_places/*", Fault("status", status=503))

    result = refresh(venue)

    assert not result.cost_usd
    assert not result.images_tried
    assert result.provider_results[GOOGLE]["error_type"] == "service_unavailable"
    assert list(VenueImage.objects.order_by("pk").values()) == before


def test_a_budget_that_ends_on_the_way_keeps_what_was_paid(sandbox: Sandbox) -> None:
    venue = dead_addresses(sandbox)
    Provider.objects.filter(name=GOOGLE).update(monthly_budget_usd=Decimal("0.02"))

    result = refresh(venue)

    assert (result.images_uploaded, result.cost_usd) == (2, 2 * PRICE)
    assert [offer["images"] for offer in url_refresh.offers()] == [3]
    assert "budget" in result.provider_results[GOOGLE]["note"]


def test_without_anything_expired_nobody_is_asked(sandbox: Sandbox) -> None:
    venue = make_venue(provider_ids={GOOGLE: "sandbox-odeon"})
    assert refresh(venue).provider_results == {}
    assert sandbox.calls.get(GOOGLE, 0) == 0

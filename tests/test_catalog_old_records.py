"""The image records of the replaced system keep their state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.factories import make_image, make_venue
from venue_images import photo_urls
from venue_images.catalog import ImportResult, import_file
from venue_images.errors import ErrorType
from venue_images.models import UploadStatus, VenueImage

pytestmark = pytest.mark.django_db

URL = "https://photos.example/1.jpg"
STORED = "https://ik.example/venues/1.jpg"
FAILED = {
    "provider": "foursquare",
    "provider_url": URL,
    "upload_status": "failed",
    "retry_count": 1,
    "error_details": {"error_type": "rate_limited", "status_code": 429},
}


def import_records(folder: Path, *records: Any) -> ImportResult:
    path = folder / "venues.jsonl"
    path.write_text(json.dumps({"slug": "louvre", "venue_images": records}), encoding="utf-8")
    return import_file(path)


def import_record(folder: Path, **changes: Any) -> VenueImage:
    assert import_records(folder, {**FAILED, **changes}).rejected == []
    return VenueImage.objects.get()


def test_a_failed_record_keeps_its_state(tmp_path: Path) -> None:
    image = import_record(tmp_path, width=1600, height=1200, attribution="Ann", licence="CC BY 4.0")
    assert (image.venue.slug, image.provider, image.provider_url) == ("louvre", "foursquare", URL)
    assert (image.url_hash, image.host) == (photo_urls.url_hash(URL), "photos.example")
    assert (image.upload_status, image.error_type, image.http_status) == ("failed", "rate_limited", 429)
    assert (image.retry_count, image.error_message, image.url) == (1, "", "")
    assert (image.width, image.height, image.attribution, image.licence) == (1600, 1200, "Ann", "CC BY 4.0")
    assert VenueImage.objects.retryable().count() == 1


def test_an_uploaded_record_keeps_its_address(tmp_path: Path) -> None:
    image = import_record(tmp_path, upload_status="uploaded", url=STORED, error_details=None)
    assert (image.upload_status, image.url, image.error_type) == ("uploaded", STORED, None)


def test_an_uploaded_record_may_have_a_storage_key_instead(tmp_path: Path) -> None:
    image = import_record(tmp_path, upload_status="uploaded", storage_key="venues/louvre/1.jpg")
    assert (image.upload_status, image.url, image.storage_key) == ("uploaded", "", "venues/louvre/1.jpg")


def test_a_record_without_provider_url_comes_from_its_stored_address(tmp_path: Path) -> None:
    image = import_record(tmp_path, upload_status="uploaded", provider_url=None, url=STORED)
    assert (image.provider_url, image.url) == (STORED, STORED)


@pytest.mark.parametrize("status", ["pending", "permanently_failed", "hotlinked"])
def test_the_other_states_stay(tmp_path: Path, status: str) -> None:
    image = import_record(tmp_path, upload_status=status)
    assert image.upload_status == status
    assert image.error_type == ("rate_limited" if status == "permanently_failed" else None)
    assert image.url == (URL if status == "hotlinked" else "")


def test_an_upload_that_was_under_way_lost_its_worker(tmp_path: Path) -> None:
    image = import_record(tmp_path, upload_status="uploading", error_details=None)
    assert (image.upload_status, image.error_type) == ("failed", "worker_lost")


@pytest.mark.parametrize(
    ("details", "error_type", "message"),
    [
        ({"error_type": "not_found", "status_code": 404, "message": "gone"}, "not_found", "gone"),
        ({"error_type": "OverQuota", "status_code": 503}, "service_unavailable", "OverQuota"),
        ({"error_type": "OverQuota", "message": "try later"}, "unknown_error", "OverQuota: try later"),
        ({"status_code": 418}, "http_error", ""),
        ({"status_code": "x"}, "unknown_error", ""),
        ({}, "unknown_error", ""),
        (None, "unknown_error", ""),
        ("timeout", "unknown_error", ""),
    ],
)
def test_every_failure_gets_a_type(tmp_path: Path, details: Any, error_type: str, message: str) -> None:
    image = import_record(tmp_path, error_details=details)
    assert (image.error_type, image.error_message) == (error_type, message)


def test_every_error_type_of_ours_stays(tmp_path: Path) -> None:
    records = [
        {**FAILED, "provider_url": f"{URL}?{error_type}", "error_details": {"error_type": error_type}}
        for error_type in ErrorType
    ]
    assert import_records(tmp_path, *records).images_created == len(ErrorType)
    assert set(VenueImage.objects.values_list("error_type", flat=True)) == set(ErrorType)


def test_keys_are_cut_before_anything_is_stored(tmp_path: Path) -> None:
    image = import_record(
        tmp_path,
        provider="google_places",
        provider_url="https://maps.example/photo?photoreference=r&key=AIzaSECRET",
        upload_status="failed",
        error_details={"message": "403 for https://maps.example/photo?key=AIzaSECRET&x=1: denied"},
    )
    assert image.provider_url == "https://maps.example/photo?photoreference=r"
    assert image.error_message == "403 for https://maps.example/photo denied"
    stored = import_records(
        tmp_path,
        {
            **FAILED,
            "upload_status": "uploaded",
            "provider_url": "https://x.example/9",
            "url": f"{STORED}?apikey=SECRET",
        },
    )
    assert stored.images_created == 1
    assert "SECRET" not in str(list(VenueImage.objects.values()))


def test_the_owners_own_key_parameter_stays(tmp_path: Path) -> None:
    image = import_record(tmp_path, provider="catalog", provider_url="https://x.example/get?key=photos/1.jpg")
    assert image.provider_url == "https://x.example/get?key=photos/1.jpg"


@pytest.mark.parametrize("status", ["failed", "pending", "uploading", "hotlinked"])
def test_an_address_that_is_none_is_kept_for_review(tmp_path: Path, status: str) -> None:
    image = import_record(tmp_path, provider_url="photos/1.jpg?key=AIzaSECRET", upload_status=status)
    assert (image.upload_status, image.error_type) == ("permanently_failed", "invalid_provider_url")
    assert image.provider_url == "photos/1.jpg"
    assert "is no http(s) URL" in image.error_message
    again = import_records(tmp_path, {**FAILED, "provider_url": "photos/1.jpg?key=AIzaSECRET"})
    assert (again.images_created, again.images_unchanged) == (0, 1)


@pytest.mark.parametrize(
    ("record", "error"),
    [
        ("x", "venue_images[1]: input should be"),
        ({**FAILED, "provider": ""}, "venue_images[1]: provider: string should have at least 1 character"),
        ({**FAILED, "provider": "p" * 51}, "venue_images[1]: provider: string should have at most 50 characters"),
        ({**FAILED, "upload_status": "lost"}, "venue_images[1]: upload_status: input should be 'pending'"),
        ({**FAILED, "provider_url": None}, "venue_images[1]: provider_url: is missing"),
        ({**FAILED, "upload_status": "uploaded"}, "venue_images[1]: url: is missing; an uploaded record needs"),
        ({**FAILED, "upload_status": "uploaded", "url": "a.jpg"}, "venue_images[1]: url: 'a.jpg' is no http(s) URL"),
    ],
)
def test_a_record_that_says_nothing_to_keep_costs_no_other(tmp_path: Path, record: Any, error: str) -> None:
    result = import_records(tmp_path, FAILED, record, {**FAILED, "provider_url": f"{URL}?2"})
    assert (result.venues_created, result.images_created, result.rejected_count) == (1, 2, 1)
    assert error in result.rejected[0].error


@pytest.mark.parametrize(
    ("field", "given", "kept"),
    [
        ("width", 0, None),
        ("height", "tall", None),
        ("width", 2**31, None),
        ("retry_count", None, 0),
        ("retry_count", -1, 0),
        ("attribution", None, ""),
    ],
)
def test_a_value_that_cannot_be_meant_is_not_known(tmp_path: Path, field: str, given: Any, kept: Any) -> None:
    assert getattr(import_record(tmp_path, **{field: given}), field) == kept


def test_an_import_never_overwrites_a_row(tmp_path: Path) -> None:
    venue = make_venue(slug="louvre")
    make_image(venue, UploadStatus.UPLOADED, provider_url=URL, sha256="a" * 64)
    before = list(VenueImage.objects.values())
    result = import_records(tmp_path, FAILED)
    assert (result.images_created, result.images_unchanged) == (0, 1)
    assert list(VenueImage.objects.values()) == before


def test_a_photo_that_is_listed_twice_is_one_row_and_the_stored_one_wins(tmp_path: Path) -> None:
    uploaded = {**FAILED, "provider_url": f"{URL}?utm_source=x", "upload_status": "uploaded", "url": STORED}
    assert import_records(tmp_path, FAILED, uploaded).images_created == 1
    assert VenueImage.objects.get().upload_status == "uploaded"


def test_the_same_photo_of_two_venues_is_two_rows(tmp_path: Path) -> None:
    path = tmp_path / "venues.jsonl"
    path.write_text("".join(json.dumps({"slug": slug, "venue_images": [FAILED]}) + "\n" for slug in ("a", "b")))
    assert import_file(path).images_created == 2
    assert import_file(path).images_unchanged == 2

"""Exporting the catalogue."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from pytest_django import DjangoAssertNumQueries

from tests.factories import make_image, make_venue
from venue_images.catalog import ExportResult, ImportResult, export_file, import_file
from venue_images.errors import ErrorType, UsageError, UserError
from venue_images.models import UploadStatus, Venue, VenueImage

pytestmark = pytest.mark.django_db


def test_a_venue_is_exported_with_its_images(tmp_path: Path) -> None:
    venue = make_venue(
        "Teatro Colón",
        slug="teatro-colon",
        city="Buenos Aires",
        latitude=-34.6,
        longitude=-58.4,
        provider_ids={"wikidata": "Q827401"},
        photos=[{"url": "https://x.example/1.jpg"}],
        extra={"country": "Argentina", "name": "not this one"},
    )
    stored = make_image(venue, UploadStatus.UPLOADED, provider_url="https://x.example/1.jpg", sha256="a" * 64)
    VenueImage.objects.filter(pk=stored.pk).update(
        byte_size=5, width=1, height=2, attribution="Ann", licence="CC0", page_url="https://photos.example/1"
    )
    failed = make_image(venue, UploadStatus.FAILED, ErrorType.NOT_FOUND, provider_url="https://x.example/2.jpg")

    result = export_file(tmp_path / "out.jsonl")

    assert result.to_json() == {"venues": 1, "images": 2}
    text = (tmp_path / "out.jsonl").read_text(encoding="utf-8")
    assert "Teatro Colón" in text
    assert json.loads(text) == {
        "slug": "teatro-colon",
        "name": "Teatro Colón",
        "city": "Buenos Aires",
        "latitude": -34.6,
        "longitude": -58.4,
        "country": "Argentina",
        "provider_ids": {"wikidata": "Q827401"},
        "photos": [{"url": "https://x.example/1.jpg"}],
        "images": [
            {
                "id": stored.pk,
                "provider": "catalog",
                "provider_url": "https://x.example/1.jpg",
                "url": None,
                "storage_key": stored.storage_key,
                "upload_status": "uploaded",
                "error_type": None,
                "error_class": None,
                "retry_count": 0,
                "sha256": "a" * 64,
                "bytes": 5,
                "content_type": "image/jpeg",
                "width": 1,
                "height": 2,
                "attribution": "Ann",
                "licence": "CC0",
                "page_url": "https://photos.example/1",
            },
            {
                "id": failed.pk,
                "provider": "catalog",
                "provider_url": "https://x.example/2.jpg",
                "url": None,
                "storage_key": None,
                "upload_status": "failed",
                "error_type": "not_found",
                "error_class": "permanent",
                "retry_count": 1,
                "sha256": None,
                "bytes": None,
                "content_type": None,
                "width": None,
                "height": None,
                "attribution": None,
                "licence": None,
                "page_url": None,
            },
        ],
    }


def test_importing_an_export_changes_nothing(tmp_path: Path) -> None:
    lines = [
        {"slug": "a", "name": "A", "city": "X", "latitude": 1.5, "longitude": 2, "rating": 4.5, "tags": ["a", None]},
        {
            "name": "東京ドーム",
            "photos": [{"url": "https://x.example/1?key=a.jpg", "width": 3, "height": 4, "by": "Ann"}],
        },
        {"slug": "only-a-slug", "provider_ids": {"foursquare": "4b"}, "opened": {"year": 1981}},
        {
            "slug": "old",
            "venue_images": [{"provider": "p", "provider_url": "https://x.example/2", "upload_status": "failed"}],
        },
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    import_file(tmp_path / "in.jsonl")
    make_image(Venue.objects.get(slug="a"), UploadStatus.UPLOADED)
    before = (list(Venue.objects.order_by("id").values()), list(VenueImage.objects.order_by("id").values()))

    export_file(tmp_path / "out.jsonl")

    assert import_file(tmp_path / "out.jsonl") == ImportResult()
    assert (list(Venue.objects.order_by("id").values()), list(VenueImage.objects.order_by("id").values())) == before


def test_an_empty_catalogue_is_an_empty_file(tmp_path: Path) -> None:
    assert export_file(tmp_path / "out.jsonl") == ExportResult()
    assert (tmp_path / "out.jsonl").read_text() == ""


def test_csv_has_one_line_an_image_and_one_for_a_venue_without(tmp_path: Path) -> None:
    image = make_image(make_venue("A", slug="a", city="Paris, France"), UploadStatus.FAILED, ErrorType.RATE_LIMITED)
    make_image(image.venue)
    make_venue("B", slug="b")
    assert export_file(tmp_path / "out.CSV") == ExportResult(venues=2, images=2)
    with (tmp_path / "out.CSV").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["slug"] for row in rows] == ["a", "a", "b"]
    assert (rows[0]["city"], rows[0]["id"], rows[0]["error_class"]) == ("Paris, France", str(image.pk), "transient")
    assert rows[2]["id"] == rows[2]["upload_status"] == ""


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t"])
def test_a_cell_is_no_formula(tmp_path: Path, start: str) -> None:
    make_venue(f"{start}1+1", latitude=-34.6, longitude=-58.4)
    export_file(tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    assert row["name"] == f"'{start}1+1"
    assert row["latitude"] == "-34.6"


def test_a_csv_export_is_not_taken_for_a_catalogue(tmp_path: Path) -> None:
    make_venue()
    export_file(tmp_path / "out.csv")
    with pytest.raises(UsageError, match=r"import the \.jsonl export instead"):
        import_file(tmp_path / "out.csv")


def test_the_file_is_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("old")
    make_venue(slug="a")
    export_file(tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text())["slug"] == "a"
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_an_export_that_stops_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("old")
    make_venue()

    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_file(tmp_path / "out.jsonl", progress=stop)
    assert (tmp_path / "out.jsonl").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a folder: name a file in it"):
        export_file(tmp_path / "folder.jsonl")
    with pytest.raises(UserError, match=r"can't be written \(No such file or directory\): choose a folder"):
        export_file(tmp_path / "nowhere" / "out.jsonl")
    with pytest.raises(UserError, match=r"can't be written \(Not a directory\): choose a folder"):
        export_file(tmp_path / "file" / "out.csv")
    with pytest.raises(UsageError, match=r"has to end in \.jsonl or \.csv"):
        export_file(tmp_path / "out.xml")


def test_many_venues_take_few_statements_and_progress_ends_at_all(
    tmp_path: Path, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    Venue.objects.bulk_create(Venue(slug=f"v-{number}", name="V") for number in range(1000))
    told: list[tuple[int, int]] = []
    with django_assert_max_num_queries(12):
        export_file(tmp_path / "out.jsonl", progress=lambda done, total: told.append((done, total)))
    assert told == [(200, 1000), (400, 1000), (600, 1000), (800, 1000), (1000, 1000)]

"""Importing a catalogue, and finding venues in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from tests.factories import make_venue
from venue_images.catalog import ImportResult, Rejected, find_venues, import_file
from venue_images.errors import UsageError, UserError
from venue_images.models import Venue, VenueImage

pytestmark = pytest.mark.django_db

SAMPLE = Path(__file__).parent.parent / "venue_images" / "sandbox" / "venues.jsonl"
BLUE_NOTE = {
    "slug": "blue-note",
    "name": "Blue Note Jazz Club",
    "city": "New York",
    "latitude": 40.7309,
    "longitude": -74.0006,
    "provider_ids": {"google_places": "ChIJ-x", "someday": "7"},
    "photos": [{"url": "https://photos.example/front.jpg", "width": 1600, "height": 1200, "attribution": "Ann"}],
    "opened": 1981,
}


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    return tmp_path / "venues.jsonl"


def write_lines(path: Path, *lines: dict[str, Any] | str) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def write_csv(path: Path, text: str) -> Path:
    csv_path = path.with_suffix(".csv")
    csv_path.write_text(text, encoding="utf-8", newline="")
    return csv_path


def errors_of(result: ImportResult) -> dict[int, str]:
    return {rejected.line: rejected.error for rejected in result.rejected}


def test_it_imports_a_venue_with_all_that_its_line_says(catalogue: Path) -> None:
    result = import_file(write_lines(catalogue, BLUE_NOTE))
    assert result == ImportResult(venues_created=1)
    venue = Venue.objects.get(slug="blue-note")
    assert (venue.name, venue.city) == ("Blue Note Jazz Club", "New York")
    assert (venue.latitude, venue.longitude) == (40.7309, -74.0006)
    assert venue.provider_ids == BLUE_NOTE["provider_ids"]
    assert venue.photos == BLUE_NOTE["photos"]
    assert venue.extra == {"opened": 1981}
    assert venue.images_checked_at is None


def test_the_report_has_the_keys_of_the_contract() -> None:
    result = ImportResult(1, 2, 3, 4, [Rejected(5, "is empty")])
    assert result.to_json() == {
        "venues_created": 1,
        "venues_updated": 2,
        "images_created": 3,
        "images_unchanged": 4,
        "rejected_count": 1,
        "rejected": [{"line": 5, "error": "is empty"}],
    }


def test_repeating_an_import_changes_nothing(catalogue: Path) -> None:
    import_file(write_lines(catalogue, BLUE_NOTE, {"name": "Louvre", "city": "Paris"}))
    before = list(Venue.objects.order_by("id").values())
    assert import_file(catalogue) == ImportResult()
    assert list(Venue.objects.order_by("id").values()) == before


def test_only_venues_that_really_changed_are_updated(catalogue: Path) -> None:
    import_file(write_lines(catalogue, BLUE_NOTE, {"slug": "louvre", "name": "Louvre"}))
    changed = {**BLUE_NOTE, "city": "New York City"}
    assert import_file(write_lines(catalogue, changed, {"slug": "louvre", "name": "Louvre"})).venues_updated == 1
    assert Venue.objects.get(slug="blue-note").city == "New York City"


def test_what_a_line_does_not_mention_stays(catalogue: Path) -> None:
    import_file(write_lines(catalogue, BLUE_NOTE))
    line = {"slug": "blue-note", "provider_ids": {"foursquare": "4b", "someday": None}, "rating": 5}
    assert import_file(write_lines(catalogue, line)).venues_updated == 1
    venue = Venue.objects.get()
    assert (venue.name, venue.city, venue.latitude) == ("Blue Note Jazz Club", "New York", 40.7309)
    assert venue.provider_ids == {"google_places": "ChIJ-x", "foursquare": "4b"}
    assert venue.extra == {"opened": 1981, "rating": 5}
    assert len(venue.photos) == 1


def test_null_takes_away_what_was_known(catalogue: Path) -> None:
    import_file(write_lines(catalogue, BLUE_NOTE))
    import_file(
        write_lines(catalogue, {"slug": "blue-note", "city": None, "latitude": None, "longitude": None, "photos": None})
    )
    venue = Venue.objects.get()
    assert (venue.city, venue.latitude, venue.longitude, venue.photos) == ("", None, None, [])


def test_a_dry_run_reports_the_same_and_writes_nothing(catalogue: Path) -> None:
    record = {"provider": "foursquare", "provider_url": "https://x.example/1.jpg", "upload_status": "pending"}
    write_lines(catalogue, {**BLUE_NOTE, "venue_images": [record]}, "{", {"slug": "louvre", "name": "Louvre"})
    rehearsed = import_file(catalogue, dry_run=True)
    assert not Venue.objects.exists()
    assert import_file(catalogue) == rehearsed
    changed = {**BLUE_NOTE, "city": "NYC", "venue_images": [record, {**record, "provider_url": "https://x.example/2"}]}
    write_lines(catalogue, changed)
    rehearsed = import_file(catalogue, dry_run=True)
    assert (rehearsed.venues_updated, rehearsed.images_created, rehearsed.images_unchanged) == (1, 1, 1)
    assert Venue.objects.get(slug="blue-note").city == "New York"
    assert import_file(catalogue) == rehearsed


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("{", "is no JSON"),
        ("[1]", "is no JSON object"),
        ('{"name": "A", "rating": NaN}', "NaN, which is no number"),
        ('{"name": "A", "rating": 1e999}', "a number that is too large"),
        ('{"name": "A\\u0000"}', "NUL"),
        ('{"name": "\\ud800"}', "not UTF-8 text"),
        ('{"name": "A", "deep": ' + "[" * 400 + "]" * 400 + "}", "nested too deeply"),
        ('{"name": "A", "deep": ' + "[" * 9000 + "]" * 9000 + "}", "nested too deeply"),
        ({}, "has no name: expected a name, a slug, or both"),
        ({"name": "  "}, "has no name"),
        ({"name": 7}, "name: input should be a valid string (is 7)"),
        ({"name": "x" * 301}, "name: string should have at most 300 characters"),
        ({"slug": "blue note"}, "slug: 'blue note' may hold only letters without accents"),
        (
            {"name": "A", "latitude": 90.1, "longitude": 0},
            "latitude: input should be less than or equal to 90 (is 90.1)",
        ),
        ({"name": "A", "latitude": 0, "longitude": -180.5}, "longitude: input should be greater than or equal to -180"),
        ({"name": "A", "latitude": "nan", "longitude": 0}, "latitude: input should be a finite number"),
        ({"name": "A", "latitude": "north", "longitude": 0}, "latitude: input should be a valid number"),
        ({"name": "A", "latitude": True, "longitude": 0}, "latitude: expected a number, not true or false"),
        ({"name": "A", "latitude": 1}, "latitude, longitude: expected both or neither"),
        ({"name": "A", "provider_ids": {"foursquare": 7}}, "provider_ids.foursquare: input should be a valid string"),
        ({"name": "A", "provider_ids": "4b"}, "provider_ids: input should be a valid dictionary"),
        ({"name": "A", "photos": [{"url": "ftp://x/y.jpg"}]}, "photos[0].url: 'ftp://x/y.jpg' is no http(s) URL"),
        ({"name": "A", "photos": [{}]}, "photos[0].url: Field required"),
        ({"name": "A", "photos": ["https://x.example/"]}, "photos[0]: input should be"),
        ({"name": "A", "photos": [{"url": "https://x.example/", "width": 0}]}, "photos[0].width: input should be"),
    ],
)
def test_a_bad_line_is_reported_and_costs_no_other(catalogue: Path, line: dict[str, Any] | str, error: str) -> None:
    result = import_file(write_lines(catalogue, {"name": "First"}, "", line, {"name": "Last"}))
    assert result.venues_created == 2
    assert list(errors_of(result)) == [3]
    assert error in errors_of(result)[3]
    assert "\n" not in errors_of(result)[3]
    assert set(Venue.objects.values_list("slug", flat=True)) == {"first", "last"}


def test_a_line_that_is_not_utf8_costs_no_other(catalogue: Path) -> None:
    catalogue.write_bytes(b'{"name": "First"}\n{"name": "Caf\xe9"}\n{"name": "Last"}\n')
    result = import_file(catalogue)
    assert result.venues_created == 2
    assert "not UTF-8 text: save the file as UTF-8" in errors_of(result)[2]


def test_keys_in_photo_urls_are_cut(catalogue: Path) -> None:
    line = {"name": "A", "photos": [{"url": "https://x.example/p?api_key=SECRET&key=a/b.jpg&w=9"}]}
    import_file(write_lines(catalogue, line))
    assert Venue.objects.get().photos == [{"url": "https://x.example/p?key=a/b.jpg&w=9"}]


def test_the_exported_images_of_a_line_are_passed_over(catalogue: Path) -> None:
    import_file(write_lines(catalogue, {"name": "A", "images": [{"id": 1}]}))
    assert Venue.objects.get().extra == {}
    assert not VenueImage.objects.exists()


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Teatro Colón", "teatro-colon"),
        ("Musée d'Orsay", "musee-dorsay"),
        ("!!!", "venue-"),
        ("東京ドーム", "venue-"),
        ("東京ドーム City", "venue-"),
        ("x" * 300, "x" * 200),
    ],
)
def test_a_slug_is_made_from_the_name(catalogue: Path, name: str, slug: str) -> None:
    import_file(write_lines(catalogue, {"name": name, "city": "Somewhere"}))
    venue = Venue.objects.get(name=name)
    assert venue.slug == slug or (slug == "venue-" and len(venue.slug) == len("venue-01234567"))
    assert import_file(catalogue) == ImportResult()


def test_a_slug_is_its_venues_name_when_there_is_no_other(catalogue: Path) -> None:
    import_file(write_lines(catalogue, {"slug": "louvre"}))
    assert Venue.objects.get().name == "louvre"


def test_a_slug_that_is_there_twice_belongs_to_its_first_line(catalogue: Path) -> None:
    write_lines(catalogue, {"slug": "x", "latitude": 99, "longitude": 0}, {"slug": "x", "name": "A"}, {"slug": "x"})
    result = import_file(catalogue)
    assert list(errors_of(result)) == [1, 3]
    assert errors_of(result)[3] == "slug: 'x' is taken by line 2: give each venue a slug of its own"
    assert Venue.objects.get().name == "A"


def test_two_places_of_one_name_need_slugs(catalogue: Path) -> None:
    lines = [{"name": "Blue Note", "city": "New York"}, {"name": "Blue Note", "city": "Tokyo"}]
    first = import_file(write_lines(catalogue, *lines))
    assert first.venues_created == 1
    assert errors_of(first) == {
        2: "the name makes the slug 'blue-note', taken by line 1: give this venue a slug of its own"
    }
    second = import_file(catalogue)
    assert (second.venues_created, second.venues_updated, second.rejected) == (0, 0, first.rejected)
    assert Venue.objects.get().city == "New York"


@pytest.mark.parametrize("place", [{"city": "Tokyo"}, {"latitude": 35.66, "longitude": 139.72}])
def test_another_place_of_one_name_does_not_overwrite_the_venue(catalogue: Path, place: dict[str, Any]) -> None:
    make_venue("Blue Note", slug="blue-note", city="New York", latitude=40.73, longitude=-74.0)
    result = import_file(write_lines(catalogue, {"name": "Blue Note", **place}))
    assert "taken by a venue at another place (New York)" in errors_of(result)[1]
    assert Venue.objects.get().city == "New York"


def test_a_slug_that_is_given_moves_its_venue(catalogue: Path) -> None:
    make_venue("Blue Note", slug="blue-note", city="New York", latitude=40.73, longitude=-74.0)
    import_file(write_lines(catalogue, {"slug": "blue-note", "city": "Tokyo"}))
    assert Venue.objects.get().city == "Tokyo"


def test_it_imports_csv(catalogue: Path) -> None:
    path = write_csv(
        catalogue,
        "\ufeffSlug,name,city,latitude,longitude,photo_urls,google_places_id,foursquare_id,Stars\r\n"
        'blue-note,"Blue ""Note"", Jazz",New York,40.7,-74.0,https://x.example/1.jpg  https://x.example/2.jpg,ChIJ,,5\r\n'
        ",,,,,,,,\r\n"
        ",Louvre,Paris,,,,,,\r\n",
    )
    assert import_file(path) == ImportResult(venues_created=2)
    venue = Venue.objects.get(slug="blue-note")
    assert venue.name == 'Blue "Note", Jazz'
    assert (venue.latitude, venue.longitude) == (40.7, -74.0)
    assert venue.photos == [{"url": "https://x.example/1.jpg"}, {"url": "https://x.example/2.jpg"}]
    assert venue.provider_ids == {"google_places": "ChIJ"}
    assert venue.extra == {"Stars": "5"}
    assert import_file(path) == ImportResult()


def test_a_csv_record_over_several_lines_is_counted_from_its_first(catalogue: Path) -> None:
    path = write_csv(catalogue, 'name,note,latitude\nA,"one\ntwo",\nB,"one\ntwo",99\nC,x,\n')
    result = import_file(path)
    assert list(errors_of(result)) == [4]
    assert Venue.objects.get(slug="a").extra == {"note": "one\ntwo"}
    assert Venue.objects.filter(slug="c").exists()


def test_a_csv_line_with_too_many_fields_costs_no_other(catalogue: Path) -> None:
    result = import_file(write_csv(catalogue, "name,city\nA,Paris\nB,Rome,x\nC\nD,Oslo\n"))
    assert errors_of(result) == {
        3: "has 3 fields where the header has 2: check its commas and quotes",
        4: "has 1 fields where the header has 2: check its commas and quotes",
    }
    assert result.venues_created == 2


@pytest.mark.parametrize("broken", ['"Open,Rome', '"Open" x,Rome', 'Open,"Rome'])
def test_an_open_quote_does_not_swallow_the_lines_after_it(catalogue: Path, broken: str) -> None:
    others = "".join(f'"Venue {number}","Oslo"\n' for number in range(5000))
    result = import_file(write_csv(catalogue, f"name,city\nA,Paris\n{broken}\n{others}"))
    assert result.venues_created == 5001
    assert list(errors_of(result)) == [3]
    assert "check its quotes" in errors_of(result)[3]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("title;city", "has to name the columns, separated by commas, among them slug or name"),
        ("name,city,name", "the column 'name' is there twice"),
        ("name,,city", "column 2 has no name"),
        ("name,photos", "a CSV file has no column 'photos'"),
        ("slug,provider_url,upload_status", "import the .jsonl export instead"),
        ('name,"city', "line 1 is no CSV header"),
    ],
)
def test_a_header_that_cannot_be_meant_is_refused(catalogue: Path, header: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        import_file(write_csv(catalogue, f"{header}\nA,B,C\n"))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\n \n", "is empty"),
        ('{"name": "A"}'.encode("utf-16"), "is not UTF-8 text"),
        (b'{"name": "Caf\xe9"}\n', "is not UTF-8 text"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "is not UTF-8 text"),
    ],
)
def test_a_file_that_holds_no_text_is_refused(catalogue: Path, content: bytes, message: str) -> None:
    catalogue.write_bytes(content)
    with pytest.raises(UserError, match=message):
        import_file(catalogue)


def test_a_header_alone_is_no_catalogue(catalogue: Path) -> None:
    with pytest.raises(UserError, match="holds no venue"):
        import_file(write_csv(catalogue, "name,city\n"))


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match="does not exist: check the name"):
        import_file(tmp_path / "nothing.csv")
    with pytest.raises(UserError, match="Is a directory"):
        import_file(tmp_path / "folder.csv")
    with pytest.raises(UsageError, match=r"has to end in \.jsonl or \.csv"):
        import_file(tmp_path / "venues.xlsx")


def test_the_suffix_may_be_in_capitals_and_a_byte_order_mark_there(tmp_path: Path) -> None:
    path = tmp_path / "VENUES.JSONL"
    path.write_bytes(b'\xef\xbb\xbf{"name": "A"}')
    assert import_file(path).venues_created == 1


def test_the_first_line_may_be_longer_than_the_look_ahead(catalogue: Path) -> None:
    assert import_file(write_lines(catalogue, {"name": "A", "note": "é" * 100_000})).venues_created == 1


def test_many_lines_take_few_statements(catalogue: Path, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    record = {"provider": "foursquare", "upload_status": "failed"}
    lines = [
        {"name": f"Venue {n}", "venue_images": [{**record, "provider_url": f"https://x.example/{n}.jpg"}]}
        for n in range(2500)
    ]
    write_lines(catalogue, *lines)
    with django_assert_max_num_queries(3 * 10):
        assert import_file(catalogue).images_created == 2500
    with django_assert_max_num_queries(3 * 10):
        assert import_file(catalogue).images_unchanged == 2500


def test_progress_tells_bytes_and_ends_at_all_of_them(catalogue: Path) -> None:
    write_lines(catalogue, *({"name": f"Venue {n}"} for n in range(2500)))
    told: list[tuple[int, int]] = []
    import_file(catalogue, progress=lambda done, total: told.append((done, total)))
    size = catalogue.stat().st_size
    assert len(told) == 3
    assert told == sorted(told)
    assert told[-1] == (size, size)


def test_the_sample_catalogue_is_all_right() -> None:
    result = import_file(SAMPLE)
    assert result.rejected == []
    assert result.venues_created >= 64
    venues = list(Venue.objects.all())
    assert len({venue.extra["country"] for venue in venues}) >= 25
    assert len({venue.provider_ids["wikidata"] for venue in venues}) == len(venues)
    assert all(venue.latitude and venue.longitude and venue.city for venue in venues)


def test_venues_are_found_by_id_and_slug_in_the_order_asked_for() -> None:
    first, second = make_venue(slug="louvre"), make_venue(slug="tate")
    assert find_venues(["tate", str(first.pk), "louvre"]) == [second, first]
    assert find_venues([]) == []


def test_an_id_wins_over_a_slug_of_the_same_digits() -> None:
    venue = make_venue()
    make_venue(slug=str(venue.pk))
    assert find_venues([str(venue.pk)]) == [venue]


def test_a_venue_that_is_not_there_is_named() -> None:
    make_venue(slug="louvre")
    with pytest.raises(
        UserError, match=r"^There is no venue 'nowhere', '99999999999999999999': give the id or the slug"
    ):
        find_venues(["louvre", "nowhere", "99999999999999999999"])

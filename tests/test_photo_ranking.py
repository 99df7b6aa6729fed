"""The score of one photo, and the choice among many."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venue_images import photo_ranking, photo_urls
from venue_images.providers import Photo

sides = st.none() | st.integers(min_value=1, max_value=2**31 - 1)
HOST = "https://photos.example"


def photo(url: str = "", provider: str = "google_places", **fields: object) -> Photo:
    return dataclasses.replace(Photo(provider=provider, url=url), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((2000, 2000), 0.7 + 0.25),
        ((1000, 1000), 0.7 * 0.25 + 0.25),
        ((4000, 3000), 0.7 + 0.30),
        ((400, 300), 0.7 * 0.03 + 0.30),
        ((3000, 4000), 0.7 + 0.20),
        ((9000, 1000), 0.7 + 0.20),
        ((1300, 1000), 0.7 * 0.325 + 0.30),
        ((1299, 1000), 0.7 * 0.32475 + 0.25),
        ((1800, 1000), 0.7 * 0.45 + 0.30),
        ((1801, 1000), 0.7 * 0.45025 + 0.25),
        ((2400, 1000), 0.7 * 0.6 + 0.25),
        ((2401, 1000), 0.7 * 0.60025 + 0.20),
        ((999, 1000), 0.7 * 0.24975 + 0.20),
        ((None, None), 0.1),
        ((1600, None), 0.1),
        ((None, 1200), 0.1),
        ((0, 0), 0.1),
    ],
)
def test_the_score_is_the_one_of_the_design(size: tuple[int | None, int | None], expected: float) -> None:
    assert photo_ranking.score(*size) == pytest.approx(expected)


@given(sides, sides)
def test_the_score_lies_between_nothing_and_one(width: int | None, height: int | None) -> None:
    assert 0.1 <= photo_ranking.score(width, height) <= 1.0


@given(st.lists(st.tuples(sides, sides), max_size=40), st.integers(min_value=-3, max_value=30))
def test_no_photo_left_out_is_better_than_one_that_was_kept(
    sizes: list[tuple[int | None, int | None]], limit: int
) -> None:
    offers = [photo(f"{HOST}/{n}.jpg", width=width, height=height) for n, (width, height) in enumerate(sizes)]
    chosen = photo_ranking.best(offers, limit)
    assert len(chosen) == min(len(offers), max(limit, 0))
    scores = [photo_ranking.score(each.width, each.height) for each in chosen]
    assert scores == sorted(scores, reverse=True)
    left_out = [photo_ranking.score(each.width, each.height) for each in offers if each not in chosen]
    assert not scores or not left_out or min(scores) >= max(left_out)


def test_of_equal_photos_the_earlier_is_kept() -> None:
    offers = [photo(f"{HOST}/{number}.jpg", width=800, height=600) for number in range(9)]
    assert photo_ranking.best(offers, 4) == offers[:4]


@pytest.mark.parametrize(
    "twin",
    [
        "https://photos.example/bar.jpg",
        "http://photos.example/bar.jpg",
        "https://PHOTOS.example:443/bar.jpg",
        "https://photos.example./bar.jpg",
        "https://photos.example/bar.jpg#top",
        "https://photos.example/bar.jpg?utm_source=x&fbclid=y",
        "https://photos.example/bar.jpg?apikey=secret",
        "  https://photos.example/bar.jpg ",
    ],
)
def test_two_spellings_of_one_address_are_one_photo_and_the_first_counts(twin: str) -> None:
    first, second = photo("https://photos.example/bar.jpg", attribution="first"), photo(twin, attribution="second")
    assert [each.attribution for each in photo_ranking.cleaned([first, second], own="catalog")] == ["first"]


def test_other_photos_stay_apart() -> None:
    urls = [
        f"{HOST}/a.jpg",
        f"{HOST}/A.jpg",
        f"{HOST}/a.jpg?size=2",
        f"{HOST}:8443/a.jpg",
        "https://other.example/a.jpg",
    ]
    assert [each.url for each in photo_ranking.cleaned(map(photo, urls), own="catalog")] == urls


def test_keys_are_cut_and_the_file_names_of_the_owner_are_not() -> None:
    url = f"{HOST}/get?key=photos/1.jpg&w=3"
    foreign, own = photo(url), photo(url, provider="catalog")
    assert [each.url for each in photo_ranking.cleaned([foreign], own="catalog")] == [f"{HOST}/get?w=3"]
    assert [each.url for each in photo_ranking.cleaned([own], own="catalog")] == [url]
    google = photo(f"{HOST}/get?key=AIzaSecret", provider="catalog")
    assert [each.url for each in photo_ranking.cleaned([google], own="catalog")] == [f"{HOST}/get"]


def test_an_address_that_is_none_is_kept_once_so_that_it_gets_a_row() -> None:
    offers = [photo("ftp://photos.example/1.jpg"), photo("nonsense"), photo("nonsense")]
    assert [each.url for each in photo_ranking.cleaned(offers, own="catalog")] == [
        "ftp://photos.example/1.jpg",
        "nonsense",
    ]


def test_photos_that_the_venue_has_already_are_left_out() -> None:
    urls = [f"{HOST}/1.jpg", f"{HOST}/2.jpg", "nonsense"]
    known = {photo_urls.url_hash(urls[0]), photo_urls.hash_of_text("nonsense")}
    assert [each.url for each in photo_ranking.cleaned(map(photo, urls), "catalog", known)] == [urls[1]]


@given(st.text(max_size=60))
def test_no_text_whatever_makes_it_stumble(text: str) -> None:
    for url in (text, f"https://{text}", f"{HOST}/{text}"):
        assert len(photo_ranking.cleaned([photo(url, provider="catalog"), photo(url)], own="catalog")) in (1, 2)

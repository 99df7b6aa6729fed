from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from venue_images.photo_urls import (
    MAX_URL_LENGTH,
    SECRET_PARAMETERS,
    InvalidUrlError,
    clean,
    host_of,
    normalise,
    shorten,
    url_hash,
)

GOOGLE_KEY = "AIzaS3CRET"

hosts = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z]{2,6}){1,2}", fullmatch=True)
words = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-._~%+", min_size=1, max_size=12)
queries = st.lists(st.tuples(words, words), max_size=4).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
)
urls = st.builds(
    lambda scheme, host, port, path, query: f"{scheme}://{host}{port}/{path}" + (f"?{query}" if query else ""),
    st.sampled_from(["http", "https"]),
    hosts,
    st.sampled_from(["", ":80", ":443", ":8080"]),
    words,
    queries,
)


# clean


@pytest.mark.parametrize(
    ("url", "cleaned"),
    [
        ("https://photos.test/a.jpg", "https://photos.test/a.jpg"),
        ("  https://photos.test/a.jpg\n", "https://photos.test/a.jpg"),
        ("https://photos.test", "https://photos.test/"),
        ("https://photos.test/a.jpg#top", "https://photos.test/a.jpg"),
        (
            "https://photos.test/a%2Fb.jpg?sig=a%2Bb+c&empty=&flag",
            "https://photos.test/a%2Fb.jpg?sig=a%2Bb+c&empty=&flag",
        ),
        ("https://photos.test:8443/a.jpg?w=1", "https://photos.test:8443/a.jpg?w=1"),
        ("https://[2606:4700::1111]/a.jpg", "https://[2606:4700::1111]/a.jpg"),
        ("https://maps.test/photo?maxwidth=9&key=S3CRET", "https://maps.test/photo?maxwidth=9"),
        ("https://maps.test/photo?KEY=S3CRET&maxwidth=9", "https://maps.test/photo?maxwidth=9"),
        ("https://maps.test/photo?access_token=S3CRET", "https://maps.test/photo"),
        ("https://photos.test/a.jpg?monkey=1&keys=2", "https://photos.test/a.jpg?monkey=1&keys=2"),
    ],
)
def test_it_cleans_a_url(url: str, cleaned: str) -> None:
    assert clean(url) == cleaned


@pytest.mark.parametrize(
    ("url", "cleaned"),
    [
        ("https://own.test/photo?key=photos/1.jpg", "https://own.test/photo?key=photos/1.jpg"),
        (f"https://own.test/photo?key={GOOGLE_KEY}&w=1", "https://own.test/photo?w=1"),
        ("https://own.test/photo?api_key=S3CRET", "https://own.test/photo"),
    ],
)
def test_a_key_of_the_owners_own_catalogue_stays_unless_it_looks_like_a_providers(url: str, cleaned: str) -> None:
    assert clean(url, own=True) == cleaned


@pytest.mark.parametrize(
    "url",
    [
        "",
        "photo.jpg",
        "/photo.jpg",
        "//photos.test/a.jpg",
        "photos.test/a.jpg",
        "ftp://photos.test/a.jpg",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "http://",
        "http:///a.jpg",
        "http:a.jpg",
        "http://:80/a.jpg",
        "http://photos.test:0/",
        "http://photos.test:99999/",
        "http://photos.test:port/",
        "http://[::1/",
        "http://[photos]/",
        "http://user@photos.test/",
        "http://user:word@photos.test/",
        "http://@photos.test/",
        "http://photos.test/a b.jpg",
        "http://photos.test/a\tb.jpg",
        "http://photos.test/\r\nX: 1",
        "http://photos.test\\@other.test/",
        "http://photos.test/\0",
        "http://photos.test/" + "a" * MAX_URL_LENGTH,
    ],
)
def test_it_refuses_what_no_photo_can_be_downloaded_from(url: str) -> None:
    with pytest.raises(InvalidUrlError):
        clean(url)


def test_its_refusal_tells_no_password() -> None:
    with pytest.raises(InvalidUrlError) as caught:
        clean("http://user:S3CRET@photos.test/")

    assert "S3CRET" not in str(caught.value)


@given(urls)
def test_cleaning_twice_changes_nothing_more(url: str) -> None:
    assert clean(clean(url)) == clean(url)


@given(urls, st.sampled_from(sorted(SECRET_PARAMETERS)), st.booleans(), st.integers(0, 4))
def test_no_secret_survives_wherever_it_stands(url: str, name: str, upper: bool, place: int) -> None:
    address, _, query = url.partition("?")
    pairs = query.split("&") if query else []
    spelled = name.upper() if upper else name
    pairs.insert(min(place, len(pairs)), f"{spelled}={GOOGLE_KEY}")

    cleaned = clean(f"{address}?{'&'.join(pairs)}")

    assert GOOGLE_KEY not in cleaned
    assert cleaned == clean(url)


@given(st.text())
def test_any_text_is_cleaned_or_refused(text: str) -> None:
    for url in (text, f"http://{text}", f"https://photos.test/{text}"):
        try:
            cleaned = clean(url)
        except InvalidUrlError:
            continue
        parts = urlsplit(cleaned)
        assert parts.scheme in {"http", "https"}
        assert parts.hostname
        assert not re.search(r"[\s\x00-\x1f\\]", cleaned)


# normalise


@pytest.mark.parametrize(
    "same",
    [
        "http://photos.test/a.jpg?w=1&h=2",
        "https://PHOTOS.test./a.jpg?w=1&h=2",
        "https://photos.test:443/a.jpg?h=2&w=1",
        "http://photos.test:80/a.jpg?h=2&w=1",
        "https://photos.test/a.jpg?w=1&h=2#top",
        "https://photos.test/a.jpg?w=1&utm_source=x&h=2&fbclid=y&gclid=z",
        f"https://photos.test/a.jpg?w=1&h=2&key={GOOGLE_KEY}",
    ],
)
def test_addresses_of_one_photo_are_equal(same: str) -> None:
    assert normalise(same) == normalise("https://photos.test/a.jpg?w=1&h=2")
    assert url_hash(same) == url_hash("https://photos.test/a.jpg?w=1&h=2")


@pytest.mark.parametrize(
    "different",
    [
        "https://photos.test/A.jpg?w=1",
        "https://photos.test/a.jpg?w=2",
        "https://photos.test/a.jpg",
        "https://photos.test:8443/a.jpg?w=1",
        "https://other.test/a.jpg?w=1",
        "https://photos.test/a.jpg?w=1&key=photos/2.jpg",
    ],
)
def test_addresses_of_two_photos_differ(different: str) -> None:
    assert url_hash(different) != url_hash("https://photos.test/a.jpg?w=1")


def test_an_ipv6_host_keeps_its_brackets() -> None:
    assert normalise("http://[2606:4700::1111]:8080/a.jpg") == "https://[2606:4700::1111]:8080/a.jpg"


@given(urls)
def test_a_normal_form_is_its_own_normal_form(url: str) -> None:
    # Port 80 is the default of http alone, and the normal form is written as https.
    assume(":80/" not in normalise(url) and ":443/" not in normalise(url))

    assert normalise(normalise(url)) == normalise(url)


@given(urls)
def test_the_order_of_the_query_does_not_matter(url: str) -> None:
    address, _, query = url.partition("?")
    pairs = query.split("&") if query else []

    assert normalise(f"{address}?{'&'.join(reversed(pairs))}") == normalise(url)


@given(urls)
def test_the_normal_form_loses_no_parameter_that_may_matter(url: str) -> None:
    kept = parse_qsl(urlsplit(normalise(url)).query, keep_blank_values=True)

    assert sorted(kept) == sorted(parse_qsl(urlsplit(clean(url, own=True)).query, keep_blank_values=True))


@given(urls)
def test_the_hash_is_sixteen_hex_digits(url: str) -> None:
    assert re.fullmatch("[0-9a-f]{16}", url_hash(url))


# host_of, shorten


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Photos.test/a.jpg", "photos.test"),
        ("https://photos.test:443/", "photos.test"),
        ("http://photos.test:80/", "photos.test"),
        ("http://photos.test:443/", "photos.test:443"),
        ("http://photos.test:8080/", "photos.test:8080"),
        ("", ""),
    ],
)
def test_it_names_the_host(url: str, host: str) -> None:
    assert host_of(url) == host


@given(urls, st.integers(1, 200))
def test_a_short_form_has_no_query_and_is_short(url: str, length: int) -> None:
    short = shorten(url, length)

    assert "?" not in short
    assert len(short) <= length


def test_a_short_form_that_is_cut_says_so() -> None:
    assert shorten("https://photos.test/" + "a" * 99, 30) == "https://photos.test/aaaaaaaaa…"


def test_a_host_name_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidUrlError, match="too long"):
        clean(f"https://{'a' * 254}/1.jpg")

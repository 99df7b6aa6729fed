"""Downloads that go well, redirects, and what a host asks for with Retry-After."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.downloads.photo_hosts import (
    PHOTO,
    Configure,
    Host,
    message,
    photo,
    redirects,
    refusal,
    says,
    sends,
)
from venue_images import downloads
from venue_images.downloads import Download, fetch, parse_retry_after
from venue_images.errors import ErrorType

NOW = datetime(2026, 11, 6, 8, 49, 37, tzinfo=UTC)


# What works


@pytest.mark.parametrize(
    ("image_format", "content_type", "extension"),
    [
        ("JPEG", "image/jpeg", "jpg"),
        ("PNG", "image/png", "png"),
        ("WEBP", "image/webp", "webp"),
        ("GIF", "image/gif", "gif"),
    ],
)
async def test_it_downloads_a_photo_byte_for_byte(
    session: aiohttp.ClientSession, trusted: Host, image_format: str, content_type: str, extension: str
) -> None:
    body = photo(image_format)
    trusted.answers["/photo.jpg"] = says(200, body, Content_Type="text/plain")

    download = await fetch(session, trusted.url())

    digest = hashlib.sha256(body).hexdigest()
    assert download == Download(body, digest, content_type, extension, 64, 48, 200)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\n\r\n" + PHOTO,
        b"HTTP/1.0 200 OK\r\n\r\n" + PHOTO,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(PHOTO), PHOTO),
        message(200, gzip.compress(PHOTO), Content_Encoding="gzip"),
    ],
    ids=["until the end", "HTTP/1.0", "chunked", "compressed unasked"],
)
async def test_it_takes_a_body_in_every_framing(session: aiohttp.ClientSession, trusted: Host, raw: bytes) -> None:
    trusted.answers["/photo.jpg"] = sends(raw)

    assert (await fetch(session, trusted.url())).body == PHOTO


async def test_a_large_photo_is_checked_too(session: aiohttp.ClientSession, trusted: Host) -> None:
    body = PHOTO + bytes(downloads.LARGE_BODY)
    trusted.answers["/photo.jpg"] = says(200, body)
    trusted.answers["/cut.jpg"] = says(200, PHOTO[:-2] + bytes(downloads.LARGE_BODY))

    assert (await fetch(session, trusted.url())).body == body
    assert (await refusal(session, trusted.url("/cut.jpg"))).error_type == ErrorType.CORRUPT_IMAGE


async def test_it_asks_for_the_url_as_it_is_spelled(session: aiohttp.ClientSession, trusted: Host) -> None:
    path = "/a%2Fb/%7Ec/../d;e=1,2?sig=a%2bb+c%20d&x=%41&empty="
    trusted.answers[path.partition("?")[0]] = says(200, PHOTO)

    await fetch(session, trusted.url(path))

    assert trusted.paths == [path]


async def test_it_quotes_what_is_not_ascii(session: aiohttp.ClientSession, trusted: Host) -> None:
    trusted.answers["/caf%C3%A9.jpg"] = says(200, PHOTO)

    assert (await fetch(session, trusted.url("/café.jpg"))).body == PHOTO


async def test_it_says_who_it_is_and_carries_nothing_else(session: aiohttp.ClientSession, trusted: Host) -> None:
    location = "/photo.jpg"
    trusted.answers["/"] = says(302, Location=location, Set_Cookie="visit=1; Path=/")
    trusted.answers[location] = says(200, PHOTO)

    await fetch(session, trusted.url("/"))

    for request in trusted.requests:
        names = {line.partition(":")[0].lower() for line in request.split("\r\n")[1:] if line}
        assert names == {"host", "user-agent", "accept", "accept-encoding"}
        assert f"User-Agent: {downloads.user_agent()}\r\n" in request
        assert "Accept-Encoding: identity\r\n" in request


@pytest.mark.parametrize(
    ("contact", "said"), [("", "no contact given"), ("photos@venues.example", "photos@venues.example")]
)
async def test_it_says_how_its_owner_can_be_reached(
    trusted: Host, configure: Configure, contact: str, said: str
) -> None:
    configure(contact=contact)
    trusted.answers["/photo.jpg"] = says(200, PHOTO)
    async with downloads.open_session() as session:
        await fetch(session, trusted.url())
    [line] = [line for line in trusted.requests[0].split("\r\n") if line.startswith("User-Agent: ")]
    assert line.startswith("User-Agent: VenueImages/")
    assert f"; {said})" in line


async def test_it_uses_no_proxy_of_the_environment(
    session: aiohttp.ClientSession, trusted: Host, other: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", other.url("/"))
    trusted.answers["/photo.jpg"] = says(200, PHOTO)

    await fetch(session, trusted.url())

    assert other.connections == 0


async def test_it_keeps_the_connection_for_the_next_photo(session: aiohttp.ClientSession, trusted: Host) -> None:
    trusted.answers["/photo.jpg"] = says(200, PHOTO)

    for _ in range(3):
        await fetch(session, trusted.url())

    assert (trusted.connections, len(trusted.requests)) == (1, 3)


async def test_a_cancelled_download_is_cancelled(session: aiohttp.ClientSession, trusted: Host) -> None:
    asked = asyncio.Event()

    async def answer(_writer: asyncio.StreamWriter) -> None:
        asked.set()
        await asyncio.Event().wait()

    trusted.answers["/photo.jpg"] = answer
    task = asyncio.create_task(fetch(session, trusted.url()))
    await asked.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


# Retry-After


@pytest.mark.parametrize("status", [429, 503, 500, 403])
async def test_it_hands_on_the_seconds_that_the_host_asked_for(
    session: aiohttp.ClientSession, trusted: Host, status: int
) -> None:
    trusted.answers["/photo.jpg"] = says(status, Retry_After="600")

    assert (await refusal(session, trusted.url())).retry_after == 600


async def test_it_hands_on_the_date_that_the_host_asked_for(session: aiohttp.ClientSession, trusted: Host) -> None:
    date = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=10)
    trusted.answers["/photo.jpg"] = says(503, Retry_After=format_datetime(date, usegmt=True))

    error = await refusal(session, trusted.url())

    left = (date - datetime.now(UTC)).total_seconds()
    assert error.retry_after is not None
    assert left <= error.retry_after < left + 5


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 120 ", 120),
        ("1.5", 1.5),
        ("-5", 0),
        ("Fri, 06 Nov 2026 08:50:37 GMT", 60),
        ("Friday, 06-Nov-26 08:50:37 GMT", 60),
        ("Fri Nov  6 08:50:37 2026", 60),
        ("Fri, 06 Nov 2026 09:50:37 +0100", 60),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
        ("9" * 5000, downloads.LONGEST_RETRY_AFTER),
        ("Fri, 31 Dec 9999 23:59:59 GMT", downloads.LONGEST_RETRY_AFTER),
        (None, None),
        ("", None),
        ("soon", None),
        ("1e3", None),
        ("nan", None),
        ("inf", None),
        ("٣", None),
        ("120, 60", None),
        ("Fri, 99 Nov 2026 08:49:37 GMT", None),
        ("Wed, 21 Oct 2026 07:28:00 -9999", None),
    ],
)
def test_it_reads_retry_after(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@given(st.text() | st.text("+-0123456789.:, FrNovGMT", max_size=40))
def test_any_retry_after_is_nothing_or_a_time_to_wait(value: str) -> None:
    seconds = parse_retry_after(value, NOW)

    assert seconds is None or 0 <= seconds <= downloads.LONGEST_RETRY_AFTER


@given(st.integers(0, 365 * 86400))
def test_both_forms_of_retry_after_mean_the_same(seconds: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)

    assert parse_retry_after(str(seconds), NOW) == parse_retry_after(date, NOW) == seconds


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_it_follows_a_redirect(session: aiohttp.ClientSession, trusted: Host, status: int) -> None:
    trusted.answers["/"] = says(status, b"moved", Location="photo.jpg?sig=a%2Bb#top")
    trusted.answers["/photo.jpg"] = says(200, PHOTO)

    assert (await fetch(session, trusted.url("/"))).body == PHOTO
    assert trusted.paths == ["/", "/photo.jpg?sig=a%2Bb"]


async def test_it_follows_five_redirects_and_no_sixth(session: aiohttp.ClientSession, trusted: Host) -> None:
    trusted.answers["/photo.jpg"] = says(200, PHOTO)

    assert (await fetch(session, redirects(trusted, 5, "/photo.jpg"))).body == PHOTO
    error = await refusal(session, redirects(trusted, 6, "/photo.jpg?key=S3CRET"))

    assert error.error_type == ErrorType.INVALID_PROVIDER_URL


async def test_redirects_in_a_circle_are_refused_at_once(session: aiohttp.ClientSession, trusted: Host) -> None:
    trusted.answers["/a"] = says(302, Location="/b")
    trusted.answers["/b"] = says(302, Location="/a")

    error = await refusal(session, trusted.url("/a"))

    assert error.error_type == ErrorType.INVALID_PROVIDER_URL
    assert trusted.paths == ["/a", "/b"]


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "gopher://127.0.0.1:70/_x",
        "ftp://photos.test/a.jpg",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "http://",
        "http://user:S3CRET@photos.test/",
        "http://[::1/",
        "http://photos.test:99999/",
        "/" + "a" * 5000,
    ],
)
async def test_a_redirect_to_no_address_of_a_photo_is_refused(
    session: aiohttp.ClientSession, trusted: Host, location: str
) -> None:
    trusted.answers["/"] = says(302, Location=location)

    error = await refusal(session, trusted.url("/"))

    assert error.error_type == ErrorType.INVALID_PROVIDER_URL
    assert len(trusted.requests) == 1


@pytest.mark.parametrize("hops", [1, 2, 3])
async def test_a_redirect_to_a_private_address_is_blocked_on_every_hop(
    session: aiohttp.ClientSession, trusted: Host, other: Host, hops: int
) -> None:
    error = await refusal(session, redirects(trusted, hops, other.url()))

    assert error.error_type == ErrorType.BLOCKED_ADDRESS
    assert len(trusted.requests) == hops
    assert other.connections == 0

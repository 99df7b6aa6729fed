from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import io
import ipaddress
import socket
import ssl
import struct
import sys
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from venue_images import conf, downloads
from venue_images.downloads import Download, GuardedResolver, fetch, guarded_socket, is_public, parse_retry_after
from venue_images.errors import ErrorType, UploadError

NOW = datetime(2026, 11, 6, 8, 49, 37, tzinfo=UTC)
#: A certificate for photos.test that nobody has signed but itself; good for a hundred years.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg9su0tf+E3J0B1qir
3ygaJiyKm/MiL0Mqsw5YA2Ba5MyhRANCAATjZfonLPBB6UHaz1+tPWhW5/vWf6L3
uhgAY9U0cQMWW5BFuUo6l3lCimazGeqZVTj/TwYkczuH9wqpVYdES7Xi
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBhDCCASmgAwIBAgIUT7fnnBxFKW3+eeEhmIN3bdUCKZUwCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLcGhvdG9zLnRlc3QwIBcNMjYxMTIzMDUwNzQyWhgPMjEyNjEw
MzAwNTA3NDJaMBYxFDASBgNVBAMMC3Bob3Rvcy50ZXN0MFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAE42X6JyzwQelB2s9frT1oVuf71n+i97oYAGPVNHEDFluQRblK
Opd5QopmsxnqmVU4/08GJHM7h/cKqVWHREu14qNTMFEwHQYDVR0OBBYEFGlVueTx
X1Zfz/2Rw+DZRq3lcFYfMB8GA1UdIwQYMBaAFGlVueTxX1Zfz/2Rw+DZRq3lcFYf
MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhALR1NmqgrLXkzIZ9
LFiJ/3KLgD72FOxATqVd7LN24CprAiEAzZYK7e4SUEQvR2JKCcwT4abihTo5lyJA
TrY4PbzZA+w=
-----END CERTIFICATE-----
"""

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
Configure = Callable[..., None]


def photo(image_format: str = "JPEG", width: int = 64, height: int = 48) -> bytes:
    buffer = io.BytesIO()
    Image.radial_gradient("L").resize((width, height)).convert("RGB").save(buffer, image_format)
    return buffer.getvalue()


PHOTO = photo()


# Answers that a host can give


def message(status: int, body: bytes = b"", **headers: str) -> bytes:
    fields = {"Content-Length": str(len(body))} | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} Told", *(f"{name}: {value}" for name, value in fields.items() if value), "", ""]
    return "\r\n".join(lines).encode() + body


def says(status: int, body: bytes = b"", **headers: str) -> Answer:
    """Answer well and keep the connection."""
    return sends(message(status, body, **headers), close=False)


def sends(raw: bytes, *, close: bool = True) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        if close:
            writer.close()

    return answer


def resets(raw: bytes = b"") -> Answer:
    """Send this much, then cut the connection with a TCP reset."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    return answer


def drips(raw: bytes, piece: bytes, seconds: float) -> Answer:
    """Send this much, then one piece after the other for ever."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(seconds)

    return answer


class Host:
    """A real server on 127.0.0.1 that gives each path the answer it was told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[str] = []
        self.connections = 0
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def url(self, path: str = "/photo.jpg") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def open(self, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), contextlib.closing(writer):
            while not writer.is_closing():
                request = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.requests.append(request)
                path = request.split(" ", 2)[1].partition("?")[0]
                await self.answers.get(path, says(404))(writer)

    @property
    def paths(self) -> list[str]:
        return [request.split(" ", 2)[1] for request in self.requests]


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    host = Host()
    await host.open()
    yield host
    await host.close()


@pytest.fixture
async def other() -> AsyncIterator[Host]:
    """A second host, which nobody trusts."""
    host = Host()
    await host.open()
    yield host
    await host.close()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with downloads.open_session() as session:
        yield session


@pytest.fixture(autouse=True)
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """Set settings for one test; a download may take two seconds unless it says otherwise."""

    def set_all(**values: Any) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"VENUE_IMAGES_{name.upper()}", str(value))
        conf.settings.cache_clear()

    set_all(download_timeout=2)
    yield set_all
    monkeypatch.undo()
    conf.settings.cache_clear()


@pytest.fixture
def trusted(host: Host, configure: Configure) -> Host:
    configure(trusted_hosts=f"127.0.0.1:{host.port}")
    return host


async def refusal(session: aiohttp.ClientSession, url: str) -> UploadError:
    """What the download fails with; its message is one line for operators and tells no secret."""
    with pytest.raises(UploadError) as caught:
        await fetch(session, url)
    assert "\n" not in caught.value.message
    assert "S3CRET" not in caught.value.message
    return caught.value


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
        assert f"User-Agent: {downloads.USER_AGENT}\r\n" in request
        assert "Accept-Encoding: identity\r\n" in request


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


# Faults, each by a real one


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        (204, ErrorType.HTTP_ERROR),
        (206, ErrorType.HTTP_ERROR),
        (300, ErrorType.HTTP_ERROR),
        (302, ErrorType.HTTP_ERROR),
        (304, ErrorType.HTTP_ERROR),
        (400, ErrorType.HTTP_ERROR),
        (401, ErrorType.AUTH_ERROR),
        (403, ErrorType.FORBIDDEN),
        (404, ErrorType.NOT_FOUND),
        (408, ErrorType.NETWORK_TIMEOUT),
        (410, ErrorType.GONE),
        (418, ErrorType.HTTP_ERROR),
        (429, ErrorType.RATE_LIMITED),
        (451, ErrorType.LEGAL),
        (500, ErrorType.SERVER_ERROR),
        (502, ErrorType.BAD_GATEWAY),
        (503, ErrorType.SERVICE_UNAVAILABLE),
        (504, ErrorType.GATEWAY_TIMEOUT),
    ],
)
async def test_a_status_has_its_error_type_even_with_a_photo_in_the_body(
    session: aiohttp.ClientSession, trusted: Host, status: int, error_type: ErrorType
) -> None:
    trusted.answers["/photo.jpg"] = says(status, b"" if status in (204, 304) else PHOTO)

    error = await refusal(session, trusted.url("/photo.jpg?key=S3CRET"))

    assert (error.error_type, error.http_status, error.retry_after) == (error_type, status, None)


FAULTS: dict[str, tuple[Answer, ErrorType]] = {
    "body shorter than told": (sends(message(200, PHOTO)[:-9]), ErrorType.TRUNCATED_BODY),
    "reset in the body": (resets(message(200, PHOTO)[:-9]), ErrorType.TRUNCATED_BODY),
    "chunks cut": (
        sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b" % (len(PHOTO), PHOTO[:50])),
        ErrorType.TRUNCATED_BODY,
    ),
    "last chunk missing": (
        sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(PHOTO), PHOTO)),
        ErrorType.TRUNCATED_BODY,
    ),
    "broken chunks": (
        sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdeXX\r\nzz\r\n"),
        ErrorType.DOWNLOAD_FAILED,
    ),
    "cut without a length": (sends(b"HTTP/1.1 200 OK\r\n\r\n" + PHOTO[:-9]), ErrorType.TRUNCATED_BODY),
    "reset without a length": (resets(b"HTTP/1.1 200 OK\r\n\r\n" + PHOTO[:-9]), ErrorType.TRUNCATED_BODY),
    "nothing without a length": (sends(b"HTTP/1.1 200 OK\r\n\r\n"), ErrorType.TRUNCATED_BODY),
    "reset before the answer": (resets(), ErrorType.NETWORK_ERROR),
    "closed before the answer": (sends(b""), ErrorType.NETWORK_ERROR),
    "closed in the header": (sends(b"HTTP/1.1 200 OK\r\nContent-"), ErrorType.NETWORK_ERROR),
    "not HTTP": (sends(b"220 mail.example ESMTP\r\n"), ErrorType.DOWNLOAD_FAILED),
    "nonsense": (sends(b"\x15\x03\x01\0\x02\x02\x46\r\n\r\n"), ErrorType.DOWNLOAD_FAILED),
    "length of nonsense": (sends(message(200, PHOTO, Content_Length="many")), ErrorType.DOWNLOAD_FAILED),
    "endless header": (sends(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 99_999), ErrorType.DOWNLOAD_FAILED),
    "unknown compression": (says(200, PHOTO, Content_Encoding="br"), ErrorType.DOWNLOAD_FAILED),
    "compression of nonsense": (says(200, PHOTO, Content_Encoding="gzip"), ErrorType.DOWNLOAD_FAILED),
    "empty": (says(200), ErrorType.NOT_AN_IMAGE),
    "HTML as JPEG": (says(200, b"<!doctype html>no photo", Content_Type="image/jpeg"), ErrorType.NOT_AN_IMAGE),
    "JSON": (says(200, b'{"error": 1}'), ErrorType.NOT_AN_IMAGE),
    "cut at its source": (says(200, PHOTO[:-9]), ErrorType.CORRUPT_IMAGE),
    "too many bytes told": (says(200, b"", Content_Length="100001"), ErrorType.FILE_TOO_LARGE),
    "too many bytes untold": (sends(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(100_001)), ErrorType.FILE_TOO_LARGE),
    "bytes without end": (drips(b"HTTP/1.1 200 OK\r\n\r\n", bytes(9999), 0), ErrorType.FILE_TOO_LARGE),
    "too many pixels": (says(200, photo("PNG", 101, 100)), ErrorType.TOO_MANY_PIXELS),
    "silence": (drips(b"", b"", 9), ErrorType.NETWORK_TIMEOUT),
    "slow header": (drips(b"HTTP/1.1 200 OK\r\nX: ", b"x", 0.05), ErrorType.NETWORK_TIMEOUT),
    "silence in the body": (drips(message(200, PHOTO)[:-9], b"", 9), ErrorType.NETWORK_TIMEOUT),
    "slow body": (drips(message(200, PHOTO)[:-400], b"\1", 0.05), ErrorType.NETWORK_TIMEOUT),
    "provisional answers without end": (drips(b"", b"HTTP/1.1 100 Go\r\n\r\n", 0.01), ErrorType.NETWORK_TIMEOUT),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_has_its_error_type_and_is_asked_once(
    session: aiohttp.ClientSession, trusted: Host, configure: Configure, fault: str
) -> None:
    trusted.answers["/photo.jpg"], error_type = FAULTS[fault]
    configure(max_bytes=100_000, max_pixels=10_000, download_timeout=0.4)

    error = await refusal(session, trusted.url("/photo.jpg?key=S3CRET#S3CRET"))

    assert error.error_type == error_type
    assert len(trusted.requests) == 1


@pytest.mark.parametrize("fault", ["reset before the answer", "closed before the answer"])
async def test_a_connection_lost_when_used_again_is_not_asked_again_in_silence(
    session: aiohttp.ClientSession, trusted: Host, fault: str
) -> None:
    trusted.answers["/good.jpg"] = says(200, PHOTO)
    trusted.answers["/photo.jpg"], error_type = FAULTS[fault]

    await fetch(session, trusted.url("/good.jpg"))
    error = await refusal(session, trusted.url())

    assert error.error_type == error_type
    assert trusted.paths == ["/good.jpg", "/photo.jpg"]
    assert trusted.connections == 1


async def test_a_host_that_falls_silent_is_given_up_before_the_whole_time_is_over(
    trusted: Host, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(download_timeout=60)
    monkeypatch.setattr(downloads, "SILENCE_TIMEOUT", 0.2)
    trusted.answers["/photo.jpg"] = drips(message(200, PHOTO)[:-9], b"", 99)

    async with downloads.open_session() as session, asyncio.timeout(10):
        error = await refusal(session, trusted.url())

    assert error.error_type == ErrorType.NETWORK_TIMEOUT


async def test_a_connection_that_is_never_accepted_is_given_up(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "CONNECT_TIMEOUT", 0.2)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        configure(download_timeout=60, trusted_hosts="127.0.0.1")
        async with downloads.open_session() as session, asyncio.timeout(10):
            error = await refusal(session, f"http://127.0.0.1:{address[1]}/")

    assert error.error_type == ErrorType.NETWORK_TIMEOUT


async def test_a_port_where_nobody_listens_is_a_network_error(
    session: aiohttp.ClientSession, configure: Configure
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    configure(trusted_hosts="127.0.0.1")

    error = await refusal(session, f"http://127.0.0.1:{port}/?key=S3CRET")

    assert error.error_type == ErrorType.NETWORK_ERROR
    assert "ConnectionRefusedError" in error.message


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What the system's resolver answers; it is the outside world. Numbers it reads as ever, no other name is known."""
    answers: dict[str, list[str]] = {}
    ask = socket.getaddrinfo

    def answer(host: str, port: int, *_hints: int) -> Any:
        known = answers.get(host.rstrip(".").lower(), [host])
        numbers: Any = {"type": socket.SOCK_STREAM, "flags": socket.AI_NUMERICHOST}
        return [found for each in known for found in ask(each, port, **numbers)]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return answers


async def test_an_unknown_name_is_a_network_error(session: aiohttp.ClientSession, names: dict[str, list[str]]) -> None:
    error = await refusal(session, "http://photos.test/?key=S3CRET")

    assert error.error_type == ErrorType.NETWORK_ERROR


async def test_a_certificate_that_nobody_signed_is_ambiguous(
    session: aiohttp.ClientSession, configure: Configure, tmp_path: Path
) -> None:
    (tmp_path / "both.pem").write_text(CERTIFICATE)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "both.pem")
    host = Host()
    await host.open(context)
    configure(trusted_hosts="127.0.0.1")

    error = await refusal(session, f"https://127.0.0.1:{host.port}/?key=S3CRET")
    await host.close()

    assert error.error_type == ErrorType.DOWNLOAD_FAILED
    assert "certificate" in error.message
    assert host.requests == []


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_tls_that_is_cut_or_is_none_is_a_network_error(
    session: aiohttp.ClientSession, configure: Configure, greeting: bytes
) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(99)
        writer.write(greeting)
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    configure(trusted_hosts="127.0.0.1")
    async with server:
        error = await refusal(session, f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")

    assert error.error_type == ErrorType.NETWORK_ERROR


async def test_a_compression_bomb_fills_no_memory(
    session: aiohttp.ClientSession, trusted: Host, configure: Configure
) -> None:
    configure(max_bytes=1_000_000)
    bomb = message(200, gzip.compress(bytes(200_000_000), 1), Content_Encoding="gzip", Content_Length="900000")
    trusted.answers["/photo.jpg"] = sends(bomb)
    tracemalloc.start()
    try:
        error = await refusal(session, trusted.url())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert error.error_type == ErrorType.FILE_TOO_LARGE
    assert peak < 8_000_000


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


def redirects(host: Host, hops: int, target: str) -> str:
    """An address of this host that leads to ``target`` in so many hops."""
    for hop in range(hops):
        location = target if hop == hops - 1 else f"/hop{hop + 1}"
        host.answers[f"/hop{hop}"] = says(302, Location=location)
    return host.url("/hop0")


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


# Addresses


@pytest.fixture(scope="module")
def connects() -> list[Any]:
    """Every address that this process connects to from here on, as the interpreter reports it."""
    seen: list[Any] = []

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            seen.append(args[1])

    sys.addaudithook(hook)
    return seen


PRIVATE_NAMES = {
    "localhost": ["127.0.0.1"],
    "inner.test": ["10.0.0.7"],
    "metadata.google.internal": ["169.254.169.254"],
    "127.0.0.1.nip.test": ["127.0.0.1"],
    "mixed.test": ["93.184.216.34", "127.0.0.1"],
    "mixed-families.test": ["2606:4700::1111", "::1"],
    "mapped.test": ["::ffff:10.0.0.7"],
    "zone.test": ["fe80::1%1"],
}
EVIL_HOSTS = [
    *PRIVATE_NAMES,
    *("localhost.", "LOCALHOST", "inner.test.", "127.0.0.1.", "127.0.0.1..", "mixed.test."),
    *("127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "0", "0.0.0.0", "0.0", "127.000.000.001"),  # noqa: S104 - asked for, not bound
    *("2130706433", "017700000001", "0x7f000001", "0x7F.0.0.1", "0x7f.1", "0177.0.0.1", "0177.1", "127.0x0.0.1"),
    *("%31%32%37.0.0.1", "127%2e0%2e0%2e1", "①②⑦.⓪.⓪.①", "127。0。0。1", "１２７.0.0.1", "ⓛⓞⓒⓐⓛhost"),
    *("10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "100.100.100.200"),
    *("169.254.169.254", "169.254.170.2", "2852039166", "0xA9FEA9FE", "192.0.0.192", "198.18.0.1"),
    *("192.0.2.1", "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
    *("[::FFFF:A9FE:A9FE]", "[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::1]"),
    *("[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[2001:0:7f00:1::1]", "[2001::1]", "[2001:db8::1]", "[3fff::1]"),
    *("[fe80::1]", "[fe80::1%25lo]", "[fc00::1]", "[fd00:ec2::254]", "[fec0::1]", "[ff02::1]", "[100::1]"),
]


@pytest.mark.parametrize("host_name", EVIL_HOSTS)
async def test_no_socket_is_opened_to_an_address_that_is_not_public(
    session: aiohttp.ClientSession, other: Host, names: dict[str, list[str]], connects: list[Any], host_name: str
) -> None:
    names.update(PRIVATE_NAMES)
    connects.clear()

    error = await refusal(session, f"http://{host_name}:{other.port}/photo.jpg?key=S3CRET")

    unreachable = {ErrorType.BLOCKED_ADDRESS, ErrorType.INVALID_PROVIDER_URL}
    assert error.error_type in unreachable or "resolved" in error.message
    assert (connects, other.connections) == ([], 0)


@pytest.mark.parametrize(
    "url",
    [
        "http://photos.test@{private}/",
        "http://photos.test:80@{private}/",
        "http://{private}\\@photos.test/",
        "http:\\\\{private}/",
        "http:/{private}/",
        "http:{private}/",
        "//{private}/",
        "{private}/",
        "file://{private}/etc/passwd",
        "gopher://{private}/_x",
        "ftp://{private}/",
        "unix:///run/docker.sock",
        "http://photos.test\t@{private}/",
        "http://photos.test\r\nHost: {private}/",
        "http://\0{private}/",
        "http://{private}:99999/",
        "http://{private}:0/",
        "http://" + "a" * 64 + ".test/",
        "http://a..test/",
        "",
    ],
)
async def test_an_address_that_is_no_http_url_is_refused(
    session: aiohttp.ClientSession, other: Host, names: dict[str, list[str]], connects: list[Any], url: str
) -> None:
    connects.clear()

    error = await refusal(session, url.format(private=f"127.0.0.1:{other.port}"))

    assert error.error_type == ErrorType.INVALID_PROVIDER_URL
    assert (connects, other.connections) == ([], 0)


async def test_a_private_literal_is_blocked_and_named(session: aiohttp.ClientSession, host: Host) -> None:
    error = await refusal(session, host.url())

    assert error.error_type == ErrorType.BLOCKED_ADDRESS
    assert "127.0.0.1" in error.message


@pytest.mark.parametrize("name", PRIVATE_NAMES)
async def test_a_name_with_one_private_address_is_blocked(
    session: aiohttp.ClientSession, names: dict[str, list[str]], name: str
) -> None:
    names.update(PRIVATE_NAMES)

    assert (await refusal(session, f"http://{name}/")).error_type == ErrorType.BLOCKED_ADDRESS


async def test_trust_is_for_a_host_and_port_alone(
    session: aiohttp.ClientSession, trusted: Host, other: Host, names: dict[str, list[str]], configure: Configure
) -> None:
    names["photos.test"] = names["other.test"] = ["127.0.0.1"]
    configure(trusted_hosts=f"Photos.test:{trusted.port}")
    trusted.answers["/photo.jpg"] = says(200, PHOTO)

    assert await fetch(session, f"http://photos.test:{trusted.port}/photo.jpg")
    for address in (trusted.url(), f"http://photos.test:{other.port}/", f"http://other.test:{trusted.port}/"):
        assert (await refusal(session, address)).error_type == ErrorType.BLOCKED_ADDRESS
    assert (len(trusted.requests), other.connections) == (1, 0)


async def test_trust_in_a_host_is_for_all_its_ports(
    session: aiohttp.ClientSession, host: Host, configure: Configure
) -> None:
    configure(trusted_hosts="other.test,127.0.0.1")
    host.answers["/photo.jpg"] = says(200, PHOTO)

    assert await fetch(session, host.url())


async def test_trust_ends_with_the_hop(
    session: aiohttp.ClientSession, trusted: Host, names: dict[str, list[str]]
) -> None:
    names["localhost"] = ["127.0.0.1"]
    location = f"http://localhost:{trusted.port}/photo.jpg"

    error = await refusal(session, redirects(trusted, 1, location))

    assert error.error_type == ErrorType.BLOCKED_ADDRESS
    assert trusted.connections == 1


async def test_trust_ends_with_the_download(session: aiohttp.ClientSession, trusted: Host, other: Host) -> None:
    trusted.answers["/photo.jpg"] = says(200, PHOTO)

    await fetch(session, trusted.url())
    with pytest.raises(UploadError):
        await session.get(other.url())

    assert other.connections == 0


async def test_downloads_side_by_side_do_not_lend_each_other_their_trust(
    session: aiohttp.ClientSession, trusted: Host, other: Host
) -> None:
    trusted.answers["/photo.jpg"] = says(200, PHOTO)
    urls = [trusted.url(), other.url()] * 10

    outcomes = await asyncio.gather(*(fetch(session, url) for url in urls), return_exceptions=True)

    assert [isinstance(outcome, Download) for outcome in outcomes] == [True, False] * 10
    assert other.connections == 0


class ChangingAnswers(AbstractResolver):
    """A name server that answers something else each time."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = iter(answers)

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=each, port=port, family=family, proto=0, flags=0)
            for each in next(self._answers)
        ]

    async def close(self) -> None:
        pass


async def test_a_name_that_turns_private_is_blocked_when_it_does() -> None:
    resolver = GuardedResolver(ChangingAnswers(["93.184.216.34"], ["127.0.0.1"], ["93.184.216.34", "10.0.0.1"]))

    (answer,) = await resolver.resolve("rebinding.test", 80)
    assert answer["host"] == "93.184.216.34"
    for _ in range(2):
        with pytest.raises(UploadError) as caught:
            await resolver.resolve("rebinding.test", 80)
        assert caught.value.error_type == ErrorType.BLOCKED_ADDRESS


async def test_a_name_is_looked_up_once_a_connection(
    session: aiohttp.ClientSession, trusted: Host, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ask = socket.getaddrinfo

    def answer(host: str, *args: Any, **options: Any) -> Any:
        asked.append(host)
        return ask("127.0.0.1", *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    configure(trusted_hosts="photos.test")
    trusted.answers["/photo.jpg"] = says(200, PHOTO)

    await fetch(session, f"http://photos.test:{trusted.port}/photo.jpg")

    assert asked == ["photos.test"]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "2130706433", "localhost", ""])
def test_the_socket_factory_alone_refuses_what_is_not_public(address: str) -> None:
    with pytest.raises(UploadError) as caught:
        guarded_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 80)))

    assert caught.value.error_type == ErrorType.BLOCKED_ADDRESS


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)
    guarded_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 80))).close()


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_disguise_is_what_it_is_without(address: ipaddress.IPv4Address) -> None:
    assert is_public(f"::ffff:{address}") == is_public(f"64:ff9b::{address}") == is_public(str(address))
    assert not is_public(f"::{address}")


@given(st.ip_addresses(v=6))
def test_a_public_ipv6_address_is_a_global_one_or_ipv4_in_disguise(address: ipaddress.IPv6Address) -> None:
    if is_public(str(address)):
        assert address in downloads.GLOBAL_UNICAST or address in downloads.NAT64 or address.ipv4_mapped


@given(st.text())
def test_what_is_no_address_is_not_public(text: str) -> None:
    assert not is_public(f"{text}.test")

"""Downloads that go wrong, each by a real fault of a real host."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
import tracemalloc
from pathlib import Path

import aiohttp
import pytest

from tests.downloads.photo_hosts import (
    PHOTO,
    Answer,
    Configure,
    Host,
    drips,
    message,
    photo,
    refusal,
    resets,
    says,
    sends,
)
from venue_images import downloads
from venue_images.downloads import fetch
from venue_images.errors import ErrorType

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

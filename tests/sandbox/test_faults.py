"""What goes wrong when the sandbox is told to let it go wrong, seen by a client that knows nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import io
import json
import socket
import time

import aiohttp
import pytest
from PIL import Image

from tests.sandbox.client import PHOTO, fetch
from venue_images.sandbox import Fault, FaultKind, Sandbox


@pytest.mark.parametrize("status", [200, 204, 304, 400, 401, 403, 404, 410, 418, 429, 451, 500, 502, 503, 504, 522])
async def test_it_answers_with_any_status(sandbox: Sandbox, client: aiohttp.ClientSession, status: int) -> None:
    sandbox.script(PHOTO, Fault("status", status=status))

    answered, body = await fetch(client, sandbox.photo_url(PHOTO))

    assert answered == status
    assert body.startswith(b"<html>") or status in {204, 304}


@pytest.mark.parametrize(("asked", "sent"), [(2, "2"), (0.5, "0.5"), ("soon", "soon")])
async def test_it_asks_to_come_back_later(
    sandbox: Sandbox, client: aiohttp.ClientSession, asked: float | str, sent: str
) -> None:
    sandbox.script(PHOTO, Fault("status", status=429, retry_after=asked))

    async with client.get(sandbox.photo_url(PHOTO)) as response:
        assert response.headers["Retry-After"] == sent


async def test_it_asks_to_come_back_at_a_date(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.script(PHOTO, Fault("status", status=503, retry_after=60, retry_after_date=True))

    async with client.get(sandbox.photo_url(PHOTO)) as response:
        date = email.utils.parsedate_to_datetime(response.headers["Retry-After"])

    assert 58 < date.timestamp() - time.time() < 62


async def test_a_fault_ends_after_so_many_times(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.script(PHOTO, Fault("status", status=503), times=2)
    sandbox.script(PHOTO, Fault("status", status=429), times=1)
    url = sandbox.photo_url(PHOTO)

    answers = [await fetch(client, url) for _ in range(4)]

    assert [status for status, _ in answers] == [503, 503, 429, 200]
    assert answers[-1][1] == sandbox.photo_bytes(PHOTO)
    assert [hit.status for hit in sandbox.hits(url)] == [503, 503, 429, 200]


async def test_a_fault_for_a_url_spares_the_other_hosts(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.script(sandbox.photo_url(PHOTO, host=1), Fault("status", status=404))

    assert (await fetch(client, sandbox.photo_url(PHOTO, host=0)))[0] == 200
    assert (await fetch(client, sandbox.photo_url(PHOTO, host=1)))[0] == 404


async def test_a_fault_for_everything_below_counts_each_address_by_itself(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    sandbox.script(sandbox.photo_url("*", host=1), Fault("status", status=503), times=1)
    urls = [sandbox.photo_url(path, host=1) for path in (PHOTO, PHOTO, "/blue-note/2.jpg", "/blue-note/2.jpg")]

    assert [(await fetch(client, url))[0] for url in urls] == [503, 200, 503, 200]


async def test_a_healed_address_is_well(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.script(PHOTO, Fault("status", status=503))
    sandbox.script("/blue-note/2.jpg", Fault("status", status=503))

    sandbox.heal(PHOTO)

    assert (await fetch(client, sandbox.photo_url(PHOTO)))[0] == 200
    assert (await fetch(client, sandbox.photo_url("/blue-note/2.jpg")))[0] == 503


async def test_it_delays_an_answer(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.script(PHOTO, Fault("delay", delay=0.3))
    started = time.monotonic()

    status, _ = await fetch(client, sandbox.photo_url(PHOTO))

    assert status == 200
    assert time.monotonic() - started >= 0.3


async def test_a_client_that_does_not_wait_leaves_a_hit_without_status(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    sandbox.script(PHOTO, Fault("delay", delay=20))

    with pytest.raises(TimeoutError):
        await client.get(sandbox.photo_url(PHOTO), timeout=aiohttp.ClientTimeout(total=0.2))

    assert [hit.status for hit in sandbox.hits(PHOTO)] == [None]


async def test_it_drops_the_connection(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.script(PHOTO, Fault("drop"))

    with pytest.raises(aiohttp.ServerDisconnectedError):
        await fetch(client, sandbox.photo_url(PHOTO))

    assert sandbox.hits(PHOTO)[-1].status is None


def read_raw(url: str) -> tuple[bytes, bytes, bool]:
    """Header, body, and whether the connection was reset: as the socket has it."""
    host, _, path = url.removeprefix("http://").partition("/")
    received = b""
    reset = False
    with socket.create_connection((host.split(":")[0], int(host.split(":")[1])), timeout=10) as connection:
        connection.sendall(f"GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        with contextlib.suppress(ConnectionResetError):
            while block := connection.recv(65536):
                received += block
            return *_split(received), reset
    return *_split(received), True


def _split(received: bytes) -> tuple[bytes, bytes]:
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body


def test_it_resets_the_connection_within_the_body(sandbox: Sandbox) -> None:
    sandbox.script(PHOTO, Fault("reset"))

    head, body, reset = read_raw(sandbox.photo_url(PHOTO))

    photo = sandbox.photo_bytes(PHOTO)
    assert reset
    assert f"Content-Length: {len(photo)}".encode() in head
    assert photo.startswith(body)
    assert len(body) < len(photo)


def test_it_sends_less_than_it_promised(sandbox: Sandbox) -> None:
    sandbox.script(PHOTO, Fault("short_body"))

    head, body, reset = read_raw(sandbox.photo_url(PHOTO))

    photo = sandbox.photo_bytes(PHOTO)
    assert not reset
    assert f"Content-Length: {len(photo)}".encode() in head
    assert body == photo[: len(photo) // 2]


def test_it_sends_more_than_it_promised(sandbox: Sandbox) -> None:
    sandbox.script(PHOTO, Fault("wrong_length"))

    head, body, reset = read_raw(sandbox.photo_url(PHOTO))

    photo = sandbox.photo_bytes(PHOTO)
    assert not reset
    assert f"Content-Length: {len(photo) // 2}".encode() in head
    assert body == photo


@pytest.mark.parametrize("kind", ["reset", "short_body"])
async def test_a_client_notices_a_body_that_was_cut(sandbox: Sandbox, client: aiohttp.ClientSession, kind: str) -> None:
    sandbox.script(PHOTO, Fault(kind), times=1)

    with pytest.raises(aiohttp.ClientError):
        await fetch(client, sandbox.photo_url(PHOTO))

    assert (await fetch(client, sandbox.photo_url(PHOTO)))[1] == sandbox.photo_bytes(PHOTO)
    assert [hit.status for hit in sandbox.hits(PHOTO)] == [200, 200]


@pytest.mark.parametrize(
    ("kind", "content_type", "start"),
    [
        ("html", "image/jpeg", b"<!doctype html>"),
        ("empty", "image/jpeg", b""),
        ("garbage", "image/jpeg", b""),
        ("corrupt", "image/jpeg", b"\xff\xd8"),
        ("too_many_pixels", "image/png", b"\x89PNG"),
        ("error_json", "application/json", b'{"error"'),
    ],
)
async def test_a_body_is_not_the_photo(
    sandbox: Sandbox, client: aiohttp.ClientSession, kind: str, content_type: str, start: bytes
) -> None:
    sandbox.script(PHOTO, Fault(kind))

    async with client.get(sandbox.photo_url(PHOTO)) as response:
        body = await response.read()

    assert (response.status, response.content_type) == (200, content_type)
    assert response.content_length == len(body)
    assert body.startswith(start)
    assert body != sandbox.photo_bytes(PHOTO)
    if kind == "empty":
        assert body == b""


async def test_a_corrupt_photo_has_a_good_header_and_can_not_be_decoded(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    sandbox.script(PHOTO, Fault("corrupt"))
    _, body = await fetch(client, sandbox.photo_url(PHOTO))

    with Image.open(io.BytesIO(body)) as image:
        assert image.size == sandbox.photo_size(PHOTO)
        with pytest.raises(OSError, match="truncated"):
            image.load()


async def test_a_tiny_file_claims_too_many_pixels(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.script(PHOTO, Fault("too_many_pixels"))

    _, body = await fetch(client, sandbox.photo_url(PHOTO))

    assert len(body) < 1000
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(body))


async def test_the_right_body_under_a_wrong_name(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.script(PHOTO, Fault("wrong_type"))

    async with client.get(sandbox.photo_url(PHOTO)) as response:
        assert response.content_type == "text/plain"
        assert await response.read() == sandbox.photo_bytes(PHOTO)


async def test_a_photo_drips(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    photo = sandbox.photo_bytes(PHOTO)
    sandbox.script(PHOTO, Fault("drip", chunk=len(photo) // 4 + 1, interval=0.1))
    started = time.monotonic()

    _, body = await fetch(client, sandbox.photo_url(PHOTO))

    assert body == photo
    assert time.monotonic() - started >= 0.3


async def test_a_declared_body_is_too_large(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.script(PHOTO, Fault("too_large", size=3_000_001))

    async with client.get(sandbox.photo_url(PHOTO)) as response:
        assert response.content_length == 3_000_001
        assert len(await response.read()) == 3_000_001


async def test_an_undeclared_body_is_too_large(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.script(PHOTO, Fault("too_large_undeclared", size=3_000_001))

    async with client.get(sandbox.photo_url(PHOTO)) as response:
        assert response.content_length is None
        assert len(await response.read()) == 3_000_001


async def test_a_body_does_not_end(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.script(PHOTO, Fault("endless"))

    async with client.get(sandbox.photo_url(PHOTO)) as response:
        received = await response.content.readexactly(20_000_000)

    assert response.content_length is None
    assert received.startswith(sandbox.photo_bytes(PHOTO))
    assert sandbox.hits(PHOTO)[-1].status == 200


async def test_it_redirects_to_itself_for_ever(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    url = sandbox.photo_url(PHOTO)
    sandbox.script(PHOTO, Fault("redirect", location=url))

    with pytest.raises(aiohttp.TooManyRedirects):
        await client.get(url, max_redirects=5)

    assert len(sandbox.hits(PHOTO)) == 5


async def test_it_redirects_anywhere(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.script(PHOTO, Fault("redirect", status=307, location="http://169.254.169.254/latest"))

    async with client.get(sandbox.photo_url(PHOTO), allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (307, "http://169.254.169.254/latest")


async def test_an_address_expires_with_age(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.script(PHOTO, Fault("expired", status=410, after=0.5))
    url = sandbox.photo_url(PHOTO)

    assert (await fetch(client, url))[0] == 200
    await asyncio.sleep(0.5)
    assert (await fetch(client, url))[0] == 410


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "explode"},
        {"kind": "status"},
        {"kind": "status", "status": 99},
        {"kind": "redirect"},
        {"kind": "delay"},
        {"kind": "drip", "chunk": 0},
        {"kind": "drop", "colour": "red"},
        {"kind": "delay", "delay": "long"},
        {},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(fault: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="fault"):
        Fault.from_json(fault)


@pytest.mark.parametrize("kind", list(FaultKind))
def test_a_fault_survives_the_way_through_json(kind: FaultKind) -> None:
    fault = Fault(kind, status=404, delay=1, location="/x", retry_after="later")

    assert Fault.from_json(json.loads(json.dumps(fault.to_json()))) == fault

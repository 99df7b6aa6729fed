"""The sandbox, seen by a client that knows nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from PIL import Image

from venue_images.errors import UserError
from venue_images.sandbox import Fault, FaultKind, Sandbox

PHOTO = "/blue-note/1.jpg"
DETAILS = "/v1/places/sandbox-blue-note"


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    """One sandbox for the module: it keeps the photos it has drawn."""
    sandbox = Sandbox(seed=7)
    with sandbox.in_thread(hosts=2):
        yield sandbox


@pytest.fixture
def sandbox(shared: Sandbox) -> Iterator[Sandbox]:
    yield shared
    shared.reset()
    shared.photo_uri_lifetime = None


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


async def fetch(client: aiohttp.ClientSession, url: str) -> tuple[int, bytes]:
    async with client.get(url, allow_redirects=False) as response:
        return response.status, await response.read()


async def ask_google(
    client: aiohttp.ClientSession, sandbox: Sandbox, path: str, mask: str = "id,photos", **query: str
) -> tuple[int, dict[str, object]]:
    headers = {"X-Goog-Api-Key": sandbox.environment()["GOOGLE_PLACES_API_KEY"], "X-Goog-FieldMask": mask}
    url = sandbox.api_url("google_places") + path
    async with client.get(url, headers=headers, params=query, allow_redirects=False) as response:
        is_json = response.content_type == "application/json"
        return response.status, await response.json() if is_json else dict(response.headers)


async def first_photo_name(client: aiohttp.ClientSession, sandbox: Sandbox) -> str:
    _, details = await ask_google(client, sandbox, DETAILS)
    photos = details["photos"]
    assert isinstance(photos, list)
    return str(photos[0]["name"])


# --- photos


@pytest.mark.parametrize(("extension", "format_"), [("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")])
async def test_a_photo_is_a_real_picture_of_the_promised_size(
    sandbox: Sandbox, client: aiohttp.ClientSession, extension: str, format_: str
) -> None:
    path = f"/blue-note/2.{extension}"

    async with client.get(sandbox.photo_url(path, host=1)) as response:
        body = await response.read()

    assert response.content_type == f"image/{format_.lower()}"
    assert body == sandbox.photo_bytes(path)
    with Image.open(io.BytesIO(body)) as image:
        image.load()
        assert image.format == format_
        assert image.size == sandbox.photo_size(path)


def test_the_same_seed_and_path_give_the_same_photo() -> None:
    assert Sandbox(seed=3).photo_bytes(PHOTO) == Sandbox(seed=3).photo_bytes(PHOTO)


def test_every_venue_every_number_and_every_seed_has_a_photo_of_its_own() -> None:
    sandbox = Sandbox(seed=3)
    paths = [f"/{slug}/{number}.jpg" for slug in ("blue-note", "paradiso") for number in range(1, 8)]

    bodies = {sandbox.photo_bytes(path) for path in paths} | {Sandbox(seed=4).photo_bytes(PHOTO)}

    assert len(bodies) == len(paths) + 1


async def test_a_path_that_is_no_photo_is_not_found(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    status, _ = await fetch(client, sandbox.photo_url("/blue-note/front.gif"))

    assert status == 404


# --- faults


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


# --- Google Places


async def test_google_lists_photos_without_addresses(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    status, details = await ask_google(client, sandbox, DETAILS)

    photos = details["photos"]
    assert isinstance(photos, list)
    assert (status, details["id"], len(photos)) == (200, "sandbox-blue-note", 5)
    assert set(details) == {"id", "photos"}
    for photo in photos:
        assert photo["name"].startswith("places/sandbox-blue-note/photos/")
        assert photo["widthPx"] > 1000
        assert photo["heightPx"] > 1000
        assert photo["authorAttributions"][0]["displayName"]
        assert {"flagContentUri", "googleMapsUri"} < set(photo)


async def test_google_gives_the_address_of_a_photo(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    name = await first_photo_name(client, sandbox)

    status, media = await ask_google(client, sandbox, f"/v1/{name}/media", maxWidthPx="1600", skipHttpRedirect="true")
    uri = str(media["photoUri"])

    assert (status, media["name"]) == (200, f"{name}/media")
    assert uri.removeprefix("http://").split("/")[0] in sandbox.hosts
    assert (await fetch(client, uri)) == (200, sandbox.photo_bytes(uri))


async def test_google_redirects_to_the_photo(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    name = await first_photo_name(client, sandbox)

    status, headers = await ask_google(client, sandbox, f"/v1/{name}/media", maxHeightPx="4800")

    assert status == 302
    assert str(headers["Location"]).endswith("/blue-note/101.jpg")


@pytest.mark.parametrize(
    "query",
    [{}, {"maxWidthPx": "0"}, {"maxWidthPx": "4801"}, {"maxHeightPx": "x"}, {"maxWidthPx": "9", "maxHeightPx": ""}],
)
async def test_google_wants_a_maximum_within_its_range(
    sandbox: Sandbox, client: aiohttp.ClientSession, query: dict[str, str]
) -> None:
    name = await first_photo_name(client, sandbox)

    status, error = await ask_google(client, sandbox, f"/v1/{name}/media", **query)

    assert (status, google_status(error)) == (400, "INVALID_ARGUMENT")


def google_status(body: dict[str, object]) -> str:
    error = body["error"]
    assert isinstance(error, dict)
    return str(error["status"])


@pytest.mark.parametrize("headers", [{}, {"X-Goog-Api-Key": "another"}])
async def test_google_wants_its_key(sandbox: Sandbox, client: aiohttp.ClientSession, headers: dict[str, str]) -> None:
    async with client.get(sandbox.api_url("google_places") + DETAILS, headers=headers) as response:
        assert response.status == 403
        assert google_status(await response.json()) == "PERMISSION_DENIED"


async def test_google_wants_a_field_mask_of_fields_that_exist(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    for mask in ("", "id,colour"):
        status, error = await ask_google(client, sandbox, DETAILS, mask)
        assert (status, google_status(error)) == (400, "INVALID_ARGUMENT")


async def test_google_does_not_know_a_place(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    status, error = await ask_google(client, sandbox, "/v1/places/ChIJunknown")

    assert (status, google_status(error)) == (404, "NOT_FOUND")


async def test_a_place_has_as_many_photos_as_it_was_given(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.place("ChIJfew", slug="few", photos=0)
    sandbox.place("sandbox-many", photos=14)

    _, few = await ask_google(client, sandbox, "/v1/places/ChIJfew")
    _, many = await ask_google(client, sandbox, "/v1/places/sandbox-many")

    assert few == {"id": "ChIJfew"}
    assert len(str(many["photos"]).split("'name'")) == 11  # Google shows ten at most


async def test_a_stale_photo_name_is_refused(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    name = await first_photo_name(client, sandbox)

    sandbox.google_places.expire_photo_names()
    status, error = await ask_google(client, sandbox, f"/v1/{name}/media", maxWidthPx="1600")

    assert status == 400
    assert "The photo resource in the request is invalid" in str(error)
    assert await first_photo_name(client, sandbox) != name


async def test_the_address_of_a_photo_expires(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.photo_uri_lifetime = 0.5
    name = await first_photo_name(client, sandbox)
    _, media = await ask_google(client, sandbox, f"/v1/{name}/media", maxWidthPx="1600", skipHttpRedirect="true")
    sandbox.photo_bytes(str(media["photoUri"]))

    early, _ = await fetch(client, str(media["photoUri"]))
    await asyncio.sleep(0.5)
    late, _ = await fetch(client, str(media["photoUri"]))

    assert (early, late) == (200, 403)


async def test_an_api_fails_in_its_own_words(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.script(f"/google_places{DETAILS}", Fault("status", status=503), times=1)
    sandbox.script("/google_places/*", Fault("status", status=429), times=1)

    answers = [await ask_google(client, sandbox, DETAILS) for _ in range(3)]

    assert [status for status, _ in answers] == [503, 429, 200]
    assert [google_status(body) for _, body in answers[:2]] == ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]


# --- what it has seen


async def test_every_request_to_a_metered_api_is_counted(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.script("/google_places/*", Fault("status", status=500), times=1)
    for _ in range(3):
        await ask_google(client, sandbox, DETAILS)
    await fetch(client, sandbox.api_url("google_places") + DETAILS)
    await fetch(client, sandbox.photo_url(PHOTO))

    assert sandbox.metered_calls == {"google_places": 4}

    sandbox.reset_counters()
    assert sandbox.metered_calls == {}
    assert sandbox.hits() == []


async def test_a_hit_tells_what_was_asked_and_when(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    url = sandbox.photo_url(PHOTO, host=1)
    before = time.time(), time.monotonic()

    async with client.get(f"{url}?size=2", headers={"User-Agent": "tester"}) as response:
        await response.read()

    (hit,) = sandbox.hits(url)
    assert (hit.method, hit.path, hit.query, hit.status) == ("GET", PHOTO, "size=2", 200)
    assert hit.host == sandbox.hosts[1]
    assert hit.headers["User-Agent"] == "tester"
    assert before[0] <= hit.wall <= time.time()
    assert before[1] <= hit.monotonic <= time.monotonic()
    assert sandbox.hits(sandbox.photo_url(PHOTO, host=0)) == []
    assert sandbox.hits(PHOTO) == sandbox.hits("/blue-note/*") == [hit]


@pytest.mark.parametrize(
    ("query", "headers", "carried"),
    [
        ("", {}, False),
        ("?size=2", {"Accept": "image/*"}, False),
        ("?key=abc", {}, True),
        ("?apiKey=abc", {}, True),
        ("?note=AIza-sandbox-google-places", {}, True),
        ("", {"X-Goog-Api-Key": "abc"}, True),
        ("", {"Authorization": "Bearer abc"}, True),
        ("", {"X-Anything": "AIza-sandbox-google-places"}, True),
    ],
)
async def test_a_hit_tells_whether_a_key_came_along(
    sandbox: Sandbox, client: aiohttp.ClientSession, query: str, headers: dict[str, str], carried: bool
) -> None:
    async with client.get(sandbox.photo_url(PHOTO) + query, headers=headers) as response:
        await response.read()

    assert [hit.carried_key for hit in sandbox.hits(PHOTO)] == [carried]


async def test_another_process_scripts_it_and_looks_at_it(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    order = {"path": PHOTO, "fault": {"kind": "status", "status": 503}, "times": 1}
    async with client.post(f"{sandbox.control_url}script", json=order) as response:
        assert response.status == 200
    statuses = [(await fetch(client, sandbox.photo_url(PHOTO)))[0] for _ in range(2)]
    await ask_google(client, sandbox, DETAILS)

    async with client.get(f"{sandbox.control_url}state") as response:
        state = await response.json()

    assert statuses == [503, 200]
    assert state["metered_calls"] == {"google_places": 1}
    assert state["requests"] == 3
    assert state["hits"][f"{sandbox.hosts[0]}{PHOTO}"] == 2
    assert state["environment"] == sandbox.environment()

    sandbox.script(PHOTO, Fault("drop"))
    async with client.post(f"{sandbox.control_url}reset") as response:
        assert response.status == 200
    assert sandbox.hits() == []
    assert (await fetch(client, sandbox.photo_url(PHOTO)))[0] == 200


@pytest.mark.parametrize(
    "order",
    [
        "",
        "[]",
        "{}",
        '{"path": "/x", "fault": {"kind": "no"}}',
        '{"path": 1, "fault": {"kind": "drop"}}',
        '{"path": "/x", "fault": {"kind": "drop"}, "times": 0}',
    ],
)
async def test_an_order_that_makes_no_sense_is_refused(
    sandbox: Sandbox, client: aiohttp.ClientSession, order: str
) -> None:
    async with client.post(f"{sandbox.control_url}script", data=order) as response:
        assert response.status == 400
        assert (await response.json())["error"]


# --- starting and stopping


async def test_it_runs_in_the_callers_event_loop_and_stops_amid_requests(client: aiohttp.ClientSession) -> None:
    sandbox = Sandbox()
    sandbox.script("*", Fault("delay", delay=60))
    async with sandbox.running(hosts=1) as running:
        pending = asyncio.create_task(client.get(running.photo_url(PHOTO)))
        while not sandbox.hits(PHOTO):  # noqa: ASYNC110 - the request is seen when it is seen
            await asyncio.sleep(0.01)
        started = time.monotonic()

    assert time.monotonic() - started < 2
    with pytest.raises(aiohttp.ClientError):
        await pending
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.get(sandbox.photo_url(PHOTO))


def test_it_runs_in_a_thread_that_ends() -> None:
    threads = threading.active_count()
    sandbox = Sandbox()

    with sandbox.in_thread(hosts=2), urllib.request.urlopen(sandbox.photo_url(PHOTO, host=1), timeout=10) as response:  # noqa: S310 - an address of the sandbox
        assert response.read() == sandbox.photo_bytes(PHOTO)

    assert threading.active_count() == threads


def test_its_addresses_follow_the_port_it_was_given(sandbox: Sandbox) -> None:
    with Sandbox().in_thread(hosts=0) as other:
        taken = int(other.trusted_hosts.rpartition(":")[2])
        with pytest.raises(UserError, match=f"port {taken}"), sandbox.in_thread(port=taken):
            pytest.fail("the port was free")
    with Sandbox().in_thread(hosts=0, port=taken) as other:
        assert other.api_url("google_places") == f"http://127.0.0.1:{taken}/google_places"
        assert other.environment() == {
            "VENUE_IMAGES_TRUSTED_HOSTS": f"127.0.0.1:{taken}",
            "GOOGLE_PLACES_BASE_URL": f"http://127.0.0.1:{taken}/google_places",
            "GOOGLE_PLACES_API_KEY": "AIza-sandbox-google-places",
        }


def test_it_has_no_address_before_it_runs() -> None:
    with pytest.raises(RuntimeError):
        Sandbox().photo_url(PHOTO)


def test_it_answers_hundreds_of_requests_a_second(sandbox: Sandbox) -> None:
    sandbox.photo_bytes(PHOTO)

    async def fetch_all() -> None:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(fetch(session, sandbox.photo_url(PHOTO)) for _ in range(500)))

    started = time.monotonic()
    asyncio.run(fetch_all())

    assert time.monotonic() - started < 5
    assert len(sandbox.hits(PHOTO)) == 500


# --- the command


def command(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "venue_images.sandbox", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    venues = tmp_path / "venues.jsonl"
    venues.write_text('{"slug": "blue-note", "provider_ids": {"google_places": "ChIJblue"}}\n')
    with command("--port", "0", "--hosts", "2", "--venues", str(venues)) as process:
        assert process.stdout
        printed: list[str] = []
        while not printed or "Ctrl-C" not in printed[-1]:
            printed.append(process.stdout.readline())
        exported = dict(line.removeprefix("export ").strip().split("=", 1) for line in printed if "export " in line)
        request = urllib.request.Request(  # noqa: S310 - an address of the sandbox
            f"{exported['GOOGLE_PLACES_BASE_URL']}/v1/places/ChIJblue",
            headers={"X-Goog-Api-Key": exported["GOOGLE_PLACES_API_KEY"], "X-Goog-FieldMask": "photos"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - an address of the sandbox
            assert len(json.load(response)["photos"]) == 5
        assert len(exported["VENUE_IMAGES_TRUSTED_HOSTS"].split(",")) == 3

        process.send_signal(number)
        _, errors = process.communicate(timeout=10)

    assert (process.returncode, errors) == (0, "")


def test_a_busy_port_is_one_clear_line(sandbox: Sandbox) -> None:
    port = sandbox.trusted_hosts.split(",")[0].rpartition(":")[2]

    with command("--port", port) as process:
        output, errors = process.communicate(timeout=10)

    assert (process.returncode, output) == (1, "")
    assert errors == f"The sandbox can't use port {port}: Address already in use. Choose another one.\n"


@pytest.mark.parametrize("line", ["{", "[]", '{"provider_ids": {"google_places": "ChIJ"}}', '{"provider_ids": 3}'])
def test_a_broken_venues_file_is_one_clear_line(tmp_path: Path, line: str) -> None:
    venues = tmp_path / "venues.jsonl"
    venues.write_text(f"\n{line}\n")

    with command("--port", "0", "--venues", str(venues)) as process:
        _, errors = process.communicate(timeout=10)

    assert (process.returncode, errors) == (1, f"{venues}, line 2: not a venue with a slug and provider_ids.\n")

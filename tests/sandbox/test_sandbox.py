"""The sandbox, seen by a client that knows nothing of it: its photos, what it has seen, starting and stopping."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import aiohttp
import pytest
from PIL import Image

from tests.sandbox.client import DETAILS, PHOTO, ask_google, fetch
from venue_images.errors import UserError
from venue_images.providers import PROVIDERS
from venue_images.sandbox import Fault, Sandbox

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


async def test_every_request_to_an_api_is_counted_whether_it_is_metered_or_not(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    sandbox.script("/openverse/*", Fault("status", status=500), times=1)
    for _ in range(2):
        await fetch(client, f"{sandbox.api_url('openverse')}/v1/images/?q=blue")
    await ask_google(client, sandbox, DETAILS)
    await fetch(client, sandbox.photo_url(PHOTO))

    assert sandbox.calls == {"openverse": 2, "google_places": 1}
    assert sandbox.metered_calls == {"google_places": 1}


async def test_one_request_too_many_is_refused_and_bans_who_sent_it(client: aiohttp.ClientSession) -> None:
    with Sandbox().in_thread(hosts=2) as strict:
        strict.photo_bytes(PHOTO)
        strict.allow("google_places", 2, seconds=1)
        strict.allow(strict.hosts[0], 2, seconds=1, ban=False)
        urls = [strict.photo_url(PHOTO, host=host) for host in (0, 1)]

        asked = [(await ask_google(client, strict, DETAILS))[0] for _ in range(3)]
        first, second = [[(await fetch(client, url))[0] for _ in range(3)] for url in urls]
        assert strict.violations() == {"google_places": 1, strict.hosts[0]: 1}
        await asyncio.sleep(1)
        later = (await ask_google(client, strict, DETAILS))[0], (await fetch(client, urls[0]))[0]

    assert (asked, first, second) == ([200, 200, 429], [200, 200, 429], [200] * 3)
    assert later == (429, 200)


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
        environment = other.environment()
    google = {name: value for name, value in environment.items() if name.startswith("GOOGLE_PLACES_")}
    assert environment["VENUE_IMAGES_TRUSTED_HOSTS"] == f"127.0.0.1:{taken}"
    assert google == {
        "GOOGLE_PLACES_BASE_URL": f"http://127.0.0.1:{taken}/google_places",
        "GOOGLE_PLACES_API_KEY": "AIza-sandbox-google-places",
        "GOOGLE_PLACES_STORAGE_POLICY": "store",
    }
    urls = {name: value for name, value in environment.items() if name.endswith("_BASE_URL")}
    assert all(value.startswith(f"http://127.0.0.1:{taken}/") for value in urls.values())


def test_it_pretends_to_be_every_provider_that_is_asked_over_the_net(sandbox: Sandbox) -> None:
    environment = sandbox.environment()
    outside = {name: provider.info for name, provider in PROVIDERS.items() if provider.info.base_url}
    assert {name: environment[_setting(name, "BASE_URL")] for name in outside} == {
        name: sandbox.api_url(name) for name in outside
    }
    assert {name for name, info in outside.items() if info.needs_key} == {
        name for name in outside if environment.get(_setting(name, "API_KEY"))
    }
    others = {other for info in outside.values() for other in info.other_apis}
    assert all(environment[_setting(name, "BASE_URL")].startswith("http://127.0.0.1:") for name in others)


def _setting(provider: str, name: str) -> str:
    return f"{provider}_{name}".upper()


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

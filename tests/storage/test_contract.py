"""What every storage does; a new one is added to ``STORAGES`` and has to pass."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from venue_images.storage import Storage, open_storage

STORAGES: dict[str, Callable[[Path], str]] = {
    "memory": lambda _folder: "memory://",
    "local": lambda folder: (folder / "images").as_uri(),
}
KEY = "venues/blue-note/ct-0123456789abcdef.jpg"
OTHER = "venues/blue-note/gp-0123456789abcdef.png"


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return open_storage(STORAGES[request.param](tmp_path))


async def keys(storage: Storage, prefix: str) -> dict[str, int]:
    return {stored.key: stored.size async for stored in storage.list(prefix)}


async def test_a_put_creates_the_object(storage: Storage) -> None:
    assert await storage.put(KEY, b"photo", "image/jpeg") is True
    assert await storage.get(KEY) == b"photo"


async def test_a_second_put_says_no_and_leaves_the_bytes(storage: Storage) -> None:
    await storage.put(KEY, b"first", "image/jpeg")
    assert await storage.put(KEY, b"second", "image/jpeg") is False
    assert await storage.get(KEY) == b"first"


async def test_an_object_that_is_not_there_is_none(storage: Storage) -> None:
    assert await storage.get(KEY) is None
    await storage.put(KEY, b"photo", "image/jpeg")
    assert await storage.get(OTHER) is None


async def test_deleting_twice_is_fine(storage: Storage) -> None:
    await storage.put(KEY, b"photo", "image/jpeg")
    await storage.delete(KEY)
    await storage.delete(KEY)
    assert await storage.get(KEY) is None
    assert await keys(storage, "") == {}


async def test_a_deleted_object_can_be_put_again(storage: Storage) -> None:
    await storage.put(KEY, b"old", "image/jpeg")
    await storage.delete(KEY)
    assert await storage.put(KEY, b"new", "image/jpeg") is True
    assert await storage.get(KEY) == b"new"


async def test_list_finds_what_starts_with_the_prefix(storage: Storage) -> None:
    await storage.put("venues/blue-note/a.jpg", b"1", "image/jpeg")
    await storage.put("venues/blue-moon/b.jpg", b"22", "image/jpeg")
    await storage.put("venues/louvre/c.jpg", b"333", "image/jpeg")
    await storage.put("probe", b"4444", "text/plain")
    assert await keys(storage, "venues/blue") == {"venues/blue-note/a.jpg": 1, "venues/blue-moon/b.jpg": 2}
    assert await keys(storage, "venues/blue-note/") == {"venues/blue-note/a.jpg": 1}
    assert await keys(storage, "venues/louvre/c.jpg") == {"venues/louvre/c.jpg": 3}
    assert await keys(storage, "venues") == {
        "venues/blue-note/a.jpg": 1,
        "venues/blue-moon/b.jpg": 2,
        "venues/louvre/c.jpg": 3,
    }
    assert len(await keys(storage, "")) == 4


async def test_list_of_nothing_is_empty(storage: Storage) -> None:
    assert await keys(storage, "") == {}
    assert await keys(storage, "venues/nowhere/") == {}


async def test_any_bytes_come_back_unchanged(storage: Storage) -> None:
    body = bytes(range(256)) * 5000 + b"\r\n\x00\x1a"
    await storage.put(KEY, body, "image/jpeg")
    assert await storage.get(KEY) == body
    await storage.put(OTHER, b"", "image/png")
    assert await storage.get(OTHER) == b""


async def test_of_many_puts_at_once_exactly_one_creates_the_object(storage: Storage) -> None:
    bodies = [f"body {number}".encode() * 1000 for number in range(50)]
    created = await asyncio.gather(*(storage.put(KEY, body, "image/jpeg") for body in bodies))
    assert created.count(True) == 1
    assert await storage.get(KEY) == bodies[created.index(True)]
    assert list(await keys(storage, "")) == [KEY]


async def test_an_object_has_an_address_that_ends_with_its_key(storage: Storage) -> None:
    await storage.put(KEY, b"photo", "image/jpeg")
    assert storage.public_url(KEY).endswith(KEY)


async def test_closing_is_possible_at_any_time(storage: Storage) -> None:
    await storage.close()

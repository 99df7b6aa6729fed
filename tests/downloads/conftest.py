"""Photo hosts, and the session that downloads from them."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from tests.downloads.photo_hosts import Configure, Host
from venue_images import conf, downloads


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

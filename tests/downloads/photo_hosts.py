"""Photo hosts for tests: real servers on 127.0.0.1 that answer whatever they are told to."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from PIL import Image

from venue_images.downloads import fetch
from venue_images.errors import UploadError

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


def redirects(host: Host, hops: int, target: str) -> str:
    """An address of this host that leads to ``target`` in so many hops."""
    for hop in range(hops):
        location = target if hop == hops - 1 else f"/hop{hop + 1}"
        host.answers[f"/hop{hop}"] = says(302, Location=location)
    return host.url("/hop0")


async def refusal(session: aiohttp.ClientSession, url: str) -> UploadError:
    """What the download fails with; its message is one line for operators and tells no secret."""
    with pytest.raises(UploadError) as caught:
        await fetch(session, url)
    assert "\n" not in caught.value.message
    assert "S3CRET" not in caught.value.message
    return caught.value

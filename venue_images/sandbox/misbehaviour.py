"""How each fault is answered on the wire."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from aiohttp import web

from venue_images.sandbox.faults import Fault, FaultKind
from venue_images.sandbox.hits import HIT

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ErrorPage = Callable[[int], web.Response]

BLOCK = bytes(64 * 1024)
CLAIMED_PIXELS = (50_000, 50_000)
WEB_PAGE = "<!doctype html><title>Just a moment</title><h1>Checking your browser</h1>"


async def misbehave(fault: Fault, request: web.Request, handler: Handler, error_page: ErrorPage) -> web.StreamResponse:
    """Answer the request as the fault wants it; ``error_page`` makes this site's body for a status."""
    await asyncio.sleep(fault.delay)
    if fault.kind == FaultKind.DROP:
        return _drop(request)
    if fault.kind in REPLACED:
        return REPLACED[fault.kind](fault, error_page)
    well = await handler(request)
    assert isinstance(well, web.Response)  # noqa: S101 - every site of the sandbox answers with a whole body
    return await DISTORTED[fault.kind](fault, request, well)


def _drop(request: web.Request) -> web.Response:
    if request.transport:
        request.transport.close()
    return web.Response()


def _status(fault: Fault, error_page: ErrorPage) -> web.Response:
    response = error_page(fault.status)
    response.headers.update(fault.headers())
    return response


def _redirect(fault: Fault, _error_page: ErrorPage) -> web.Response:
    return web.Response(status=fault.status, headers={"Location": fault.location, **fault.headers()})


def _html(_fault: Fault, _error_page: ErrorPage) -> web.Response:
    return _jpeg(WEB_PAGE.encode())


def _empty(_fault: Fault, _error_page: ErrorPage) -> web.Response:
    return _jpeg(b"")


def _garbage(_fault: Fault, _error_page: ErrorPage) -> web.Response:
    return _jpeg(random.Random("garbage").randbytes(20_000))


def _too_many_pixels(_fault: Fault, _error_page: ErrorPage) -> web.Response:
    return web.Response(body=png_claiming(*CLAIMED_PIXELS), content_type="image/png")


def _error_json(_fault: Fault, _error_page: ErrorPage) -> web.Response:
    return web.json_response({"error": {"code": 500, "message": "Internal error encountered.", "status": "INTERNAL"}})


def _jpeg(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="image/jpeg")


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is so large."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


async def _well(_fault: Fault, _request: web.Request, well: web.Response) -> web.StreamResponse:
    return well


async def _wrong_type(_fault: Fault, _request: web.Request, well: web.Response) -> web.StreamResponse:
    return web.Response(body=well.body, content_type="text/plain")


async def _corrupt(_fault: Fault, _request: web.Request, well: web.Response) -> web.StreamResponse:
    body = _body(well)
    return web.Response(body=body[: len(body) // 2], content_type=well.content_type)


async def _reset(_fault: Fault, request: web.Request, well: web.Response) -> web.StreamResponse:
    body = _body(well)
    return await _cut(request, well, body[: len(body) // 2], promised=len(body), reset=True)


async def _short_body(_fault: Fault, request: web.Request, well: web.Response) -> web.StreamResponse:
    body = _body(well)
    return await _cut(request, well, body[: len(body) // 2], promised=len(body))


async def _wrong_length(_fault: Fault, request: web.Request, well: web.Response) -> web.StreamResponse:
    body = _body(well)
    return await _cut(request, well, body, promised=len(body) // 2)


async def _cut(
    request: web.Request, well: web.Response, body: bytes, *, promised: int, reset: bool = False
) -> web.Response:
    """Send the body under a length that is not its own, past aiohttp, and end the connection."""
    transport = request.transport
    if isinstance(transport, asyncio.Transport):
        request[HIT].status = 200
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {well.content_type}\r\nContent-Length: {promised}\r\n\r\n"
        transport.write(head.encode() + body)
        if reset:
            await _sent(transport)
            peer = transport.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        transport.close()
    return web.Response()


async def _sent(transport: asyncio.Transport) -> None:
    while transport.get_write_buffer_size() and not transport.is_closing():  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.01)


async def _drip(fault: Fault, request: web.Request, well: web.Response) -> web.StreamResponse:
    async def drops() -> AsyncIterator[bytes]:
        body = _body(well)
        for start in range(0, len(body), fault.chunk):
            yield body[start : start + fault.chunk]
            await asyncio.sleep(fault.interval)

    return await _stream(request, well, drops(), length=len(_body(well)))


async def _endless(_fault: Fault, request: web.Request, well: web.Response) -> web.StreamResponse:
    return await _stream(request, well, _blocks(itertools.chain([_body(well)], itertools.repeat(BLOCK))))


async def _too_large(fault: Fault, request: web.Request, well: web.Response) -> web.StreamResponse:
    declared = fault.size if fault.kind == FaultKind.TOO_LARGE else None
    return await _stream(request, well, _blocks(_padded(_body(well), fault.size)), length=declared)


def _padded(body: bytes, size: int) -> Iterable[bytes]:
    yield body[:size]
    for sent in range(len(body), size, len(BLOCK)):
        yield BLOCK[: size - sent]


async def _blocks(blocks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for block in blocks:
        yield block


async def _stream(
    request: web.Request, well: web.Response, blocks: AsyncIterator[bytes], *, length: int | None = None
) -> web.StreamResponse:
    """Send block by block until the client has had enough."""
    response = web.StreamResponse(headers={"Content-Type": well.content_type})
    response.content_length = length
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        async for block in blocks:
            await response.write(block)
    return response


def _body(response: web.Response) -> bytes:
    assert isinstance(response.body, bytes)  # noqa: S101 - every site of the sandbox answers with bytes
    return response.body


REPLACED: dict[str, Callable[[Fault, ErrorPage], web.Response]] = {
    FaultKind.STATUS: _status,
    FaultKind.EXPIRED: _status,
    FaultKind.REDIRECT: _redirect,
    FaultKind.HTML: _html,
    FaultKind.EMPTY: _empty,
    FaultKind.GARBAGE: _garbage,
    FaultKind.TOO_MANY_PIXELS: _too_many_pixels,
    FaultKind.ERROR_JSON: _error_json,
}
DISTORTED: dict[str, Callable[[Fault, web.Request, web.Response], Awaitable[web.StreamResponse]]] = {
    FaultKind.DELAY: _well,
    FaultKind.WRONG_TYPE: _wrong_type,
    FaultKind.CORRUPT: _corrupt,
    FaultKind.RESET: _reset,
    FaultKind.SHORT_BODY: _short_body,
    FaultKind.WRONG_LENGTH: _wrong_length,
    FaultKind.DRIP: _drip,
    FaultKind.ENDLESS: _endless,
    FaultKind.TOO_LARGE: _too_large,
    FaultKind.TOO_LARGE_UNDECLARED: _too_large,
}

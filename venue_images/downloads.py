"""Fetches one photo: from public addresses only, limited in bytes and time, checked, its failures judged.

The guard sits where sockets are made, so that redirects, odd spellings of an address and a name that changes its answer
between two looks all meet it: the resolver refuses a name when any of its answers is not public, and the socket factory
refuses the address itself, which is the only thing asked about a literal one. A host of ``VENUE_IMAGES_TRUSTED_HOSTS``
is let through for the hop that names it and for no other.

A host counts requests, so one call of :func:`fetch` sends one request a hop: nothing is repeated in silence.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import re
import socket
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http_exceptions import ContentEncodingError
from yarl import URL

from venue_images import __version__, conf, photo_urls
from venue_images.errors import ErrorType, UploadError, error_type_of_status
from venue_images.image_check import ImageFacts, inspect

HEADERS = {
    "Accept": "image/avif,image/webp,image/jpeg,image/png,image/gif,*/*;q=0.1",
    "Accept-Encoding": "identity",
}
MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: Seconds for name, connection and TLS together.
CONNECT_TIMEOUT = 10.0
#: Seconds without a single byte.
SILENCE_TIMEOUT = 10.0
#: Seconds that an idle connection is kept: less than what common servers allow, so that none is used while it closes.
KEEPALIVE = 4.0
#: Bodies from here on are checked in a thread, so that a crafted one can't stop the worker's loop.
LARGE_BODY = 1024 * 1024
#: A host that asks for more gets this; nothing beyond can be written as a time.
LONGEST_RETRY_AFTER = 365 * 86400.0

#: What a failure (or what caused it) stands for, first match first. A certificate may be wrong for an hour or for ever.
FAILURES: tuple[tuple[type[Exception], ErrorType, str], ...] = (
    (TimeoutError, ErrorType.NETWORK_TIMEOUT, "no answer in time"),
    (aiohttp.InvalidURL, ErrorType.INVALID_PROVIDER_URL, "not an address that can be asked"),
    (aiohttp.ClientConnectorCertificateError, ErrorType.DOWNLOAD_FAILED, "its certificate is not valid"),
    (aiohttp.ClientConnectorDNSError, ErrorType.NETWORK_ERROR, "its name can't be resolved"),
    (aiohttp.ClientSSLError, ErrorType.NETWORK_ERROR, "TLS failed"),
    (aiohttp.ClientConnectorError, ErrorType.NETWORK_ERROR, "can't connect"),
    (ContentEncodingError, ErrorType.DOWNLOAD_FAILED, "its compression can't be read"),
    (aiohttp.ClientPayloadError, ErrorType.TRUNCATED_BODY, "the body ended before its end"),
    (aiohttp.ClientConnectionError, ErrorType.NETWORK_ERROR, "the connection was lost"),
    (OSError, ErrorType.NETWORK_ERROR, "the connection was lost"),
    (aiohttp.ClientResponseError, ErrorType.DOWNLOAD_FAILED, "the answer is not HTTP"),
    (Exception, ErrorType.DOWNLOAD_FAILED, "unexpected failure"),
)

#: IPv6 addresses that are given out to hosts (RFC 4291); all others are local, reserved or a disguise.
GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
#: NAT64 (RFC 6052): the last 32 bits are the IPv4 address that is meant.
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
#: Not public whatever the registry of this Python says: protocol assignments, 6to4 and its relays, Teredo, documentation.
NEVER_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)

#: Whether the hop under way goes to a trusted host; copied into the tasks that aiohttp starts for it.
_hop_is_trusted: ContextVar[bool] = ContextVar("hop_is_trusted", default=False)


@dataclass(frozen=True)
class Download:
    """A whole, checked photo; type, extension and size come from its content."""

    body: bytes
    sha256: str
    content_type: str
    extension: str
    width: int
    height: int
    http_status: int


def user_agent() -> str:
    """Program, contact and library, as Wikimedia's policy for user agents wants it."""
    contact = conf.settings().contact or "no contact given"
    return f"VenueImages/{__version__} (photos for a venue catalogue; {contact}) aiohttp/{aiohttp.__version__}"


def open_session() -> aiohttp.ClientSession:
    """The guarded session for all image downloads of one process; to be called in its running loop."""
    connector = aiohttp.TCPConnector(
        resolver=GuardedResolver(aiohttp.ThreadedResolver()),
        socket_factory=guarded_socket,
        limit=0,
        keepalive_timeout=KEEPALIVE,
    )
    return aiohttp.ClientSession(
        connector=connector,
        headers={"User-Agent": user_agent(), **HEADERS},
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(connect=CONNECT_TIMEOUT, sock_read=SILENCE_TIMEOUT),
        middlewares=(_ask_once,),
        trust_env=False,
    )


async def fetch(session: aiohttp.ClientSession, url: str) -> Download:
    """Download the photo behind ``url``, redirects followed.

    Raises :class:`UploadError` alone. Too many redirects, or redirects in a circle, are ``invalid_provider_url``.
    """
    try:
        async with asyncio.timeout(conf.settings().download_timeout):
            return await _follow(session, url)
    except TimeoutError as error:
        raise _failure(error, url) from error


async def _follow(session: aiohttp.ClientSession, url: str) -> Download:
    seen: set[URL] = set()
    for _ in range(MAX_REDIRECTS + 1):
        target = _checked(url)
        if target in seen:
            raise _bad_redirect(url, "redirects in a circle")
        seen.add(target)
        answer = await _ask(session, target)
        if isinstance(answer, Download):
            return answer
        url = answer
    raise _bad_redirect(url, f"more than {MAX_REDIRECTS} redirects")


async def _ask(session: aiohttp.ClientSession, url: URL) -> Download | str:
    """The photo, or the address that the host redirects to."""
    token = _hop_is_trusted.set(is_trusted(url, conf.settings().trusted_hosts))
    try:
        async with session.get(url, allow_redirects=False) as response:
            return await _take(response)
    except UploadError:
        raise
    except Exception as error:
        raise _failure(error, str(url)) from error
    finally:
        _hop_is_trusted.reset(token)


async def _take(response: aiohttp.ClientResponse) -> Download | str:
    if response.status in REDIRECTS and "Location" in response.headers:
        return _redirect_target(response.url, response.headers["Location"])
    if response.status != HTTPStatus.OK:
        raise _refusal(response)
    body = await _read(response, conf.settings().max_bytes)
    facts = await _inspect(response, body)
    return Download(
        body=body,
        sha256=hashlib.sha256(body).hexdigest(),
        content_type=facts.content_type,
        extension=facts.extension,
        width=facts.width,
        height=facts.height,
        http_status=response.status,
    )


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """The decoded body; never holds more than one chunk over ``max_bytes``."""
    if (response.content_length or 0) > max_bytes:
        raise _too_large(response, max_bytes)
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(response, max_bytes)
        chunks.append(chunk)
    return b"".join(chunks)


async def _inspect(response: aiohttp.ClientResponse, body: bytes) -> ImageFacts:
    """The facts of the body; a damaged one that came without a length was most likely cut on its way."""
    max_pixels = conf.settings().max_pixels
    try:
        if len(body) < LARGE_BODY:
            return inspect(body, max_pixels=max_pixels)
        return await asyncio.to_thread(inspect, body, max_pixels=max_pixels)
    except UploadError as error:
        length_told = "Content-Length" in response.headers or "Transfer-Encoding" in response.headers
        cut = not length_told and (not body or error.error_type == ErrorType.CORRUPT_IMAGE)
        error_type = ErrorType.TRUNCATED_BODY if cut else error.error_type
        raise _told(response, error_type, error.message) from None


# Addresses


def is_trusted(url: URL, trusted_hosts: frozenset[str]) -> bool:
    """Whether the owner named this host, or this host and port, as one that may be private."""
    host = (url.raw_host or "").lower()
    bracketed = f"[{host}]" if ":" in host else host
    return not trusted_hosts.isdisjoint({host, bracketed, f"{bracketed}:{url.port}"})


def is_public(address: str) -> bool:
    """Whether the address belongs to the public internet, also when it is an IPv4 address dressed as IPv6."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return is_public(str(ip.ipv4_mapped))
        if ip in NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip not in GLOBAL_UNICAST:
            return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in NEVER_PUBLIC)


def guarded_socket(addr_info: aiohttp.AddrInfoType) -> socket.socket:
    """A socket for this address; the last look before anything is sent."""
    family, kind, protocol, _, address = addr_info
    _check_address(str(address[0]))
    return socket.socket(family, kind, protocol)


class GuardedResolver(AbstractResolver):
    """Refuses a name when any of its addresses is not public."""

    def __init__(self, system: AbstractResolver) -> None:
        self._system = system

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        try:
            answers = await self._system.resolve(host, port, family)
        except UnicodeError:
            raise UploadError(ErrorType.INVALID_PROVIDER_URL, f"{host[:80]} can't be the name of a host") from None
        for answer in answers:
            _check_address(answer["host"])
        return answers

    async def close(self) -> None:
        await self._system.close()


def _check_address(address: str) -> None:
    if not _hop_is_trusted.get() and not is_public(address):
        raise UploadError(ErrorType.BLOCKED_ADDRESS, f"{address} is not a public address")


def _checked(url: str) -> URL:
    """The URL as aiohttp takes it, byte for byte where it can be: a signature may depend on its spelling."""
    try:
        photo_urls.clean(url, own=True)
        return _parse(url.strip())
    except ValueError as error:
        raise UploadError(ErrorType.INVALID_PROVIDER_URL, _one_line(str(error))) from None


def _parse(url: str) -> URL:
    return URL(url, encoded=re.fullmatch("[!-~]*", url) is not None)


# Redirects and refusals


def _redirect_target(url: URL, location: str) -> str:
    try:
        return str(url.join(_parse(location)))
    except ValueError:
        raise _bad_redirect(str(url), "redirects to something that is no URL") from None


def _bad_redirect(url: str, reason: str) -> UploadError:
    return UploadError(ErrorType.INVALID_PROVIDER_URL, f"{photo_urls.shorten(url)}: {reason}")


def _refusal(response: aiohttp.ClientResponse) -> UploadError:
    """The error for a status other than 200, with the time that the host asked for."""
    error = _told(response, error_type_of_status(response.status), f"the host answered {response.status}")
    error.retry_after = parse_retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
    return error


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds from now, of either form of ``Retry-After`` (RFC 9110, 10.2.3).

    None when it is missing or makes no sense, 0 when the time has passed.
    """
    text = (value or "").strip()
    if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", text):
        seconds = float(text)
    else:
        try:
            date = parsedate_to_datetime(text)
        except (ValueError, TypeError, OverflowError):
            return None
        seconds = ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


# Failures


async def _ask_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Turn a lost connection into our own error, before aiohttp asks a second time by itself."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _failure(error, str(request.url)) from error


def _failure(error: Exception, url: str) -> UploadError:
    involved = (error, error.__cause__)
    error_type, meaning = next(
        (error_type, meaning)
        for failure, error_type, meaning in FAILURES
        if any(isinstance(each, failure) for each in involved)
    )
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return UploadError(error_type, _one_line(f"{photo_urls.shorten(url)}: {meaning} ({type(cause).__name__})"))


def _too_large(response: aiohttp.ClientResponse, max_bytes: int) -> UploadError:
    return _told(response, ErrorType.FILE_TOO_LARGE, f"more than {max_bytes} bytes")


def _told(response: aiohttp.ClientResponse, error_type: ErrorType, reason: str) -> UploadError:
    message = _one_line(f"{photo_urls.shorten(str(response.url))}: {reason}")
    return UploadError(error_type, message, http_status=response.status)


def _one_line(text: str) -> str:
    return " ".join(text.split())

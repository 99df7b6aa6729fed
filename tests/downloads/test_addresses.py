"""The guard of the downloads: no socket is opened to an address that is not public."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import sys
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from tests.downloads.photo_hosts import (
    PHOTO,
    Configure,
    Host,
    redirects,
    refusal,
    says,
)
from venue_images import downloads
from venue_images.downloads import Download, GuardedResolver, fetch, guarded_socket, is_public
from venue_images.errors import ErrorType, UploadError


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

"""The client's address behind proxies, and on sockets that take both families."""

import logging
from pathlib import Path
from typing import Any

import pytest

from acmehub.acme.server.client_address import TrustedProxies, client_address
from acmehub.config import Acme
from acmehub.testing.acme_client import AcmeClient
from tests.acme.lab import BASE, laboratory

PROXIES = ("10.0.0.0/8", "::1/128")


def _scope(peer: str | None, *forwarded: str) -> Any:
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    return {"type": "http", "client": None if peer is None else (peer, 1), "headers": headers}


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("198.51.100.1", (), "198.51.100.1"),
        ("198.51.100.1", ("192.0.2.7",), "198.51.100.1"),
        ("10.0.0.1", ("192.0.2.7",), "192.0.2.7"),
        ("10.0.0.1", ("203.0.113.9, 192.0.2.7",), "192.0.2.7"),
        ("10.0.0.1", ("203.0.113.9, 192.0.2.7, 10.2.3.4",), "192.0.2.7"),
        ("10.0.0.1", ("203.0.113.9", "192.0.2.7"), "192.0.2.7"),
        ("10.0.0.1", ("10.9.9.9",), "10.9.9.9"),
        ("::1", ("2001:db8::7",), "2001:db8::7"),
        ("::1", ("2001:DB8:0::7",), "2001:db8::7"),
        (None, ("192.0.2.7",), ""),
        # IPv4 as a socket for both families spells it
        ("::ffff:198.51.100.1", (), "198.51.100.1"),
        ("::ffff:198.51.100.1", ("192.0.2.7",), "198.51.100.1"),
        ("::ffff:10.0.0.1", ("192.0.2.7",), "192.0.2.7"),
        ("::ffff:10.0.0.1", ("::ffff:192.0.2.7",), "192.0.2.7"),
        ("::ffff:10.0.0.1", ("192.0.2.7, ::ffff:10.0.0.2",), "192.0.2.7"),
        ("fe80::1%eth0", (), "fe80::1"),
        # with the port, as some proxies write it
        ("10.0.0.1", ("192.0.2.7:51000",), "192.0.2.7"),
        ("10.0.0.1", ("[2001:db8::7]:51000",), "2001:db8::7"),
        ("10.0.0.1", ("[2001:db8::7]",), "2001:db8::7"),
        ("10.0.0.1", ("192.0.2.7:51000, 10.0.0.2:443",), "192.0.2.7"),
        ("10.0.0.1", ("[::ffff:192.0.2.7]:51000",), "192.0.2.7"),
    ],
)
def test_only_what_trusted_proxies_added_is_believed(
    peer: str | None, forwarded: tuple[str, ...], address: str
) -> None:
    assert client_address(_scope(peer, *forwarded), TrustedProxies(PROXIES)) == address


@pytest.mark.parametrize(
    "forwarded",
    [
        (),
        ("",),
        ("nonsense",),
        ("unknown",),
        ("192.0.2.7, unix:",),
        ("192.0.2.7,",),
        ("192.0.2.7, nonsense, 10.2.3.4",),
        ("192.0.2.7:",),
        ("192.0.2.7:123456",),
        ("[2001:db8::7",),
        ("2001:db8::7]:1",),
        ("[]:1",),
        (":1",),
        ("1" * 5000,),
    ],
    ids=lambda forwarded: ascii("|".join(forwarded))[:40],
)
def test_a_client_that_a_trusted_proxy_does_not_name_has_no_address(forwarded: tuple[str, ...]) -> None:
    assert client_address(_scope("10.0.0.1", *forwarded), TrustedProxies(PROXIES)) == ""


@pytest.mark.parametrize("peer", ["198.51.100.1", "10.0.0.1"])
@pytest.mark.parametrize("name", [b"x-real-ip", b"forwarded", b"true-client-ip", b"x-forwarded"])
def test_no_other_header_says_anything(peer: str, name: bytes) -> None:
    scope = _scope(peer, "192.0.2.7")
    scope["headers"] = [(name, b"for=203.0.113.9" if name == b"forwarded" else b"203.0.113.9"), *scope["headers"]]
    expected = client_address(_scope(peer, "192.0.2.7"), TrustedProxies(PROXIES))
    assert client_address(scope, TrustedProxies(PROXIES)) == expected


async def test_a_running_application_believes_the_proxies_of_its_configuration_and_no_others(folder: Path) -> None:
    """The peer of the tests is 127.0.0.1; a token is bound from its networks only."""
    for proxies, forwarded, status in (
        (("127.0.0.1",), "192.0.2.7", 201),
        (("127.0.0.1",), "198.51.100.1", 403),
        ((), "192.0.2.7", 403),
    ):
        async with laboratory(folder, Acme(), trusted_proxies=proxies) as lab:
            _, external = await lab.token(networks=("192.0.2.0/24",))
            lab.http.headers["x-forwarded-for"] = forwarded
            lab.http.headers["x-real-ip"] = "203.0.113.9"
            client = await AcmeClient.discover(lab.http, f"{BASE}/acme/directory")
            assert (await client.register(external, status=status)).status == status


def test_without_proxies_the_header_means_nothing() -> None:
    assert client_address(_scope("10.0.0.1", "192.0.2.7"), TrustedProxies()) == "10.0.0.1"


@pytest.mark.parametrize("network", ["::ffff:10.0.0.0/104", "::ffff:10.0.0.1"])
def test_proxies_may_be_written_in_either_spelling(network: str) -> None:
    for peer in ("10.0.0.1", "::ffff:10.0.0.1"):
        assert client_address(_scope(peer, "192.0.2.7"), TrustedProxies([network])) == "192.0.2.7"


def test_an_unreadable_hop_is_said_once_and_cannot_forge_a_line(caplog: pytest.LogCaptureFixture) -> None:
    proxies = TrustedProxies(PROXIES)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert client_address(_scope("10.0.0.1", "a\x9b\u0085b"), proxies) == ""
    (line,) = caplog.messages
    assert "10.0.0.1" in line
    assert "X-Forwarded-For" in line
    assert line.isprintable()

"""The client's address behind proxies."""

from ipaddress import ip_network
from typing import Any

import pytest

from acmehub.acme.server.client_address import client_address

PROXIES = (ip_network("10.0.0.0/8"), ip_network("::1/128"))


def _scope(peer: str | None, *forwarded: str) -> Any:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
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
        ("10.0.0.1", (), "10.0.0.1"),
        ("10.0.0.1", ("nonsense",), "10.0.0.1"),
        ("::1", ("2001:db8::7",), "2001:db8::7"),
        (None, ("192.0.2.7",), ""),
    ],
)
def test_only_what_trusted_proxies_added_is_believed(
    peer: str | None, forwarded: tuple[str, ...], address: str
) -> None:
    assert client_address(_scope(peer, *forwarded), PROXIES) == address


def test_without_proxies_the_header_means_nothing() -> None:
    assert client_address(_scope("10.0.0.1", "192.0.2.7"), ()) == "10.0.0.1"

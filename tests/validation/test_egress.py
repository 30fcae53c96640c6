"""Where the hub may connect to (docs/reliability.md section 5, "Mode verify")."""

import ipaddress
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acmehub.config import Verify
from acmehub.dns01.resolver import Resolver
from acmehub.validation.egress import Egress


def egress(*networks: str) -> Egress:
    settings = Verify(networks=networks) if networks else Verify()
    return Egress(settings, cast(Resolver, None))


def refusal(made: Egress, address: str) -> str | None:
    return made.refusal(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "2606:4700::1", "fd12:3456::1"]
)
def test_public_and_private_hosts_are_asked_by_default(address: str) -> None:
    assert refusal(egress(), address) is None


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.10",
        "::1",
        "0.0.0.0",
        "::",
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fe80::1",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "240.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "fec0::1",
    ],
)
def test_special_addresses_are_closed_until_a_network_names_them(address: str) -> None:
    assert refusal(egress(), address) is not None
    assert refusal(egress("0.0.0.0/0", "::/0", "10.0.0.0/8"), address) is not None
    assert refusal(egress(f"{address}"), address) is None


def test_listed_networks_are_the_only_ones() -> None:
    made = egress("10.0.0.0/8", "127.0.0.0/8")
    assert refusal(made, "10.9.9.9") is None
    assert refusal(made, "127.0.0.1") is None
    assert refusal(made, "192.0.2.1") == "192.0.2.1 is outside the allowed networks"
    assert refusal(made, "2001:db8::1") is not None
    assert refusal(made, "::1") is not None


def test_without_networks_nothing_is_asked() -> None:
    made = Egress(Verify(networks=()), cast(Resolver, None))
    assert refusal(made, "8.8.8.8") is not None


@given(st.ip_addresses())
def test_no_special_address_slips_through(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if egress().refusal(address) is None:
        special = (address.is_loopback, address.is_link_local, address.is_multicast, address.is_unspecified)
        assert not any(special)
        if isinstance(address, ipaddress.IPv6Address):
            assert address.ipv4_mapped is None
            assert address.sixtofour is None
            assert address.teredo is None

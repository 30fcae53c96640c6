"""Where the hub may connect to (docs/reliability.md section 5, "Mode verify")."""

import ipaddress
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acmehub.config import Verify
from acmehub.dns01.resolver import Resolver
from acmehub.validation.egress import Egress
from acmehub.validation.special_addresses import embedded

ORDINARY = [  # not of the internet, and allowed by default
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
]


def egress(*networks: str) -> Egress:
    settings = Verify(networks=networks) if networks else Verify()
    return Egress(settings, cast(Resolver, None))


def refusal(made: Egress, address: str) -> str | None:
    return made.refusal(address)


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
        "192.0.2.1",
        "192.31.196.1",
        "192.52.193.1",
        "192.88.99.1",
        "192.175.48.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "::7f00:1",
        "::808:808",
        "::ffff:0:7f00:1",
        "64:ff9b:1::7f00:1",
        "64:ff9b::808:808",
        "100::1",
        "100:0:0:1::1",
        "2001:1::1",
        "2001:2::1",
        "2001:10::1",
        "2001:20::1",
        "2001:db8::1",
        "2620:4f:8000::1",
        "3fff::1",
        "5f00::1",
        "fd00:42::42",
        "fd00:c1::a9fe:a9fe",
        "fd00:ec2::23",
    ],
)
def test_special_addresses_are_closed_until_a_network_names_them(address: str) -> None:
    assert refusal(egress(), address) is not None
    assert refusal(egress("0.0.0.0/0", "::/0", "10.0.0.0/8"), address) is not None
    inner = [str(item) for item in embedded(ipaddress.ip_address(address))]
    assert refusal(egress(address, *inner), address) is None


@pytest.mark.parametrize(
    ("network", "template"),
    [
        ("::/96", "::{}"),
        ("::ffff:0:0/96", "::ffff:{}"),
        ("::ffff:0:0:0/96", "::ffff:0:{}"),
        ("64:ff9b::/96", "64:ff9b::{}"),
        ("64:ff9b:1::/48", "64:ff9b:1::{}"),
        ("2002::/16", "2002:{}::1"),
        ("2001::/32", "2001:0:{}::f7f7:f7f7"),
        ("2606:4700::/32", "2606:4700::5efe:{}"),
        ("2606:4700::/32", "2606:4700::200:5efe:{}"),
    ],
)
def test_an_ipv4_address_within_an_ipv6_address_is_judged_as_itself(network: str, template: str) -> None:
    everything = egress(network, "0.0.0.0/0")
    assert "loopback" in str(refusal(everything, template.format("7f00:1")))
    assert "metadata" in str(refusal(everything, template.format("a9fe:a9fe")))
    assert "10.0.0.1 is outside" in str(refusal(egress(network, "8.0.0.0/8"), template.format("a00:1")))
    assert refusal(everything, template.format("808:808")) is None


def test_the_client_of_a_teredo_address_is_judged_as_well() -> None:
    made = egress("2001::/32", "0.0.0.0/0")
    assert "127.0.0.1 (loopback)" in str(refusal(made, "2001:0:808:808::80ff:fffe"))


def test_what_was_listed_is_what_the_operator_wrote_and_not_everything() -> None:
    assert not egress().listed("10.0.0.1")
    assert not egress("0.0.0.0/0", "::/0").listed("2606:4700::1")
    assert egress("10.0.0.0/8", "0.0.0.0/0").listed("10.0.0.1")
    assert not egress("10.0.0.0/8", "0.0.0.0/0").listed("192.168.0.1")


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
    if egress().refusal(str(address)) is None:
        special = (address.is_loopback, address.is_link_local, address.is_multicast, address.is_unspecified)
        assert not any(special)
        if isinstance(address, ipaddress.IPv6Address):
            assert address.ipv4_mapped is None
            assert address.sixtofour is None
            assert address.teredo is None
            assert int(address) >> 32
        assert address.is_global or any(address in network for network in ORDINARY)

"""Addresses that are no ordinary hosts, and IPv4 addresses that stand in IPv6 addresses.

From the IANA special-purpose address registries (RFC 6890) and what clouds publish of their metadata services.
"""

import ipaddress
from collections.abc import Iterator

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_SPECIAL = (
    ("0.0.0.0/8", "this network"),
    ("100.100.100.200/32", "cloud metadata"),
    ("127.0.0.0/8", "loopback"),
    ("168.63.129.16/32", "cloud metadata"),
    ("169.254.0.0/16", "link-local, cloud metadata"),
    ("192.0.0.0/24", "protocol assignments, cloud metadata"),
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", "AS112"),
    ("192.52.193.0/24", "AMT relays"),
    ("192.88.99.0/24", "6to4 relays"),
    ("192.175.48.0/24", "AS112"),
    ("198.18.0.0/15", "benchmarks"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::/96", "IPv4 written as IPv6"),
    ("::ffff:0:0/96", "IPv4 written as IPv6"),
    ("::ffff:0:0:0/96", "translated IPv4"),
    ("64:ff9b::/96", "translated IPv4"),
    ("64:ff9b:1::/48", "translated IPv4"),
    ("100::/64", "discarded"),
    ("100:0:0:1::/64", "dummy"),
    ("2001::/32", "tunnelled IPv4"),
    ("2001::/23", "protocol assignments"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "tunnelled IPv4"),
    ("2620:4f:8000::/48", "AS112"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "segment routing"),
    ("fd00:42::42/128", "cloud metadata"),
    ("fd00:c1::a9fe:a9fe/128", "cloud metadata"),
    ("fd00:ec2::/32", "cloud metadata"),
    ("fd20:ce::254/128", "cloud metadata"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
)
SPECIAL = tuple((ipaddress.ip_network(text), reason) for text, reason in _SPECIAL)
"""Ranges and why they are special; a range comes before one that contains it."""

_LAST_32 = tuple(
    ipaddress.IPv6Network(text)
    for text in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")
)
_NOT_IPV4 = (ipaddress.IPv6Address("::"), ipaddress.IPv6Address("::1"))
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)  # the first half of an interface identifier (RFC 5214 section 6.1)


def embedded(address: Address) -> Iterator[ipaddress.IPv4Address]:
    """The IPv4 addresses that stand in an IPv6 address: those that its packets may be delivered to in the end."""
    if not isinstance(address, ipaddress.IPv6Address) or address in _NOT_IPV4:
        return
    last = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if any(address in network for network in _LAST_32) or int(address) >> 32 & 0xFFFF_FFFF in _ISATAP:
        yield last
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:  # server and client (RFC 4380 section 4)
        yield from address.teredo

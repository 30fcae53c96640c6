"""The client's address: the peer's, or the one that a trusted proxy reports in `X-Forwarded-For`."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from litestar.types import HTTPScope

Network = IPv4Network | IPv6Network


def client_address(scope: HTTPScope, proxies: Sequence[Network]) -> str:
    """The client's IP address; empty where the transport has none.

    `X-Forwarded-For` is read from the right, as long as the address before it is a trusted proxy's.
    """
    client = scope.get("client")
    address = client[0] if client else ""
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    hops = [hop.strip() for value in values for hop in value.split(",")]
    while hops and _trusted(address, proxies):
        hop = hops.pop()
        if not _is_address(hop):
            break
        address = hop
    return address


def _trusted(address: str, proxies: Sequence[Network]) -> bool:
    return _is_address(address) and any(ip_address(address) in network for network in proxies)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True

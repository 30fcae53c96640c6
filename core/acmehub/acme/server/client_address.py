"""The client's address: the peer's, or the one that a trusted proxy reports in `X-Forwarded-For`."""

import functools
import logging
import re
from collections.abc import Iterable

from litestar.types import HTTPScope

from acmehub.models.addresses import parse_address, parse_network
from acmehub.models.text import escape_controls
from acmehub.runtime.lru import Lru

_HOP = re.compile(r"\[([^\]]*)\](?::\d{1,5})?|([^:]*):\d{1,5}")  # [v6], [v6]:port, v4:port
_MOST_KNOWN = 4096  # addresses
_LONGEST = 64  # characters of an address with a zone; a longer text is not kept
_SHOWN = 100  # characters of a hop in the log
_log = logging.getLogger(__name__)


class TrustedProxies:
    """The proxies whose `X-Forwarded-For` is believed: addresses and networks of `trusted_proxies`."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = tuple(map(parse_network, networks))
        self._known: Lru[str, bool] = Lru(_MOST_KNOWN)
        self._has_told = False

    def __contains__(self, address: str) -> bool:
        """Whether an address, as `plain_address` spells it, is a trusted proxy's."""
        if not self._networks or not address:
            return False
        known = self._known.get(address)
        if known is None:
            parsed = parse_address(address)
            known = any(parsed in network for network in self._networks)
            self._known.put(address, known)
        return known

    def tell_unreadable(self, proxy: str, hop: str | None) -> None:
        """Log, once in a process, that a proxy does not name its client: None without the header."""
        if not self._has_told:
            self._has_told = True
            said = "no X-Forwarded-For" if hop is None else f"X-Forwarded-For: {escape_controls(hop[:_SHOWN])!r}"
            _log.warning(
                "the trusted proxy %s names no client address (%s): such clients have no address, and tokens with "
                "networks refuse them; this is said once",
                proxy,
                said,
            )


def client_address(scope: HTTPScope, proxies: TrustedProxies) -> str:
    """The client's IP address in one spelling (IPv4 is never written as IPv6); empty where it is not known.

    `X-Forwarded-For` is read from the right, as long as the address before it is a trusted proxy's. Where such a proxy
    names no client, or something that is no address, the client has none: the proxy's own would be wrong.
    """
    client = scope.get("client")
    peer = plain_address(client[0]) if client else ""
    if peer not in proxies:
        return peer
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    hops = [hop for value in values for hop in value.split(",")]
    if not hops:
        proxies.tell_unreadable(peer, None)
        return ""
    address = peer
    while hops and address in proxies:
        hop = hops.pop().strip()
        found = _address_of(hop)
        if not found:
            proxies.tell_unreadable(address, hop)
            return ""
        address = found
    return address


def plain_address(text: str) -> str:
    """An address from outside in one spelling; empty for a text that is none."""
    return _plain(text) if len(text) <= _LONGEST else ""


@functools.lru_cache(_MOST_KNOWN)
def _plain(text: str) -> str:
    try:
        return str(parse_address(text))
    except ValueError:
        return ""


def _address_of(hop: str) -> str:
    """The address of a hop, which may have a port; empty when it has none."""
    parts = _HOP.fullmatch(hop)
    return plain_address((parts[1] or parts[2] or "") if parts else hop)

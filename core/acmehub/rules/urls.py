"""URLs that the hub is given to connect to: their host, and whether a connection there is safe.

Only plain ASCII URLs without user names count, so that no two parsers see different hosts in one.
"""

import ipaddress
import re

import msgspec

_URL = re.compile(
    r"(?i:(https?))://(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::([0-9]{1,5}))?"
    r"(?:[/?#][A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*)?"
)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::([0-9]{1,5}))?")
_PORTS = {"https": 443, "http": 80}


class UrlOrigin(msgspec.Struct, frozen=True):
    """Where a URL leads: scheme, host (lower case, IPv6 in brackets) and port."""

    scheme: str
    host: str
    port: int

    @property
    def place(self) -> str:
        """Host and port, the port left out where it is the scheme's own; what `url_hosts` has."""
        return self.host if self.port == _PORTS[self.scheme] else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine: `localhost`, or a loopback address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False


def origin(url: str) -> UrlOrigin | None:
    """The origin of an http or https URL; None for any other text."""
    found = _URL.fullmatch(url)
    return None if found is None else _origin(found.group(1).lower(), found.group(2), found.group(3))


def https_or_loopback(url: str) -> bool:
    """Whether `url` is an https URL, or an http URL of this machine."""
    found = origin(url)
    return found is not None and (found.scheme == "https" or found.is_loopback)


def place_of(text: str, scheme: str) -> str:
    """`HOST` or `HOST:PORT` as `UrlOrigin.place` has it; empty for any other text."""
    found = _HOST.fullmatch(text)
    made = None if found is None else _origin(scheme, found.group(1), found.group(2))
    return "" if made is None else made.place


def _origin(scheme: str, host: str, port: str | None) -> UrlOrigin | None:
    number = int(port) if port else _PORTS[scheme]
    name = host.lower().rstrip(".")
    return UrlOrigin(scheme, name, number) if name and 0 < number < 65_536 else None

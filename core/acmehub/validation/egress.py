"""Egress of the validator: where it may connect to, and the connection.

A name is resolved once, and the connection goes to an address that was checked, so that DNS cannot change in between.
The environment is not used: no proxy, no credentials.
"""

import asyncio
import ipaddress
import os
import socket
import ssl
from collections.abc import Sequence

import msgspec

from acmehub.config import Verify
from acmehub.dns01 import DnsError
from acmehub.dns01.resolver import Resolver
from acmehub.models.problems import ProblemType
from acmehub.validation.errors import ValidationFailed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

EACH_KIND = 2  # addresses of a host that are tried per protocol, first IPv6, then IPv4

# Refused unless the configuration names them (IANA special-purpose registries, metadata services of clouds).
_SPECIAL = (
    ("0.0.0.0/8", "this network"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local, cloud metadata"),
    ("100.100.100.200/32", "cloud metadata"),
    ("168.63.129.16/32", "cloud metadata"),
    ("192.0.0.0/24", "protocol assignments, cloud metadata"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::ffff:0:0/96", "IPv4 written as IPv6"),
    ("64:ff9b::/96", "translated IPv4"),
    ("64:ff9b:1::/48", "translated IPv4"),
    ("100::/64", "discarded"),
    ("2001::/32", "tunnelled IPv4"),
    ("2002::/16", "tunnelled IPv4"),
    ("fd00:ec2::254/128", "cloud metadata"),
    ("fd20:ce::254/128", "cloud metadata"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
)


class Connection(msgspec.Struct, frozen=True):
    """An open connection; `at` is its remote address and port, for messages."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    at: str

    async def close(self) -> None:
        """Close at once, without waiting for the other side."""
        self.writer.transport.abort()
        await asyncio.sleep(0)


class Egress:
    """The networks of `[verify]`. `connect` appends each address that it tries to `trail`, for messages of timeouts."""

    def __init__(self, settings: Verify, resolver: Resolver) -> None:
        self._resolver = resolver
        self._networks = [ipaddress.ip_network(text) for text in settings.networks]
        self._special = [(ipaddress.ip_network(text), reason) for text, reason in _SPECIAL]
        self._seconds = settings.timeout / (2 * EACH_KIND)

    def refusal(self, address: Address) -> str | None:
        """Why the hub does not connect to an address; None when it may.

        It may connect to a special address only if a configured network lies within that special range.
        """
        allowed = [network for network in self._networks if address in network]
        for special, reason in self._special:
            if address in special:
                named = any(network.subnet_of(special) for network in allowed)  # type: ignore[arg-type]
                return None if named else f"{address} ({reason}) is not allowed"
        return None if allowed else f"{address} is outside the allowed networks"

    async def addresses(self, host: str) -> Sequence[str]:
        """Allowed addresses of a host (name or address), IPv6 first. Raises `ValidationFailed` if it has none."""
        try:
            found: Sequence[str] = (str(ipaddress.ip_address(host)),)
        except ValueError:
            found = await self._resolved(host)
        checked = [(text, self.refusal(ipaddress.ip_address(text))) for text in found]
        good = [text for text, refusal in checked if refusal is None]
        if not good:
            reasons = ", ".join(refusal for _, refusal in checked if refusal)
            raise ValidationFailed(ProblemType.CONNECTION, f"{host}: {reasons}")
        six = [text for text in good if ":" in text]
        four = [text for text in good if ":" not in text]
        return (*six[:EACH_KIND], *four[:EACH_KIND])

    async def _resolved(self, host: str) -> Sequence[str]:
        try:
            found = await self._resolver.addresses(host)
        except DnsError as error:
            raise ValidationFailed(ProblemType.DNS, error.detail) from error
        if not found:
            raise ValidationFailed(ProblemType.DNS, f"{host} has no address in DNS (A, AAAA)")
        return found

    async def connect(
        self, host: str, port: int, trail: list[str], *, tls: ssl.SSLContext | None = None, sni: str | None = None
    ) -> Connection:
        """Connect to `host`, first by IPv6, then by IPv4. Raises `ValidationFailed`."""
        failures: list[str] = []
        for address in await self.addresses(host):
            at = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
            trail.append(at)
            try:
                async with asyncio.timeout(self._seconds):
                    plain = await _connected(address, port)
            except TimeoutError:
                failures.append(f"{at}: no connection within {self._seconds:g} s")
            except OSError as error:
                failures.append(f"{at}: {_message(error)}")
            else:
                try:
                    reader, writer = await asyncio.open_connection(sock=plain, ssl=tls, server_hostname=sni)
                except OSError as error:
                    raise ValidationFailed(
                        ProblemType.TLS, f"{host} at {at}: TLS failed ({_message(error)})"
                    ) from error
                return Connection(reader, writer, at)
        raise ValidationFailed(ProblemType.CONNECTION, f"{host} cannot be reached: {'; '.join(failures)}")


async def _connected(address: str, port: int) -> socket.socket:
    """A socket that is connected to an address; resolves no name."""
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, (address, port))
    except BaseException:
        made.close()
        raise
    return made


def _message(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or type(error).__name__
    return os.strerror(error.errno).lower() if error.errno else type(error).__name__

"""Egress of the validator: where it may connect to and how often, and the connection.

Every socket of mode `verify` goes through it, but those to the configured resolvers. A name is resolved once, and the
connection goes to an address that was checked, so that DNS cannot change in between. The environment is not used: no
proxy, no credentials.
"""

import asyncio
import ipaddress
import os
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec

from acmehub.config import Verify
from acmehub.dns01 import DnsError
from acmehub.dns01.resolver import Resolver
from acmehub.models.problems import ProblemType
from acmehub.validation.errors import ValidationFailed
from acmehub.validation.special_addresses import SPECIAL, embedded
from acmehub.validation.turns import Turns

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

EACH_KIND = 2  # addresses of a host that are tried per protocol, first IPv6, then IPv4


class Connection(msgspec.Struct, frozen=True):
    """An open connection; `at` is its remote address and port, for messages, `listed` what `Egress.listed` says."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    at: str
    listed: bool

    async def close(self) -> None:
        """Close at once, without waiting for the other side."""
        self.writer.transport.abort()
        await asyncio.sleep(0)


class Egress:
    """The networks of `[verify]`. `connect` appends each address that it tries to `trail`, for messages of timeouts."""

    def __init__(self, settings: Verify, resolver: Resolver) -> None:
        self._resolver = resolver
        self._networks = [ipaddress.ip_network(text) for text in settings.networks]
        self._turns = Turns()
        self._seconds = settings.timeout / (2 * EACH_KIND)

    def refusal(self, host: str) -> str | None:
        """Why the hub does not connect to an address; None when it may.

        It may connect to a special address only if a configured network lies within that special range. An address that
        has an IPv4 address in it needs the permission for that one as well.
        """
        address = ipaddress.ip_address(host)
        allowed = [network for network in self._networks if address in network]
        if not allowed:
            return f"{host} is outside the allowed networks"
        special = next(((network, reason) for network, reason in SPECIAL if address in network), None)
        if special is not None and not any(network.subnet_of(special[0]) for network in allowed):  # type: ignore[arg-type]
            return f"{host} ({special[1]}) is not allowed"
        within = next(filter(None, map(self.refusal, map(str, embedded(address)))), None)
        return within and f"{host}: {within}"

    def listed(self, host: str) -> bool:
        """Whether the operator has listed a network with this address: one that is not everything."""
        address = ipaddress.ip_address(host)
        return any(network.prefixlen and address in network for network in self._networks)

    def turn(self, host: str) -> AbstractAsyncContextManager[None]:
        """Wait until an address may be connected to once more; the connection is made and used within the context."""
        return self._turns.of(ipaddress.ip_address(host))

    async def addresses(self, host: str) -> Sequence[str]:
        """Allowed addresses of a host (name or address), IPv6 first. Raises `ValidationFailed` if it has none."""
        try:
            found: Sequence[str] = (str(ipaddress.ip_address(host)),)
        except ValueError:
            found = await self._resolved(host)
        checked = [(text, self.refusal(text)) for text in found]
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

    @asynccontextmanager
    async def connect(
        self, host: str, port: int, trail: list[str], *, tls: ssl.SSLContext | None = None, sni: str | None = None
    ) -> AsyncIterator[Connection]:
        """A connection to `host`, tried by IPv6 first, then by IPv4; closed in the end. Raises `ValidationFailed`."""
        failures: list[str] = []
        for address in await self.addresses(host):
            at = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
            trail.append(at)
            async with self.turn(address):
                try:
                    async with asyncio.timeout(self._seconds):
                        plain = await _connected(address, port)
                except TimeoutError:
                    failures.append(f"{at}: no connection within {self._seconds:g} s")
                    continue
                except OSError as error:
                    failures.append(f"{at}: {_message(error)}")
                    continue
                try:
                    reader, writer = await asyncio.open_connection(sock=plain, ssl=tls, server_hostname=sni)
                except OSError as error:
                    message = f"{host} at {at}: TLS failed ({_message(error)})"
                    raise ValidationFailed(ProblemType.TLS, message) from error
                connection = Connection(reader, writer, at, self.listed(address))
                try:
                    yield connection
                finally:
                    await connection.close()
                return
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

"""Connections: each counts from TCP accept on, before its TLS handshake, for the hub and for its address."""

import asyncio
import logging
import ssl

from uvloop.loop import SSLProtocol  # type: ignore[attr-defined]  # uvloop has no types for it

from acmehub.acme.server.client_address import TrustedProxies, plain_address
from acmehub.config import Limits
from acmehub.models.addresses import address_key

HANDSHAKE_SECONDS = 10.0
"""How long a TLS handshake may take, and the farewell of TLS at the end of a connection."""

LEAST = 8  # connections that one address may have however few are allowed in all, and that are told 503 beyond those
_TELL_SECONDS = 60.0
_log = logging.getLogger(__name__)


class ConnectionPlace:
    """The place that one connection takes, from accept to its end."""

    __slots__ = ("_connections", "_is_beyond", "_key", "_transport")

    def __init__(
        self, connections: "Connections", transport: asyncio.BaseTransport, key: str, *, is_beyond: bool
    ) -> None:
        self._connections: Connections | None = connections
        self._transport = transport
        self._key = key
        self._is_beyond = is_beyond

    @property
    def is_too_much(self) -> bool:
        """Whether the connection came beyond `[limits] connections`, and there are still more than those."""
        return self._is_beyond and self._connections is not None and self._connections.is_full

    def abort(self) -> None:
        """End the connection at once."""
        self._transport.abort()  # type: ignore[attr-defined]  # what it is made of has it

    def give_back(self) -> None:
        """The connection has ended; a second call does nothing."""
        if self._connections is not None:
            self._connections.remove(self, self._key)
            self._connections = None


class Connections:
    """The connections of one server: how many there may be, and how many of one address.

    An address (IPv6: its /64) has a tenth of `[limits] connections` at most, unless `connections_per_address` says
    otherwise; those of trusted proxies are as many as they like. Connections beyond the whole number are served, to be
    told so (`ConnectionPlace.is_too_much`), as long as they are a tenth more at most. One that has no
    place is closed at once, before TLS, without an answer.
    """

    def __init__(self, limits: Limits, proxies: TrustedProxies) -> None:
        self._most = limits.connections
        self._most_told = limits.connections + max(limits.connections // 10, LEAST)
        self._share = limits.connections_per_address or max(limits.connections // 10, LEAST)
        self._proxies = proxies
        self._by_key: dict[str, int] = {}
        self._beginning: set[ConnectionPlace] = set()
        self._is_ending = False
        self._refused = 0
        self._told = -_TELL_SECONDS
        self.count = 0

    @property
    def is_full(self) -> bool:
        """Whether there are more than `[limits] connections`."""
        return self.count > self._most

    def accept(self, transport: asyncio.BaseTransport) -> ConnectionPlace | None:
        """A place for a connection, which is new; None when it is refused, and aborted."""
        peer = transport.get_extra_info("peername")
        address = plain_address(peer[0]) if peer else ""
        key = "" if address in self._proxies else address_key(address)
        number = self._by_key.get(key, 0) + 1
        if self.count >= self._most_told or (key and number > self._share) or self._is_ending:
            self._tell(address)
            transport.abort()  # type: ignore[attr-defined]  # as above
            return None
        self._by_key[key] = number
        self.count += 1
        place = ConnectionPlace(self, transport, key, is_beyond=self.count > self._most)
        self._beginning.add(place)
        return place

    def begun(self, place: ConnectionPlace) -> None:
        """The handshake of a connection is complete, or it has none."""
        self._beginning.discard(place)

    def end_handshakes(self) -> None:
        """End what is within its handshake, and refuse what comes; the server ends."""
        self._is_ending = True
        for place in self._beginning:
            place.abort()

    def remove(self, place: ConnectionPlace, key: str) -> None:
        """A connection with this key has ended."""
        self._beginning.discard(place)
        self.count -= 1
        left = self._by_key[key] - 1
        if left:
            self._by_key[key] = left
        else:
            del self._by_key[key]

    def _tell(self, address: str) -> None:
        """Log that connections are refused, once a minute at most."""
        self._refused += 1
        now = asyncio.get_running_loop().time()
        if now - self._told >= _TELL_SECONDS and not self._is_ending:
            _log.warning(
                "connections refused: the address has its share, or there are too many in all ([limits] connections)",
                extra={"address": address, "refused": self._refused, "open": self.count},
            )
            self._told, self._refused = now, 0


class TlsProtocol(SSLProtocol):  # type: ignore[misc]  # as above
    """TLS of one connection: uvloop's own, which asks for a place before the handshake and gives it back at the end.

    uvloop's servers make the same object by themselves, but tell nobody of a connection before its handshake is done.
    """

    def __init__(
        self,
        protocol: asyncio.Protocol,
        context: ssl.SSLContext,
        connections: Connections,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(
            loop,
            protocol,
            context,
            None,
            server_side=True,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=HANDSHAKE_SECONDS,
        )
        self._protocol = protocol
        self._connections = connections
        self._place: ConnectionPlace | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accepted: begin the handshake, or refuse it."""
        self._place = self._connections.accept(transport)
        if self._place is not None:
            self._protocol.place = self._place  # type: ignore[attr-defined]  # of `limited_protocol`
            super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended, whatever came of its handshake."""
        if self._place is not None:
            self._place.give_back()
        super().connection_lost(exc)

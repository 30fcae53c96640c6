"""The server: answers, updates and faults."""

import asyncio
import enum
import errno
import math
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TSIG
import dns.rrset
import dns.tsig
import dns.update
import msgspec

from acmehub.testing.dns_server.txt_folder import TxtFolder
from acmehub.testing.dns_server.zones import IN, TestZone, TestZones, dns_name

LARGEST_UDP = 1232


def tsig_key(name: str, algorithm: str, secret: str) -> dns.tsig.Key:
    """A TSIG key from its three texts; `secret` is base64."""
    return dns.tsig.Key(dns_name(name), secret.strip(), algorithm.rstrip(".").lower() + ".")


class FaultKind(enum.Enum):
    """What a server does instead of sending a correct answer."""

    DROP = "no answer"
    DELAY = "an answer that comes `seconds` late"
    SERVFAIL = "rcode SERVFAIL"
    REFUSED = "rcode REFUSED"
    NOTIMP = "rcode NOTIMP"
    EMPTY = "NOERROR without any record, not even the SOA"
    TRUNCATE = "over UDP an empty answer with the TC bit"
    WRONG = "another TXT value than there is"
    NO_EFFECT = "an update is answered with NOERROR and not carried out"


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A fault for messages to `address`, about `name`, of type `rdtype` (or `UPDATE`), at most `times` times."""

    kind: FaultKind
    address: str | None = None
    name: str | None = None
    rdtype: str | None = None
    times: int | None = None
    seconds: float = 0.0


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A received message: its question, its address, and the rcode of the answer (None: no answer)."""

    address: str
    transport: str
    name: str
    rdtype: str
    rcode: str | None


class DnsServer:
    """The server; an async context manager. `port` 0 is any free port. `seen` lists the received messages."""

    def __init__(
        self,
        zones: Sequence[str],
        *,
        addresses: Sequence[str] = ("127.0.0.1",),
        port: int = 0,
        keys: Sequence[dns.tsig.Key] = (),
        txt_folder: Path | None = None,
    ) -> None:
        self.addresses = tuple(addresses)
        self.port = port
        self.zones = TestZones([TestZone(apex, self.addresses) for apex in zones])
        self.seen: list[Seen] = []
        self._keys = {key.name: key for key in keys}
        self._faults: dict[int, tuple[Fault, float]] = {}
        self._lags: dict[str, float] = {}
        self._pinned: dict[str, dict[dns.name.Name, int]] = {}
        self._sockets: dict[str, tuple[asyncio.DatagramTransport, asyncio.Server]] = {}
        self._connections: dict[asyncio.Task[None], str] = {}
        self._txt_folder = TxtFolder(txt_folder, self.zones) if txt_folder else None

    async def __aenter__(self) -> Self:
        for _ in range(32):
            try:
                await self._listen(self.port)
            except OSError as error:
                await self.close()
                if self.port or error.errno != errno.EADDRINUSE:
                    raise
            else:
                return self
        raise OSError(errno.EADDRINUSE, "found no port that is free on every address, over UDP and TCP")

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def _listen(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        for address in self.addresses:
            stream = await asyncio.start_server(partial(self._serve_stream, address), address, port)
            port = stream.sockets[0].getsockname()[1]
            try:
                datagrams, _ = await loop.create_datagram_endpoint(
                    partial(_Datagrams, self, address), local_addr=(address, port)
                )
            except OSError:
                stream.close()
                raise
            self._sockets[address] = (datagrams, stream)
        self.port = port

    async def close(self, address: str | None = None) -> None:
        """Stop listening at one address, or at all."""
        for item in [address] if address else list(self._sockets):
            datagrams, stream = self._sockets.pop(item)
            datagrams.close()
            stream.close()
            serving = [task for task, at in self._connections.items() if at == item]
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving)
            await stream.wait_closed()

    def lag(self, address: str, seconds: float = math.inf) -> None:
        """Let `address` serve the zones as they were `seconds` ago (default: frozen as they are; 0: no lag)."""
        self._lags.pop(address, None)
        self._pinned.pop(address, None)
        if seconds == math.inf:
            self._pinned[address] = {zone.apex: zone.version for zone in self.zones}
        elif seconds:
            self._lags[address] = seconds

    @contextmanager
    def fault(self, kind: FaultKind, **only: str | float) -> Iterator[None]:
        """Play a fault during the context; `only` are fields of `Fault` that narrow it."""
        fault = msgspec.convert({"kind": kind, **only}, Fault)
        self._faults[id(fault)] = (fault, math.inf if fault.times is None else fault.times)
        try:
            yield
        finally:
            del self._faults[id(fault)]

    def handle(self, wire: bytes, address: str, transport: str) -> tuple[bytes | None, float]:
        """The answer to a message (None: none), and its delay in seconds."""
        if self._txt_folder:
            self._txt_folder.read()
        try:
            query = dns.message.from_wire(wire, keyring=lambda _message, _name: False)
        except dns.exception.DNSException:
            return None, 0.0
        if query.flags & dns.flags.QR or not query.question:
            return None, 0.0
        update = query.opcode() == dns.opcode.UPDATE
        name = query.question[0].name.to_text(omit_final_dot=True).lower()
        rdtype = "UPDATE" if update else dns.rdatatype.to_text(query.question[0].rdtype)
        fault = self._next_fault(address, name, rdtype)
        answer, rcode = None, None
        if fault is None or fault.kind is not FaultKind.DROP:
            answer, rcode = self._answer(wire, query, address, transport, fault)
        self.seen.append(Seen(address=address, transport=transport, name=name, rdtype=rdtype, rcode=rcode))
        return answer, fault.seconds if fault else 0.0

    def _next_fault(self, address: str, name: str, rdtype: str) -> Fault | None:
        for key, (fault, left) in self._faults.items():
            wanted = ((fault.address, address), (fault.name, name), (fault.rdtype, rdtype))
            if left > 0 and all(only in (None, actual) for only, actual in wanted):
                self._faults[key] = (fault, left - 1)
                return fault
        return None

    def _answer(
        self, wire: bytes, query: dns.message.Message, address: str, transport: str, fault: Fault | None
    ) -> tuple[bytes, str]:
        try:
            query = dns.message.from_wire(wire, keyring=self._keys)
        except (dns.message.UnknownTSIGKey, dns.tsig.BadKey, dns.tsig.BadAlgorithm):
            return _tsig_refusal(query, dns.rcode.BADKEY), "BADKEY"
        except dns.tsig.BadSignature:
            return _tsig_refusal(query, dns.rcode.BADSIG), "BADSIG"
        except dns.tsig.BadTime:
            return _tsig_refusal(query, dns.rcode.BADTIME, self._keys[query.keyname or dns.name.root]), "BADTIME"
        response = dns.message.make_response(query, our_payload=LARGEST_UDP)
        self._fill(query, response, address, transport, fault)
        largest = 65535 if transport == "tcp" else min(max(query.payload, 512), LARGEST_UDP)
        try:
            return response.to_wire(max_size=largest), dns.rcode.to_text(response.rcode())
        except dns.exception.TooBig:
            return _truncated(query).to_wire(), "TC"

    def _fill(
        self,
        query: dns.message.Message,
        response: dns.message.Message,
        address: str,
        transport: str,
        fault: Fault | None,
    ) -> None:
        kind = fault.kind if fault else None
        if kind in (FaultKind.SERVFAIL, FaultKind.REFUSED, FaultKind.NOTIMP):
            response.set_rcode(dns.rcode.from_text(kind.name))
        elif kind is FaultKind.EMPTY:
            response.flags |= dns.flags.AA
        elif kind is FaultKind.TRUNCATE and transport == "udp":
            response.flags |= dns.flags.TC
        elif isinstance(query, dns.update.UpdateMessage):
            if self._keys and not query.had_tsig:
                response.set_rcode(dns.rcode.REFUSED)
            elif kind is not FaultKind.NO_EFFECT:
                response.set_rcode(self.zones.update(query))
        elif query.question[0].rdtype == dns.rdatatype.AXFR:
            response.flags |= dns.flags.AA
            if transport == "tcp":
                self.zones.transfer(response)
            else:
                response.set_rcode(dns.rcode.REFUSED)
        else:
            self.zones.answer(response, self._versions(address))
            if kind is FaultKind.WRONG and query.question[0].rdtype == dns.rdatatype.TXT:
                response.set_rcode(dns.rcode.NOERROR)
                response.answer = [dns.rrset.from_text(query.question[0].name, 60, IN, "TXT", '"not what you seek"')]

    def _versions(self, address: str) -> dict[dns.name.Name, int]:
        if address in self._pinned:
            return self._pinned[address]
        ago = self._lags.get(address)
        return {zone.apex: zone.version_of(ago) for zone in self.zones} if ago else {}

    async def _serve_stream(self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = address
        try:
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                answer, seconds = self.handle(await reader.readexactly(length), address, "tcp")
                await asyncio.sleep(seconds)
                if answer is not None:
                    writer.write(struct.pack("!H", len(answer)) + answer)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client has closed the connection, or `close` was called
        finally:
            del self._connections[task]
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer, address: str) -> None:
        self._server = server
        self._address = address
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer, seconds = self._server.handle(data, self._address, "udp")
        if answer is not None:
            asyncio.get_running_loop().call_later(seconds, self._send, answer, addr)

    def _send(self, answer: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(answer, addr)


def _truncated(query: dns.message.Message) -> dns.message.Message:
    response = dns.message.make_response(query, our_payload=LARGEST_UDP)
    response.flags |= dns.flags.TC
    return response


def _tsig_refusal(query: dns.message.Message, error: int, key: dns.tsig.Key | None = None) -> bytes:
    """NOTAUTH with a TSIG error: unsigned, or for BADTIME signed and with the server's time (RFC 8945 section 5.2)."""
    assert query.tsig is not None
    theirs = query.tsig[0]
    response = dns.message.make_response(query)
    response.set_rcode(dns.rcode.NOTAUTH)
    wire = response.to_wire()
    other = b"" if key is None else struct.pack("!Q", int(time.time()))[2:]
    ours = theirs.replace(mac=b"", error=error, other=other)
    if key is not None:
        ours, _ = dns.tsig.sign(wire, key, ours, theirs.time_signed, theirs.mac)  # type: ignore[no-untyped-call]
    name, rdata = query.tsig.name.to_wire() or b"", ours.to_wire() or b""
    record = name + struct.pack("!HHIH", dns.rdatatype.TSIG, dns.rdataclass.ANY, 0, len(rdata)) + rdata
    (additional,) = struct.unpack("!H", wire[10:12])
    return wire[:10] + struct.pack("!H", additional + 1) + wire[12:] + record

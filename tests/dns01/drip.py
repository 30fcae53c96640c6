"""A name server that truncates over UDP, and over TCP sends an answer byte by byte, without end."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dns.flags
import dns.message


class Drip(asyncio.DatagramProtocol):
    """The server; `connections` counts those over TCP."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        response = dns.message.make_response(dns.message.from_wire(data))
        response.flags |= dns.flags.TC | dns.flags.AA
        assert self._transport is not None
        self._transport.sendto(response.to_wire(), addr)

    async def serve(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(OSError), contextlib.closing(writer):
            writer.write(struct.pack("!H", 60_000))
            while not writer.is_closing():
                writer.write(b"\0")
                await writer.drain()
                await asyncio.sleep(0.02)


@asynccontextmanager
async def dripping_server(address: str, port: int = 0) -> AsyncIterator[Drip]:
    """One at an address, on a free port unless it is given."""
    made = Drip()
    stream = await asyncio.start_server(made.serve, address, port)
    made.port = stream.sockets[0].getsockname()[1]
    datagrams, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: made, local_addr=(address, made.port)
    )
    try:
        yield made
    finally:
        datagrams.close()
        stream.close()
        await stream.wait_closed()

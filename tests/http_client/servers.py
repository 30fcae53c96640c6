"""Small HTTP servers and proxies, in the test's event loop."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import trustme

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Request(msgspec.Struct, frozen=True):
    """A request: its first line, its header lines by name in lower case, its body."""

    line: str
    headers: dict[str, str]
    body: bytes


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request; None at the end of the connection."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
    return Request(head[0], headers, await reader.readexactly(int(headers.get("content-length", "0"))))


def ok(body: bytes = b"", *lines: str, status: str = "200 OK") -> bytes:
    """A response."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


@asynccontextmanager
async def serving(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a server that does as `serve` says with each connection."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(ConnectionError, asyncio.CancelledError):
            await serve(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)


class Answering:
    """A server that answers each request with the next of `answers`, the last one for ever."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers) or [ok()]
        self.requests: list[Request] = []
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while (request := await read_request(reader)) is not None:
            self.requests.append(request)
            writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
            await writer.drain()

    @property
    def lines(self) -> list[str]:
        """The first lines of the requests."""
        return [request.line for request in self.requests]


class Proxy:
    """A proxy: CONNECT makes a tunnel, other requests are answered by itself. `refusal` is sent instead."""

    def __init__(self, refusal: bytes = b"") -> None:
        self.refusal = refusal
        self.requests: list[Request] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await read_request(reader)) is not None:
            self.requests.append(request)
            if self.refusal:
                writer.write(self.refusal)
            elif request.line.startswith("CONNECT "):
                host, _, port = request.line.split(" ")[1].rpartition(":")
                inner_reader, inner_writer = await asyncio.open_connection(host, int(port))
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                try:
                    await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
                finally:
                    inner_writer.transport.abort()
                return
            else:
                writer.write(ok(b"from the proxy"))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(65_536):
        writer.write(part)
        await writer.drain()
    writer.transport.abort()


class Authority:
    """A CA for servers on 127.0.0.1; `file` has its root."""

    def __init__(self, folder: Path, name: str = "127.0.0.1") -> None:
        ca = trustme.CA()
        self.file = folder / "ca.pem"
        ca.cert_pem.write_to_path(self.file)
        self.server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert(name).configure_cert(self.server_tls)

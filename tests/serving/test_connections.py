"""Connections on real sockets: who may have how many, from TCP accept on, and which are ended."""

import asyncio
import functools
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
import uvloop
from uvicorn.server import ServerState

from acmehub.acme.server.client_address import TrustedProxies
from acmehub.config import Config, Limits
from acmehub.serving import connections as module
from acmehub.serving.connections import Connections, TlsProtocol
from acmehub.serving.protocol import limited_protocol
from acmehub.serving.sockets import bind
from acmehub.testing.tls_identity import write_tls_identity

REQUEST = b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n"
SHARE = 8
BIG = b"x" * 300_000


def in_uvloop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that runs in the event loop of `serve`."""

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test(**fixtures))

    return run


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Says which client it sees; a long answer at `/big`."""
    body = BIG if scope["path"] == "/big" else f"client {scope['client'][0]}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


class Server:
    """A listener with its protocol, as `serve` has them."""

    def __init__(self, listening: socket.socket, limits: Limits, context: ssl.SSLContext | None, *proxies: str) -> None:
        config = uvicorn.Config(app, http="httptools", ws="none", lifespan="off", log_config=None)
        config.load()
        self.port = listening.getsockname()[1]
        self.state = ServerState()
        self.connections = Connections(limits, TrustedProxies(proxies))
        self._protocol: Callable[..., asyncio.Protocol] = limited_protocol(limits, self.connections)
        self._config = config
        self._context = context
        self._listening = listening

    async def start(self) -> asyncio.Server:
        """Listen."""
        loop = asyncio.get_running_loop()

        def make() -> Any:
            protocol = self._protocol(config=self._config, server_state=self.state, app_state={})
            return protocol if self._context is None else TlsProtocol(protocol, self._context, self.connections, loop)

        return await loop.create_server(make, sock=self._listening, backlog=512)

    async def until(self, count: int) -> None:
        """Wait until there are so many connections."""
        async with asyncio.timeout(10):
            while self.connections.count != count:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def serving(
    limits: Limits, context: ssl.SSLContext | None, *proxies: str, dual_stack: bool = False
) -> AsyncIterator[Server]:
    with bind(Config(listen=":0" if dual_stack else "127.0.0.1:0")) as listening:
        server = Server(listening, limits, context, *proxies)
        listener = await server.start()
        try:
            yield server
        finally:
            listener.close()
            server.connections.end_handshakes()
            for connection in list(server.state.connections):
                connection.transport.abort()
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def server_context(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return write_tls_identity(tmp_path_factory.mktemp("tls") / "server.pem")


@pytest.fixture(params=["tls", "plain"])
def context(request: pytest.FixtureRequest, server_context: ssl.SSLContext) -> ssl.SSLContext | None:
    return server_context if request.param == "tls" else None


class Peer(asyncio.Transport):
    """A connection from an address."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 1)})

    def abort(self) -> None:
        """Nothing is open."""


def open_silent(port: int, source: str) -> socket.socket:
    """A connection from an address of this machine that says nothing."""
    return socket.create_connection(("127.0.0.1", port), 5, source_address=(source, 0))


async def ask(port: int, source: str, *, tls: bool, request: bytes = REQUEST) -> bytes:
    """The answer to a request; empty when the connection is closed without one."""
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    try:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, local_addr=(source, 0), ssl=trust if tls else None
        )
    except OSError:
        return b""
    try:
        writer.write(request)
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            return head + await reader.readexactly(int(length.split(b":")[1]))
    except (asyncio.IncompleteReadError, OSError):
        return b""
    finally:
        writer.transport.abort()


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed a connection without an answer, within 5 s."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@in_uvloop
async def test_an_address_whose_connections_say_nothing_has_its_share_and_a_neighbour_is_served(
    context: ssl.SSLContext | None, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(Limits(connections=20), context) as server:
        silent = [open_silent(server.port, "127.0.0.1") for _ in range(SHARE + 30)]
        await server.until(SHARE)
        with caplog.at_level(logging.WARNING):
            assert await asyncio.gather(*(asyncio.to_thread(is_closed, item) for item in silent[SHARE:])) == [True] * 30
        assert await ask(server.port, "127.0.0.1", tls=context is not None) == b""
        assert b"client 127.0.0.2" in await ask(server.port, "127.0.0.2", tls=context is not None)
        assert len([line for line in caplog.messages if "connections refused" in line]) == 1
        await server.until(SHARE)
        silent[0].close()
        await server.until(SHARE - 1)
        assert b"client 127.0.0.1" in await ask(server.port, "127.0.0.1", tls=context is not None)
        for item in silent:
            item.close()
        await server.until(0)


@in_uvloop
async def test_a_handshake_that_does_not_come_ends_in_time_and_gives_its_place_back(
    server_context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module.HANDSHAKE_SECONDS == 10
    monkeypatch.setattr(module, "HANDSHAKE_SECONDS", 0.2)
    async with serving(Limits(), server_context) as server:
        silent = open_silent(server.port, "127.0.0.1")
        await server.until(1)
        assert await asyncio.to_thread(is_closed, silent)
        await server.until(0)
        silent.close()


@in_uvloop
async def test_bytes_that_are_no_handshake_give_the_place_back(server_context: ssl.SSLContext) -> None:
    async with serving(Limits(), server_context) as server:
        for data in (REQUEST, b"\x16\x03\x01\x00\x05junk!", b""):
            with open_silent(server.port, "127.0.0.1") as connection:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                assert await asyncio.to_thread(connection.recv, 4096) is not None
        await server.until(0)


@in_uvloop
async def test_connections_within_a_handshake_end_with_the_server(server_context: ssl.SSLContext) -> None:
    async with serving(Limits(), server_context) as server:
        silent = open_silent(server.port, "127.0.0.1")
        await server.until(1)
        server.connections.end_handshakes()
        assert await asyncio.to_thread(is_closed, silent)
        await server.until(0)
        silent.close()


@in_uvloop
async def test_a_trusted_proxy_has_as_many_connections_as_it_likes(context: ssl.SSLContext | None) -> None:
    async with serving(Limits(connections=20), context, "127.0.0.1") as server:
        silent = [open_silent(server.port, "127.0.0.1") for _ in range(SHARE + 4)]
        await server.until(SHARE + 4)
        assert b" 200 OK" in await ask(server.port, "127.0.0.1", tls=context is not None)
        for item in silent:
            item.close()


@in_uvloop
async def test_beyond_the_whole_number_connections_are_told_and_beyond_that_closed(
    context: ssl.SSLContext | None,
) -> None:
    tls = context is not None
    async with serving(Limits(connections=2, connections_per_address=100), context) as server:
        early = [open_silent(server.port, "127.0.0.1") for _ in range(2)]
        await server.until(2)
        answer = await ask(server.port, "127.0.0.2", tls=tls)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 10\r\n" in answer
        await server.until(2)
        late = [open_silent(server.port, "127.0.0.1") for _ in range(SHARE)]
        await server.until(2 + SHARE)
        assert await ask(server.port, "127.0.0.2", tls=tls) == b""
        for item in (*early, *late):
            item.close()
        await server.until(0)
        assert b" 200 OK" in await ask(server.port, "127.0.0.2", tls=tls)


@in_uvloop
async def test_those_who_came_in_time_are_served_while_others_are_told_to_wait() -> None:
    async with serving(Limits(connections=1), None) as server:
        first = open_silent(server.port, "127.0.0.1")
        await server.until(1)
        second = open_silent(server.port, "127.0.0.1")
        await server.until(2)
        for connection, status in ((first, b"200"), (second, b"503")):
            connection.sendall(REQUEST)
            assert (await asyncio.to_thread(connection.recv, 4096)).startswith(b"HTTP/1.1 " + status)
            connection.close()


@in_uvloop
async def test_a_client_that_does_not_read_is_cut_off(context: ssl.SSLContext | None) -> None:
    big = b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n"
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    async with serving(Limits(request_seconds=0.5), context) as server:
        plain = open_silent(server.port, "127.0.0.1")
        connection = plain if context is None else await asyncio.to_thread(trust.wrap_socket, plain)
        await asyncio.to_thread(connection.sendall, big * 60)
        await server.until(1)
        await server.until(0)
        connection.close()
        assert BIG in await ask(server.port, "127.0.0.1", tls=context is not None, request=big)


@in_uvloop
async def test_an_ipv4_client_of_a_socket_for_both_families_has_one_spelling_and_one_share() -> None:
    async with serving(Limits(connections=20), None, dual_stack=True) as server:
        assert b"client 127.0.0.1" in await ask(server.port, "127.0.0.1", tls=False)
        await server.until(0)
        silent = [open_silent(server.port, "127.0.0.1") for _ in range(SHARE + 1)]
        await server.until(SHARE)
        assert await asyncio.to_thread(is_closed, silent[-1])
        assert b"client 127.0.0.2" in await ask(server.port, "127.0.0.2", tls=False)
        for item in silent:
            item.close()
        await server.until(0)


@pytest.mark.parametrize(
    ("addresses", "places"),
    [
        (["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3"], [True, True, False]),
        (["2001:db8::1", "2001:db8::2", "2001:db8:0:1::3"], [True, True, True]),
        (["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"], [True, True, False]),
        (["192.0.2.1", "192.0.2.2", "192.0.2.3"], [True, True, True]),
    ],
)
async def test_an_ipv6_network_of_one_subscriber_has_one_share(addresses: list[str], places: list[bool]) -> None:
    connections = Connections(Limits(connections=100, connections_per_address=2), TrustedProxies())
    assert [connections.accept(Peer(address)) is not None for address in addresses] == places


async def test_an_address_has_a_tenth_of_the_connections() -> None:
    connections = Connections(Limits(connections=100), TrustedProxies())
    taken = [connections.accept(Peer("192.0.2.1")) for _ in range(12)]
    assert [place is not None for place in taken] == [True] * 10 + [False] * 2
    first = taken[0]
    assert first is not None
    first.give_back()
    first.give_back()  # counts once
    assert connections.count == 9
    assert connections.accept(Peer("192.0.2.1")) is not None
    assert connections.accept(Peer("192.0.2.1")) is None

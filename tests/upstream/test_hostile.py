"""A hostile or broken CA beyond the faults of the proxy: slow octets, endless bodies, arbitrary documents."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acmehub import AcmeRelay, RelaySettings, UpstreamError, UpstreamUnavailable
from acmehub.upstream.documents import read_authorization, read_chain, read_order
from acmehub.upstream.failures import failure
from acmehub.upstream.hosts import Hosts
from acmehub.upstream.keys import UpstreamAccountKey, new_account_key
from acmehub.upstream.responses import UpstreamResponse
from tests.servers.pebble_lab import context
from tests.upstream.conftest import closed_later

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[str]:
    """The URL of a server that does as `serve` says with each connection."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the relay has hung up, or the test is over
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/dir"
        for task in tasks:
            task.cancel()


def relay_at(directory: str, tmp_path: Path) -> AcmeRelay:
    return closed_later(AcmeRelay(RelaySettings(directory=directory, timeout=1), context(tmp_path)))


async def test_octets_that_come_one_by_one_do_not_hold_the_relay_for_ever(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.1)

    async with serving(serve) as directory:
        started = time.monotonic()
        with pytest.raises(UpstreamUnavailable, match="took more than 2 s"):
            await relay_at(directory, tmp_path).register(new_account_key("ec256"))
        assert time.monotonic() - started < 20


async def test_an_endless_body_is_cut_off(tmp_path: Path) -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
            await writer.drain()
            sent += 65536

    async with serving(serve) as directory:
        with pytest.raises(UpstreamUnavailable, match="more than 1048576 octets"):
            await relay_at(directory, tmp_path).register(new_account_key("ec256"))
    assert sent < 16 << 20


@pytest.mark.parametrize("answer", [b"", b"\x16\x03\x01", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 2000 what\r\n\r\n"])
async def test_what_is_not_http_is_unavailable(tmp_path: Path, answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    async with serving(serve) as directory:
        with pytest.raises(UpstreamUnavailable):
            await relay_at(directory, tmp_path).register(new_account_key("ec256"))


KEY = UpstreamAccountKey(new_account_key("ec256"))
MEMBERS = [
    "status",
    "identifier",
    "challenges",
    "type",
    "url",
    "token",
    "error",
    "detail",
    "finalize",
    "value",
    "authorizations",
    "subproblems",
    "expires",
    "certificate",
    "wildcard",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=len(MEMBERS)),
    max_leaves=24,
)


@given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200), st.integers(300, 599))
def test_no_document_makes_a_reader_fail_otherwise_than_as_unavailable(body: bytes, status: int) -> None:
    answer = UpstreamResponse("https://ca.test/x", 200, (), body)
    hosts = Hosts(RelaySettings(directory="https://ca.test"))
    for read in (
        lambda: read_order(answer, "https://ca.test/x", hosts, "https://ca.test"),
        lambda: read_authorization(answer, "https://ca.test/x", KEY, hosts, "https://ca.test"),
        lambda: read_chain(answer, hosts, "https://ca.test"),
    ):
        try:
            read()
        except UpstreamUnavailable:
            continue
    refusal = UpstreamResponse("https://ca.test/x", status, (), body)
    assert isinstance(failure(refusal, "https://ca.test"), UpstreamError)

"""A CA that drips: each exchange has one deadline, kept from outside, and the hub's end ends it at once."""

import asyncio
import gc
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acmehub import AcmeRelay, Closes, RelaySettings, UpstreamAccount, UpstreamUnavailable
from acmehub.upstream.keys import new_account_key
from tests.servers.dripping import (
    Serve,
    dripping,
    interim,
    interim_slowly,
    no_body,
    no_body_until_close,
    no_header,
    no_status,
    no_tls,
    threads_of,
)
from tests.servers.pebble_lab import context
from tests.upstream.conftest import closed_later
from tests.upstream.scripted_ca import documents

KEY = new_account_key("ec256")


def relay_at(port: int, folder: Path, scheme: str = "http", timeout: float = 1) -> AcmeRelay:
    settings = RelaySettings(directory=f"{scheme}://127.0.0.1:{port}/dir", timeout=timeout)
    return closed_later(AcmeRelay(settings, context(folder)))


def requests_of(connection: socket.socket) -> Iterator[tuple[str, str]]:
    """Method and path of each request on a connection, read to its end."""
    with connection.makefile("rb") as stream:
        while line := stream.readline():
            method, path, _version = line.decode().split(" ")
            headers = [field.lower() for field in iter(stream.readline, b"\r\n")]
            stream.read(sum(int(field[15:]) for field in headers if field.startswith(b"content-length:")))
            yield method, path


def end_soon(threads: list[threading.Thread]) -> bool:
    """Whether these threads of a server (at least one) end long before their exchanges would: the hub hangs up."""
    end = time.monotonic() + 20
    for thread in threads:
        thread.join(max(end - time.monotonic(), 0))
    return bool(threads) and not any(thread.is_alive() for thread in threads)


async def connected_to(port: int) -> list[threading.Thread]:
    """The threads of a server that drips, a moment after the hub has connected to it."""
    async with asyncio.timeout(20):
        while not threads_of(port):
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    return threads_of(port)


async def test_an_exchange_with_a_ca_that_drips_ends_at_its_deadline(tmp_path: Path) -> None:
    async def one(serve: Serve) -> None:
        with dripping(serve) as port:
            started = time.monotonic()
            with pytest.raises(UpstreamUnavailable, match="took more than 2 s"):
                await relay_at(port, tmp_path).register(KEY)
            assert time.monotonic() - started < 20, serve.__name__

    await asyncio.gather(*map(one, (no_status, no_header, no_body, no_body_until_close, interim_slowly)))


async def test_a_handshake_that_drips_ends(tmp_path: Path) -> None:
    with dripping(no_tls) as port:
        started = time.monotonic()
        with pytest.raises(UpstreamUnavailable):
            await relay_at(port, tmp_path, "https").register(KEY)
        assert time.monotonic() - started < 20
    gc.collect()


async def test_interim_responses_without_an_end_are_cut_off(tmp_path: Path) -> None:
    with dripping(interim) as port, pytest.raises(UpstreamUnavailable, match="more than 8 interim responses"):
        await relay_at(port, tmp_path).register(KEY)


async def test_the_hubs_end_ends_an_exchange_at_once(tmp_path: Path) -> None:
    async def one(serve: Serve) -> None:
        with dripping(serve) as port:
            relay = relay_at(port, tmp_path, "https" if serve is no_tls else "http", timeout=60)
            assert isinstance(relay, Closes)
            task = asyncio.create_task(relay.register(KEY))
            threads = await connected_to(port)
            started = time.monotonic()
            await relay.aclose()
            with pytest.raises(UpstreamUnavailable):
                await task
            assert time.monotonic() - started < 20, serve.__name__
            assert await asyncio.to_thread(end_soon, threads), serve.__name__
            with pytest.raises(UpstreamUnavailable, match="the hub stops"):
                await relay.register(KEY)

    await asyncio.gather(*map(one, (no_status, no_header, no_body, no_body_until_close, interim_slowly, no_tls)))
    gc.collect()


async def test_a_connection_that_is_reset_before_the_handshake_leaves_no_open_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected, was_reset = threading.Event(), threading.Event()

    def reset(connection: socket.socket) -> None:
        connected.wait(10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        was_reset.set()

    wrap = ssl.SSLContext.wrap_bio

    def wrap_late(*arguments: Any, **options: Any) -> ssl.SSLObject:
        connected.set()
        assert was_reset.wait(10)
        return wrap(*arguments, **options)

    with dripping(reset) as port:
        relay = relay_at(port, tmp_path, "https")
        monkeypatch.setattr(ssl.SSLContext, "wrap_bio", wrap_late)
        gc.collect()
        gc.disable()
        try:
            before = len(list(Path("/proc/self/fd").iterdir()))
            for _ in range(10):
                connected.clear()
                was_reset.clear()
                with pytest.raises(UpstreamUnavailable):
                    await relay.register(KEY)
            assert len(list(Path("/proc/self/fd").iterdir())) < before + 5
        finally:
            gc.enable()
            gc.collect()
        await relay.aclose()


async def test_an_exchange_that_nobody_waits_for_is_given_up(tmp_path: Path) -> None:
    with dripping(no_body) as port:
        task = asyncio.create_task(relay_at(port, tmp_path, timeout=60).register(KEY))
        threads = await connected_to(port)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(end_soon, threads)


@pytest.mark.parametrize("status", ["100 Continue", "103 Early Hints"])
async def test_an_interim_response_is_no_answer_and_does_not_shift_the_next_one(status: str, tmp_path: Path) -> None:
    base, connections = [""], 0

    def serve(connection: socket.socket) -> None:
        nonlocal connections
        connections += 1
        given = documents(base[0])
        for method, path in requests_of(connection):
            name = {"/dir": "directory", "/order": "order"}.get(path, "")
            body = b"" if method == "HEAD" else json.dumps(given.get(name, {})).encode()
            connection.sendall(f"HTTP/1.1 {status}\r\nLink: </a.css>\r\n\r\n".encode())
            head = f"HTTP/1.1 200 OK\r\nReplay-Nonce: bm9uY2U\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)

    with dripping(serve) as port:
        base[0] = f"http://127.0.0.1:{port}"
        relay = relay_at(port, tmp_path)
        account = UpstreamAccount(f"{base[0]}/account", KEY)
        for _ in range(2):
            assert (await relay.order(account, f"{base[0]}/order")).status == "invalid"
        assert connections == 1, "directory, nonce and both orders came over one connection"
        await relay.aclose()


async def test_connections_that_are_closed_leave_no_open_file(tmp_path: Path) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 500 No\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")

    with dripping(serve) as port:
        relay = relay_at(port, tmp_path)
        with pytest.raises(UpstreamUnavailable, match="HTTP 500"):
            await relay.register(KEY)
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(20):
            with pytest.raises(UpstreamUnavailable, match="HTTP 500"):
                await relay.register(KEY)
        assert len(list(Path("/proc/self/fd").iterdir())) < before + 5
        await relay.aclose()

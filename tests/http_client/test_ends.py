"""`HttpClient`: its deadline, its end, and what it leaves behind."""

import asyncio
import gc
import logging
import time
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from acmehub import HttpClient, HttpError, HttpTimeout
from tests.http_client.conftest import MakeClient
from tests.http_client.servers import Answering, Authority, Serve, ok, read_request, serving


def dripping(octets: bytes, after: bytes = b"") -> Serve:
    """A server that answers with `after`, then octet by octet for ever."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(after)
        while True:
            for octet in octets:
                writer.write(bytes([octet]))
                await writer.drain()
                await asyncio.sleep(0.02)

    return serve


DRIPS = {
    "head": ("http", dripping(b"X-A: b\r\n", b"HTTP/1.1 200 OK\r\n")),
    "interim": ("http", dripping(b"HTTP/1.1 103 Early Hints\r\n\r\n")),
    "body": ("http", dripping(b" ", b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n")),
    "body without an end": ("http", dripping(b" ", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")),
    "handshake": ("https", dripping(b"\x02", b"\x16\x03\x03\x3f\xff")),
    "proxy": ("proxy", dripping(b"X-A: b\r\n", b"HTTP/1.1 200 OK\r\n")),
}


async def each_drip(monkeypatch: pytest.MonkeyPatch, run: Callable[[str], Awaitable[None]]) -> None:
    """Run something with the URL of each server that drips, all at once."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    async def one(scheme: str, serve: Serve) -> None:
        async with serving(serve) as port:
            if scheme == "proxy":
                monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
            await run("https://ca.test/" if scheme == "proxy" else f"{scheme}://127.0.0.1:{port}/")

    await asyncio.gather(*(one(*drip) for drip in DRIPS.values()))


async def test_an_exchange_that_drips_ends_at_its_deadline_whatever_drips(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(url: str) -> None:
        begun = time.monotonic()
        with pytest.raises(HttpTimeout, match=r"took more than 0\.5 s"):
            await make_client(timeout=0.5, silence=20).send("POST", url, body=b"")
        assert time.monotonic() - begun < 10

    await each_drip(monkeypatch, run)


async def test_the_callers_deadline_comes_before_that_of_the_client(client: HttpClient) -> None:
    async with serving(DRIPS["body"][1]) as port:
        begun = time.monotonic()
        with pytest.raises(HttpTimeout):
            await client.send("GET", f"http://127.0.0.1:{port}/", end=time.monotonic() + 0.1)
        assert time.monotonic() - begun < 10


async def test_a_silent_server_is_given_up_before_the_deadline(make_client: MakeClient) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(silent) as port:
        with pytest.raises(HttpTimeout, match="no answer in time"):
            await make_client(silence=0.2).send("GET", f"http://127.0.0.1:{port}/")
        with pytest.raises(HttpTimeout, match="no connection in time"):
            await make_client(silence=0.2).send("GET", f"https://127.0.0.1:{port}/")


async def test_closing_ends_exchanges_at_once_and_lets_no_other_begin(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(url: str) -> None:
        client = make_client(connections=2)
        tasks = [asyncio.create_task(client.send("POST", url, body=b"")) for _ in range(3)]  # one has no place
        await asyncio.sleep(0.5)
        begun = time.monotonic()
        await client.aclose()
        for task in tasks:
            with pytest.raises(HttpError, match="the client was closed"):
                await task
        assert time.monotonic() - begun < 10
        assert client.closed
        with pytest.raises(HttpError, match="the client was closed"):
            await client.send("GET", url)
        await client.aclose()

    await each_drip(monkeypatch, run)


@pytest.mark.parametrize(("scheme", "call"), [("http", 1), ("https", 2)])
async def test_closing_while_the_first_request_prepares_ends_it(
    make_client: MakeClient, authority: Authority, scheme: str, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The threads import aiohttp, and read the roots; the client is closed at the moment when one is done."""
    client, calls = make_client(ca_file=str(authority.file)), 0
    to_thread = asyncio.to_thread

    async def closing(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        result = await to_thread(*arguments)
        if calls == call:
            await client.aclose()
        return result

    monkeypatch.setattr(asyncio, "to_thread", closing)
    server = Answering()
    async with serving(server, authority.server_tls if scheme == "https" else None) as port:
        with pytest.raises(HttpError, match="the client was closed"):
            await client.send("GET", f"{scheme}://127.0.0.1:{port}/")
    assert (calls, server.connections) == (call, 0)


async def test_a_cancelled_exchange_hangs_up_and_gives_its_place_back(make_client: MakeClient) -> None:
    asked, hung_up = asyncio.Event(), asyncio.Event()

    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        assert request is not None
        if "slow" in request.line:
            asked.set()
            await reader.read()
            hung_up.set()
        else:
            writer.write(ok(b"quick"))

    client = make_client(connections=1)
    async with serving(waits) as port:
        task = asyncio.create_task(client.send("POST", f"http://127.0.0.1:{port}/slow", body=b""))
        await asyncio.wait_for(asked.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(hung_up.wait(), 10)
        assert (await client.send("POST", f"http://127.0.0.1:{port}/", body=b"")).body == b"quick"


async def test_no_more_exchanges_than_connections_are_under_way_and_the_wait_takes_no_ones_time(
    make_client: MakeClient,
) -> None:
    running, most = 0, 0

    async def counts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        while await read_request(reader) is not None:
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.1)
            running -= 1
            writer.write(ok())

    client = make_client(connections=2, timeout=0.6)
    async with serving(counts) as port:
        await asyncio.gather(*(client.send("GET", f"http://127.0.0.1:{port}/") for _ in range(16)))
    assert most == 2


async def test_a_client_that_is_dropped_says_nothing_and_hangs_up(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    hung_up = asyncio.Event()

    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_request(reader) is not None:
            writer.write(ok())
        hung_up.set()

    caplog.set_level(logging.DEBUG)
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    async with serving(waits, authority.server_tls) as port:
        client = HttpClient(user_agent="test", ca_file=str(authority.file))
        await client.send("GET", f"https://127.0.0.1:{port}/")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del client
            gc.collect()
            await asyncio.wait_for(hung_up.wait(), 10)
            gc.collect()
    assert [str(item.message) for item in caught] == []
    assert complaints == []
    assert "nclosed" not in caplog.text


def test_a_client_that_outlives_its_event_loop_says_nothing() -> None:
    complaints: list[dict[str, object]] = []

    async def used() -> HttpClient:
        async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(ok(b"", "Connection: close"))
            await writer.drain()

        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        client = HttpClient(user_agent="test")
        async with serving(closes) as port:
            await client.send("GET", f"http://127.0.0.1:{port}/")
        return client

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client = asyncio.run(used())
        del client
        gc.collect()
    assert [str(item.message) for item in caught] == []
    assert complaints == []


async def test_exchanges_leave_no_open_file(make_client: MakeClient, authority: Authority) -> None:
    async def fails(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")

    def files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async def fails_with(send: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(HttpError):
            await send()

    client = make_client(ca_file=str(authority.file))
    async with serving(fails, authority.server_tls) as port:
        await fails_with(lambda: client.send("POST", f"https://127.0.0.1:{port}/", body=b""))
        gc.collect()
        gc.disable()
        try:
            before = files()
            for _ in range(20):
                await fails_with(lambda: client.send("POST", f"https://127.0.0.1:{port}/", body=b""))
                await fails_with(lambda: client.send("POST", f"http://127.0.0.1:{port}/", body=b""))
            assert files() < before + 5
        finally:
            gc.enable()

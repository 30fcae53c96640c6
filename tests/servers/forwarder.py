"""Forwards DNS from one address to another: BIND listens on the addresses of interfaces only, so not on 127.1.2.3."""

import asyncio
import socket
import threading
from functools import partial
from typing import Self

ANSWER_SECONDS = 10.0
Address = tuple[str, int]


class Forwarder:
    """While the context lasts, datagrams and connections to each key of `routes` reach its value."""

    def __init__(self, routes: dict[Address, Address]) -> None:
        self._routes = routes
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="dns-forwarder", daemon=True)
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            running = []
            for front, back in self._routes.items():
                server = await asyncio.start_server(partial(_join, back), *front)
                running.append(tasks.create_task(server.serve_forever()))
                running.append(tasks.create_task(self._datagrams(front, back, tasks)))
            self._ready.set()
            await self._stop.wait()
            for task in running:
                task.cancel()

    async def _datagrams(self, front: Address, back: Address, tasks: asyncio.TaskGroup) -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as listener:
            listener.setblocking(False)
            listener.bind(front)
            while True:
                data, client = await self._loop.sock_recvfrom(listener, 65535)
                tasks.create_task(self._ask(listener, data, client, back))

    async def _ask(self, listener: socket.socket, data: bytes, client: Address, back: Address) -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as asker:
            asker.setblocking(False)
            asker.connect(back)
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._loop.sock_sendall(asker, data)
                    answer = await self._loop.sock_recv(asker, 65535)
                await self._loop.sock_sendto(listener, answer, client)
            except (TimeoutError, OSError):
                return  # a server that is stopped or frozen is silent


async def _join(back: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        there, here = await asyncio.open_connection(*back)
    except OSError:
        writer.close()
        return
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_copy(reader, here))
        tasks.create_task(_copy(there, writer))


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    except ConnectionError:
        pass  # one side has gone, so the other is let go
    finally:
        sink.close()

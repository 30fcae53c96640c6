"""A TCP relay that can swallow what passes: connections stay open, and nothing comes through."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Relay:
    """Passes connections on to `target` (a port of 127.0.0.1) until `swallow`.

    Another `target` is that of later connections."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._gate = asyncio.Event()
        self._gate.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    def swallow(self) -> None:
        """From here on nothing comes through: what is sent is kept back, what connects is taken and not answered."""
        self._gate.clear()

    def let_through(self) -> None:
        """Pass on again what is sent by connections made from here on; those of before stay silent for ever."""
        self._gate = asyncio.Event()
        self._gate.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Relay"]:
        """While this lasts, it listens on `port`."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._join(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait({task})

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, gate = None, self._gate
        try:
            await gate.wait()
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(_copy(reader, back, gate), _copy(there, writer, gate))
        except OSError:
            return
        finally:
            for end in (writer, back):
                if end is not None:
                    end.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter, gate: asyncio.Event) -> None:
    while data := await source.read(65536):
        await gate.wait()
        sink.write(data)
        await sink.drain()
    sink.close()

"""The server in a thread, for tests that are not asynchronous."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from acmehub.testing.dns_server.server import DnsServer


@contextmanager
def running_in_thread(server: DnsServer) -> Iterator[DnsServer]:
    """Serve in a thread while the context lasts; the server's methods that do not await may be called meanwhile."""
    started: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
    stop = asyncio.Event()

    async def serve() -> None:
        async with server:
            started.set_result(asyncio.get_running_loop())
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except OSError as error:
            started.set_exception(error)

    thread = threading.Thread(target=run, name="dns-server", daemon=True)
    thread.start()
    loop = started.result()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()

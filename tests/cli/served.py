"""A hub that is served over TLS on loopback, in a thread of this process, for the command line with `--hub`."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import uvloop

from acmehub.app.hub import Hub, build_hub
from acmehub.cli.shared.session import actor
from acmehub.config import Config
from acmehub.models.audit import Origin
from acmehub.rules.permissions import Acting
from acmehub.serving.certificates import OwnCertificate, serving_certificate
from acmehub.serving.server import HubServer
from acmehub.serving.sockets import bind

SECONDS = 60.0
TOKEN = f"acmehub_{'0' * 44}_{'0' * 43}"


class Served:
    """The served hub: its URL, and the file with the root of its certificate."""

    def __init__(self, port: int, root_file: Path) -> None:
        self.url = f"https://localhost:{port}"
        self.root_file = root_file


@contextmanager
def serving(config: Config) -> Iterator[Served]:
    """Serve the hub of a configuration, whatever its `listen`.

    `TOKEN` is taken for the person at this keyboard, so that the hub has no principal and no token more than one that
    is not served; other tokens are verified.
    """
    config = msgspec.structs.replace(config, public_url=config.base_url, listen="127.0.0.1:0")
    ready, ends = threading.Event(), threading.Event()
    failures: list[BaseException] = []
    found: list[tuple[Hub, asyncio.AbstractEventLoop, Served]] = []

    async def serve() -> None:
        hub = build_hub(config)
        verified = hub.admin.tokens.authenticate

        async def authenticate(id: str, secret: str, origin: Origin) -> Acting:
            if f"acmehub_{id}_{secret}" == TOKEN:
                return Acting.machine(actor())
            return await verified(id, secret, origin)

        hub.admin.tokens.authenticate = authenticate  # type: ignore[method-assign]
        certificate = serving_certificate(hub)
        assert isinstance(certificate, OwnCertificate)
        with bind(config) as listening:
            async with hub.running(serve=True, worker=False, migrate=False):
                await certificate.prepare()
                served = Served(listening.getsockname()[1], certificate.root_file)
                found.append((hub, asyncio.get_running_loop(), served))
                server = HubServer(hub, certificate, ready.set)
                async with asyncio.TaskGroup() as group:
                    group.create_task(server.end_with(hub.stopping))
                    await server.serve(sockets=[listening])

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve())
        except BaseException as error:  # noqa: BLE001  told by the thread that waits
            failures.append(error)
        finally:
            ends.set()
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(SECONDS)
        if failures:
            raise failures[0]
        hub, loop, served = found[0]
        yield served
    finally:
        if found and not ends.is_set():
            loop.call_soon_threadsafe(hub.stop)
        thread.join(SECONDS)
    if failures:
        raise failures[0]

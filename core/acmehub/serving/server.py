"""`serve` and `worker`: the hub's processes, from start to a clean end."""

import asyncio
import gc
import logging
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from email.utils import formatdate
from typing import cast

import msgspec
import uvicorn
import uvloop
from litestar.types import ASGIApp
from uvicorn.server import ServerState

from acmehub.acme.resources import ROUTES
from acmehub.acme.server.client_address import TrustedProxies
from acmehub.app.asgi import create_app
from acmehub.app.bootstrap import is_founded, prepare_data_dir
from acmehub.app.hub import Hub, build_hub
from acmehub.config import Config
from acmehub.ports.store import StoreAbsent, StoreOutdated
from acmehub.runtime.crash_points import CrashPoints
from acmehub.serving.access_log import AccessLog
from acmehub.serving.certificates import OwnCertificate, ServingCertificate, keep_fresh, serving_certificate
from acmehub.serving.connections import Connections, TlsProtocol
from acmehub.serving.data_dir import note_url
from acmehub.serving.protocol import limited_protocol
from acmehub.serving.sockets import bind
from acmehub.serving.waiting import open_once, reach_storage

GRACE_SECONDS = 10
LOOK_SECONDS = 1.0  # between two looks of a worker whether the hub is founded
_log = logging.getLogger(__name__)

Announce = Callable[[str, str], None]


def run_serve(config: Config, *, worker: bool, migrate: bool, crash_points: CrashPoints, announce: Announce) -> None:
    """Serve ACME until SIGTERM or SIGINT; with `worker`, fulfil orders too.

    `announce` is called once, when requests are answered, with the hub's URL and the file with the root that clients
    must trust (empty when the certificate is not the hub's own). A storage that is away is waited for. Raises what
    makes a start impossible: `ListenError`, `ConfigError`, `StoreUnavailable`, `VaultError`, `PluginError`.
    """
    _allow_many_connections()
    with ExitStack() as stack:
        listening = stack.enter_context(bind(config))
        if config.address[1] == 0:
            real = listening.getsockname()[1]
            config = msgspec.structs.replace(config, listen=f"{config.listen.removesuffix(':0')}:{real}")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(config, listening, worker, migrate, crash_points, announce))


def _allow_many_connections() -> None:
    """Raise the limit of open files to the hard limit: the usual soft limit of 1024 is less than `[limits]` allows."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run_worker(config: Config, *, migrate: bool, crash_points: CrashPoints, announce: Callable[[], None]) -> None:
    """Fulfil orders until SIGTERM or SIGINT; raises as `run_serve`."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(config, migrate, crash_points, announce))


async def _serve(
    config: Config, listening: socket.socket, worker: bool, migrate: bool, crash_points: CrashPoints, announce: Announce
) -> None:
    hub = build_hub(config, crash_points=crash_points)
    reload = asyncio.Event()
    with on_signals({signal.SIGTERM: hub.stop, signal.SIGINT: hub.stop, signal.SIGHUP: reload.set}):
        prepare_data_dir(config.data_dir)
        certificate = serving_certificate(hub)
        reach = hub.store.migrate if migrate else lambda: open_once(hub)
        if await reach_storage(hub, reach, meanwhile=lambda: _refusing(hub, certificate, listening)) is None:
            return
        async with hub.running(serve=True, worker=worker, migrate=False):
            if certificate is not None:
                await certificate.prepare()
            server = HubServer(hub, certificate, lambda: announce(hub.config.public_url, _root_file(certificate)))
            note_url(config.data_dir, hub.config.public_url)
            async with asyncio.TaskGroup() as group:
                stopper = group.create_task(server.end_with(hub.stopping))
                gc.freeze()  # what the start has made stays, and no collection looks at it again
                keeper = group.create_task(keep_fresh(certificate, reload)) if certificate is not None else None
                await server.serve(sockets=[listening])
                stopper.cancel()
                if keeper is not None:
                    keeper.cancel()


async def _work(config: Config, migrate: bool, crash_points: CrashPoints, announce: Callable[[], None]) -> None:
    hub = build_hub(config, crash_points=crash_points)
    with on_signals({signal.SIGTERM: hub.stop, signal.SIGINT: hub.stop}):
        if hub.store.shared and not await _founded(hub):
            return
        async with hub.running(worker=True, migrate=migrate, founds=False):
            announce()
            await hub.stopping.wait()


@asynccontextmanager
async def _refusing(hub: Hub, certificate: ServingCertificate | None, listening: socket.socket) -> AsyncIterator[None]:
    """Answer requests by 503 while the storage is away, if there is a certificate to do so with.

    What is not accepted when this ends waits in the socket's queue for the server.
    """
    if certificate is not None and not certificate.load_kept():
        yield
        return
    server = HubServer(hub, certificate, lambda: None)
    serving = asyncio.create_task(server.serve(sockets=[listening.dup()]))
    try:
        yield
    finally:
        server.end()
        await serving


async def _founded(hub: Hub) -> bool:
    """Wait until a `serve` has founded the hub in a shared storage; false when the process is to end before."""
    told = False
    while not hub.stopping.is_set():
        absent = await reach_storage(hub, lambda: _absent(hub))
        if absent is None:
            break
        if not absent:
            return True
        if not told:
            _log.warning(
                "no hub in %s yet: waiting until `acmehub serve` (or `acmehub init --hub`) has founded it", absent
            )
            told = True
        with suppress(TimeoutError):
            await asyncio.wait_for(hub.stopping.wait(), LOOK_SECONDS)
    return False


async def _absent(hub: Hub) -> str:
    """The place in which no hub is founded yet; empty when one is."""
    try:
        await hub.store.open()
        return "" if await is_founded(hub.store) else "the storage"
    except StoreOutdated:
        return ""
    except StoreAbsent as absent:
        return str(absent)
    finally:
        await hub.store.close()


class HubServer(uvicorn.Server):
    """uvicorn's server without its signal handling, which would end the process before the hub is closed."""

    def __init__(self, hub: Hub, certificate: ServingCertificate | None, started: Callable[[], None]) -> None:
        super().__init__(_uvicorn_config(hub))
        self._context = certificate.context if certificate is not None else None
        self._connections = Connections(hub.config.limits, TrustedProxies(hub.config.trusted_proxies))
        self._protocol: Callable[..., asyncio.Protocol] = limited_protocol(hub.config.limits, self._connections)
        self._announce = started
        self._ended = asyncio.Event()
        self.server_state = DatedState()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so. uvicorn's own listeners would not count connections within a handshake."""
        await super().startup([])
        loop = asyncio.get_running_loop()
        for listening in sockets or ():
            self.servers.append(
                await loop.create_server(lambda: self._make(loop), sock=listening, backlog=self.config.backlog)
            )
        if self.started:
            self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End; connections within a handshake are not waited for."""
        self._connections.end_handshakes()
        await super().shutdown(sockets)

    def _make(self, loop: asyncio.AbstractEventLoop) -> asyncio.Protocol:
        """The protocol of a connection that is accepted now."""
        protocol = self._protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state, _loop=loop
        )
        if self._context is None:
            return protocol
        return cast(asyncio.Protocol, TlsProtocol(protocol, self._context, self._connections, loop))

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `on_signals`."""
        yield

    async def main_loop(self) -> None:
        """Wait for the end; uvicorn's own loop wakes ten times a second, to look for it and to set the date."""
        await self._ended.wait()

    def end(self) -> None:
        """Begin to shut down: no new connections, long polls have `GRACE_SECONDS` to end."""
        self.should_exit = True
        self._ended.set()

    async def end_with(self, stopping: asyncio.Event) -> None:
        """`end` when `stopping` is set."""
        await stopping.wait()
        self.end()


class DatedState(ServerState):
    """uvicorn's state, with the Date header of a response made when the first response of a second needs it."""

    _second = 0
    _headers: list[tuple[bytes, bytes]]

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """Headers that every response has."""
        now = int(time.time())
        if now != self._second:
            self._headers = [(b"date", formatdate(now, usegmt=True).encode())]
            self._second = now
        return self._headers

    @default_headers.setter
    def default_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        """uvicorn sets none beside the date."""


def _uvicorn_config(hub: Hub) -> uvicorn.Config:
    config = hub.config
    return uvicorn.Config(
        _application(hub),
        http="httptools",  # the protocol is made by `HubServer`
        ws="none",
        interface="asgi3",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the application knows the trusted proxies
        timeout_keep_alive=config.limits.idle_seconds,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def _application(hub: Hub) -> ASGIApp:
    """The hub's application, within the access log where that is on."""
    app = create_app(hub)
    return AccessLog(app, ROUTES, TrustedProxies(hub.config.trusted_proxies)) if hub.config.log.access else app


@contextmanager
def on_signals(handlers: dict[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """Call these in the running loop when the signals come."""
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)


def _root_file(certificate: ServingCertificate | None) -> str:
    return str(certificate.root_file) if isinstance(certificate, OwnCertificate) else ""

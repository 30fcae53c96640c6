"""/healthz: the process answers. /readyz: it serves and its storage can be written to, found without a write.

A process that is started with `ACMEHUB_INSTANCE` returns it from `/readyz` as the header `Acmehub-Instance`: its
starter sees that this process answers, and no other one.
"""

import asyncio
import os

from litestar import MediaType, Response, route
from litestar.handlers import HTTPRouteHandler

from acmehub.acme.server.context import HubParts
from acmehub.app.front_page import GET_AND_HEAD
from acmehub.ports.store import StoreUnavailable

ASKED_EVERY = 1.0  # seconds
INSTANCE_VARIABLE = "ACMEHUB_INSTANCE"
INSTANCE_HEADER = "Acmehub-Instance"
LONGEST_ANSWER = 1.5  # seconds; a storage that takes longer cannot be served from


class _Readiness:
    """Whether the storage can be written to, asked at most once a second, by one request for all."""

    def __init__(self, hub: HubParts) -> None:
        self._hub = hub
        self._lock = asyncio.Lock()
        self._asked = float("-inf")
        self._ready = False

    async def now(self) -> bool:
        """What was found within the last second."""
        async with self._lock:
            clock = self._hub.clock
            if clock.monotonic() - self._asked >= ASKED_EVERY:
                self._ready = await self._ask()
                self._asked = clock.monotonic()
            return self._ready

    async def _ask(self) -> bool:
        try:
            async with asyncio.timeout(LONGEST_ANSWER):
                await self._hub.store.ping()
        except (StoreUnavailable, TimeoutError):
            return False
        return True


def health_routes(hub: HubParts) -> list[HTTPRouteHandler]:
    """Routes for load balancers and init systems; their answers hold nothing about orders or resources."""

    @route(
        "/healthz",
        http_method=GET_AND_HEAD,
        media_type=MediaType.TEXT,
        sync_to_thread=False,
        include_in_schema=False,
    )
    def healthz() -> str:
        return "ok\n"

    readiness = _Readiness(hub)
    instance = os.environ.get(INSTANCE_VARIABLE, "")
    headers = {INSTANCE_HEADER: instance} if instance.isascii() and instance.isalnum() else {}

    @route(
        "/readyz",
        http_method=GET_AND_HEAD,
        media_type=MediaType.TEXT,
        response_headers=headers,
        include_in_schema=False,
    )
    async def readyz() -> Response[str]:
        if hub.stopping.is_set():
            return Response("stopping\n", status_code=503)
        if not await readiness.now():
            return Response("the storage cannot be written to; the log says why\n", status_code=503)
        return Response("ready\n")

    return [healthz, readyz]

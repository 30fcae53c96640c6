"""The access log (`[log] access`): one line for each request that the application has answered.

Paths may hold the key of a secret directory, so only what is known to be no secret is shown of them; queries, which no
URL of the hub has, are not shown at all.
"""

import logging
import time
from collections.abc import Iterable
from typing import Any

from litestar.types import ASGIApp, Message, Receive, Send

from acmehub.acme.server.client_address import TrustedProxies, client_address
from acmehub.acme.server.routing import Route
from acmehub.acme.server.signed import ACCESS
from acmehub.models.base import is_id

LONGEST_UNKNOWN = 12
"""Characters of a segment that nobody knows: shorter than any part of a key that is worth keeping secret."""

HIDDEN = "***"
_MOST_SEGMENTS = 12
_OUTSIDE = ("acme", "healthz", "readyz", "metrics")
_CERT_ID = "renewal-info"
_LONGEST_CERT_ID = 128
_log = logging.getLogger("acmehub.access")


class AccessLog:
    """An ASGI application that notes what another one answers."""

    def __init__(self, app: ASGIApp, routes: Iterable[Route], proxies: TrustedProxies) -> None:
        self._app = app
        self._proxies = proxies
        self._words = frozenset(
            [*_OUTSIDE, *(word for route in routes for word in route.path.split("/") if not word.startswith("{"))]
        )

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer, then write the line; status 0 stands for a client that has gone."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = size = 0

        async def counted(message: Message) -> None:
            nonlocal status, size
            await send(message)
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                size += len(message["body"])

        noted: dict[str, Any] = {}
        scope[ACCESS] = noted
        began = time.perf_counter()
        try:
            await self._app(scope, receive, counted)
        finally:
            extra = {
                "method": scope["method"][:16],
                "path": self.shown(scope["raw_path"].decode("latin-1")),
                "status": status,
                "seconds": round(time.perf_counter() - began, 4),
                "address": client_address(scope, self._proxies),
                "bytes": size,
                **noted,
            }
            _log.info("request", extra=extra)

    def shown(self, path: str) -> str:
        """A path without what may be a secret in it."""
        segments = path.split("/")
        shown = [self._segment(segments, index) for index in range(min(len(segments), _MOST_SEGMENTS))]
        return "/".join(shown if len(segments) <= _MOST_SEGMENTS else [*shown, HIDDEN])

    def _segment(self, segments: list[str], index: int) -> str:
        text = segments[index]
        if text in self._words or len(text) <= LONGEST_UNKNOWN or is_id(text):
            return text
        if (
            index and segments[index - 1] == _CERT_ID and "." in text and len(text) < _LONGEST_CERT_ID
        ):  # RFC 9773 section 4.1: of a public certificate
            return text
        return HIDDEN

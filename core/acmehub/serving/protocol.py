"""uvicorn's HTTP/1.1 protocol with limits on a request's head, on the time it may take to arrive, and on the time its
client may take to read the answer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from acmehub.acme.server.client_address import plain_address
from acmehub.config import Limits
from acmehub.models.problems import ProblemDocument, ProblemType
from acmehub.serving.connections import ConnectionPlace, Connections
from acmehub.serving.write_coalescing import CoalescingTransport

Scope = Any
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

FAREWELL_SECONDS = 1.0
_RETRY_AFTER = b"10"
_FULL = msgspec.json.encode(
    ProblemDocument(
        type=ProblemType.RATE_LIMITED.urn, detail="the server has too many connections; try again soon", status=503
    )
)


async def overloaded(_scope: Scope, _receive: Receive, send: Send) -> None:
    """The ASGI application that connections beyond the limit get: refused at once, with a time to come back."""
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(_FULL)),
        (b"retry-after", _RETRY_AFTER),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": _FULL, "more_body": False})


def limited_protocol(limits: Limits, connections: Connections) -> type[HttpToolsProtocol]:
    """A protocol class that closes connections whose request is too slow or whose head is too large, and answers 503
    on those beyond the number allowed.

    uvicorn itself limits neither (its `timeout_keep_alive` counts between requests only). The time runs from the
    opening of the connection, and from the first byte of each further request, to its last byte; answers may take as
    long as they need, but a client that does not read one has as long as for a request. Bodies are limited by the
    application. `place` is what the connection takes of `connections`; `TlsProtocol` sets it, without TLS it is taken
    here.
    """

    class LimitedProtocol(HttpToolsProtocol):
        place: ConnectionPlace | None = None

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._head = 0
            self._in_head = True
            self._waiting_since: float | None = None
            self._timer: asyncio.TimerHandle | None = None
            self._unread: asyncio.TimerHandle | None = None
            self._ending = False

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            if self.place is None:
                self.place = connections.accept(transport)
                if self.place is None:
                    return
            connections.begun(self.place)
            self._coalescing = CoalescingTransport(transport, self.loop)
            super().connection_made(self._coalescing)
            if self.client is not None:
                self.client = (plain_address(self.client[0]), self.client[1])
            self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            if self.place is None:  # it was refused
                return
            self.place.give_back()
            for timer in (self._timer, self._unread):
                if timer is not None:
                    timer.cancel()
            self._coalescing.ended()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._waiting_since is None:
                self._wait()
            if self._in_head:
                self._head += len(data)
            super().data_received(data)
            if self._in_head and self._head > limits.header_bytes:
                self._refuse(431, "the request's head is too large")

        def on_headers_complete(self) -> None:
            if self._head > limits.header_bytes and self._head_size() > limits.header_bytes:
                raise ValueError("head too large")  # has the parser stop and `send_400_response` be called
            self._in_head = False
            if self.place is not None and self.place.is_too_much:
                self.app = overloaded
            super().on_headers_complete()

        def _head_size(self) -> int:
            """The head alone, where body came with it."""
            return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

        def send_400_response(self, msg: str) -> None:
            if self._head > limits.header_bytes:
                self._refuse(431, "the request's head is too large")
            else:
                super().send_400_response(msg)

        def on_message_complete(self) -> None:
            self._waiting_since = None
            self._head = 0
            self._in_head = True
            super().on_message_complete()

        def shutdown(self) -> None:
            self._ending = True
            super().shutdown()
            if self.transport.is_closing():
                self._let_go()
            else:
                self.loop.call_later(FAREWELL_SECONDS, self._cut_off)

        def _cut_off(self) -> None:
            """At the server's end: wait for an answer that is made, not for a client that sends or reads slowly."""
            if self.transport.is_closing():
                return
            if self._waiting_since is not None or self.flow.write_paused:
                self.transport.abort()
            else:
                self.loop.call_later(FAREWELL_SECONDS, self._cut_off)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._unread = self.loop.call_later(limits.request_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._unread is not None:
                self._unread.cancel()

        def on_response_complete(self) -> None:
            self._coalescing.flush()
            super().on_response_complete()
            if self._ending:
                self._let_go()

        def _let_go(self) -> None:
            """End a closed connection whose client does not answer the farewell of TLS, so that it delays nobody."""
            self.loop.call_later(FAREWELL_SECONDS, self.transport.abort)

        def _wait(self) -> None:
            self._waiting_since = self.loop.time()
            if self._timer is None:
                self._timer = self.loop.call_later(limits.request_seconds, self._check)

        def _check(self) -> None:
            """End the connection if its request is too slow. One timer serves many requests: it is not taken back when
            a request is there in time, and looks again later if another one has begun meanwhile."""
            self._timer = None
            if self._waiting_since is None or self.transport.is_closing():
                return
            left = self._waiting_since + limits.request_seconds - self.loop.time()
            if left <= 0:
                self.transport.abort()
            else:
                self._timer = self.loop.call_later(left, self._check)

        def _refuse(self, status: int, text: str) -> None:
            if self.transport.is_closing():
                return
            head = f"content-type: text/plain\r\ncontent-length: {len(text)}\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + (head + text).encode("ascii"))
            self.transport.close()

    return LimitedProtocol

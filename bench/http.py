"""HTTP/1.1 with little CPU: one keep-alive connection, one request at a time."""

import asyncio
import json
from typing import Any, NamedTuple, cast

import httptools


class LoadError(Exception):
    """A problem document, an unexpected status or a transport error; errors are counted by `kind`."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail


class Answer(NamedTuple):
    """An HTTP response; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Connection(asyncio.Protocol):
    """A keep-alive connection on httptools, one request at a time."""

    def __init__(self) -> None:
        self.closed = False
        self._waiter: asyncio.Future[Answer] | None = None
        self._status = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not instances of it

    def connection_lost(self, _exc: Exception | None) -> None:
        self.closed = True
        if self._waiter and not self._waiter.done():
            if self._status >= 200:  # a body that the end of the connection delimits
                self.on_message_complete()
            else:
                self._waiter.set_exception(ConnectionResetError("closed before the response"))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self._waiter and not self._waiter.done():
                self._waiter.set_exception(LoadError("http-parse", f"{error}: {data[:300]!r}"))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower().decode()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        if self._is_head:
            self.on_message_complete()

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        if self._waiter is None or self._waiter.done() or self._status < 200:
            return
        keep = self._headers.get("connection", "") != "close" if self._is_head else self._parser.should_keep_alive()
        if self.closed or not keep:
            self.abort()
        self._waiter.set_result(Answer(self._status, self._headers, self._body))

    def send(self, data: bytes, *, is_head: bool) -> asyncio.Future[Answer]:
        """Send a request; returns a future of its response."""
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body = b""
        self._is_head = is_head
        self._status = 0
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return self._waiter

    def abort(self) -> None:
        """Close at once."""
        self.closed = True
        self._transport.abort()

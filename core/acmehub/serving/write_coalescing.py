"""A transport that sends what is written in one turn of the event loop as one piece.

uvicorn writes the head and the body of an answer apart, which over TLS are two records and two system calls.
"""

import asyncio
from typing import Any

LINGER_SECONDS = 10.0  # for a client to take what was written, and to answer the farewell of TLS
_MOST_PENDING = 65536  # bytes; what is beyond goes to the transport and its flow control


class CoalescingTransport(asyncio.Transport):
    """Wraps a transport; only writing, closing and aborting differ from it."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._pending: list[bytes | bytearray | memoryview] = []
        self._size = 0
        self._end: asyncio.TimerHandle | None = None
        self.is_closing = transport.is_closing  # type: ignore[method-assign]  # as asked for with every answer

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data` at the end of this turn at the latest."""
        if not self._pending:
            self._loop.call_soon(self.flush)
        self._pending.append(data)
        self._size += len(data)
        if self._size > _MOST_PENDING:
            self.flush()

    def flush(self) -> None:
        """Send what was written, now."""
        if self._pending:
            data = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
            self._pending.clear()
            self._size = 0
            self._transport.write(data)

    def close(self) -> None:
        """Close once everything is sent; a client that does not take it is not waited for any longer then."""
        self.flush()
        self._transport.close()
        if self._end is None:
            self._end = self._loop.call_later(LINGER_SECONDS, self._transport.abort)

    def ended(self) -> None:
        """The connection is lost: nothing is left to be done."""
        if self._end is not None:
            self._end.cancel()

    def abort(self) -> None:
        self._pending.clear()
        self._transport.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

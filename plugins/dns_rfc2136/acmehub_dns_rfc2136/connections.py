"""TCP connections to the server, kept for further updates (RFC 7766 section 6.2.1)."""

import asyncio

MOST_IDLE = 8
IDLE_SECONDS = 10.0


class _Connection:
    """A connection; `expiry` closes it while nothing uses it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.expiry: asyncio.TimerHandle | None = None

    @property
    def ended(self) -> bool:
        """Whether this side or the server has closed it."""
        return self.reader.at_eof() or self.writer.is_closing()

    def close(self) -> None:
        """Close it; nothing expires any more."""
        if self.expiry is not None:
            self.expiry.cancel()
        self.writer.close()


class KeptConnections:
    """The connections to one server: one message at a time over each, at most eight kept, for ten seconds each."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._idle: list[_Connection] = []
        self._closed = False

    async def exchange(self, message: bytes) -> bytes:
        """The answer to a message, both without their length. Raises `OSError` and `EOFError`.

        When a kept connection turns out to be closed, the message is sent once more over a new one, so that the server
        may get it twice.
        """
        kept = self._taken()
        if kept is not None:
            try:
                return await self._over(kept, message)
            except (OSError, EOFError):
                pass
        return await self._over(_Connection(*await asyncio.open_connection(self._host, self._port)), message)

    async def aclose(self) -> None:
        """Close what is kept; what is under way is closed at its end."""
        self._closed = True
        closed, self._idle = self._idle, []
        for connection in closed:
            connection.close()
        await asyncio.gather(*(item.writer.wait_closed() for item in closed), return_exceptions=True)

    async def _over(self, connection: _Connection, message: bytes) -> bytes:
        try:
            connection.writer.write(len(message).to_bytes(2) + message)
            length = int.from_bytes(await connection.reader.readexactly(2))
            answer = await connection.reader.readexactly(length)
        except BaseException:
            connection.close()
            self._distrust()
            raise
        self._keep(connection)
        return answer

    def _taken(self) -> _Connection | None:
        """The connection that was used last, if one is kept and its server has not closed it."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.ended:
                assert connection.expiry is not None
                connection.expiry.cancel()
                return connection
            connection.close()
        return None

    def _keep(self, connection: _Connection) -> None:
        if self._closed or connection.ended or len(self._idle) >= MOST_IDLE:
            connection.close()
            return
        connection.expiry = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._expire, connection)
        self._idle.append(connection)

    def _expire(self, connection: _Connection) -> None:
        self._idle.remove(connection)
        connection.close()

    def _distrust(self) -> None:
        """After a failure none of the kept connections is used: a server that restarts, or a path that is cut, ends all
        of them, and not all of these ends can be seen."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

"""News between processes: LISTEN on a connection of its own, NOTIFY after the commits.

A NOTIFY inside a transaction makes all commits of a database wait for each other, so it is sent after it, for all
orders that changed meanwhile, in a transaction that needs no flush. What is lost when a process dies in between is only
the wake-up: each waiting worker also polls.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Any

from acmehub import StoreAway
from acmehub.storage_api import Batch, Sql, Unit
from acmehub_storage_postgres.away import Away
from acmehub_storage_postgres.connecting import Connector
from acmehub_storage_postgres.errors import Errors, is_passing
from acmehub_storage_postgres.units import cut
from acmehub_storage_postgres.workers import Workers

log = logging.getLogger(__name__)

CHANNEL = "acmehub_orders"
PAUSE = 0.02  # seconds
ALIVE_EVERY = 30.0  # seconds
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
LARGEST = 7900  # bytes in one notification: PostgreSQL takes less than 8000

_NOTIFY = Sql("SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)")


class Payload:
    """`sender` and orders (`id:version`), as one text; none means that something may have been missed."""

    def __init__(self) -> None:
        self.sender = secrets.token_hex(4)

    def of(self, words: list[str]) -> str:
        """The text for these orders, each as `word` gives it."""
        return " ".join([self.sender, *words])

    def word(self, order_id: str, version: int) -> str:
        """One order of the text."""
        return f"{order_id}:{version}"

    def read(self, text: str) -> list[tuple[str, int]]:
        """The orders of a text with their versions, or `("", 0)` for "anything"; none when this process sent it."""
        sender, *words = text.split(" ")
        if sender == self.sender:
            return []
        return [_read(word) for word in words] or [("", 0)]


def _read(word: str) -> tuple[str, int]:
    order_id, _, version = word.partition(":")
    return (order_id, int(version)) if version.isdecimal() else ("", 0)


class Announcer:
    """Tells other processes which orders this one has changed: at once, then not more often than every `PAUSE`."""

    def __init__(self, workers: Workers, payload: Payload) -> None:
        self._workers = workers
        self._payload = payload
        self._outbox: dict[str, int] = {}
        self._sending: asyncio.Future[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def announce(self, changed: dict[str, int]) -> None:
        """These orders have these versions now, and are committed."""
        self._outbox.update(changed)
        if self._sending is None and self._timer is None:
            self._send()

    async def close(self) -> None:
        """Tell what is left to tell; a commit that is under way is told, too, if it ends meanwhile."""
        while self._outbox or self._sending is not None:
            if self._sending is None:
                self._send()
            else:
                await asyncio.wait([self._sending])
        if self._timer is not None:
            self._timer.cancel()

    def _send(self) -> None:
        words: dict[str, str] = {}
        room = LARGEST - len(self._payload.sender)
        for order_id, version in self._outbox.items():
            word = self._payload.word(order_id, version)
            room -= len(word.encode()) + 1
            if room < 0:
                break
            words[order_id] = word
        for order_id in words:
            del self._outbox[order_id]
        self._sending = self._workers.submit(_notify, (self._payload.of(list(words.values())),), writes=True)
        self._sending.add_done_callback(self._sent)

    def _sent(self, sending: "asyncio.Future[Any]") -> None:
        self._sending = None
        if sending.cancelled() or sending.exception() is not None:
            error = sending.exception() if not sending.cancelled() else None
            level = logging.DEBUG if isinstance(error, StoreAway) else logging.WARNING
            log.log(level, "other processes were not told of changes: %s", error)
            self._outbox.clear()  # where the database was away, they hear "" when they have connected again
        else:
            self._timer = asyncio.get_running_loop().call_later(PAUSE, self._rested)

    def _rested(self) -> None:
        self._timer = None
        if self._outbox:
            self._send()


def _notify(payload: str) -> Unit[None]:
    yield Batch((_NOTIFY(CHANNEL, payload),), autocommit=True)


class Listener:
    """A task that listens, and connects again when the connection is lost; calls back with `("", 0)` when it has."""

    def __init__(
        self, connector: Connector, away: Away, payload: Payload, callback: Callable[[str, int], None]
    ) -> None:
        self._connector = connector
        self._away = away
        self._payload = payload
        self._callback = callback
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Stop listening."""
        self._stop.set()
        await self._task

    async def _listen(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stop.is_set():
            try:
                await self._listen_once()
                pause = _FIRST_PAUSE
            except Errors as error:
                if is_passing(error):
                    self._away.begin(error)
                else:
                    log.warning("no news from other processes: %s", error)
            try:
                async with asyncio.timeout(pause):
                    await self._stop.wait()
            except TimeoutError:
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def _listen_once(self) -> None:
        """Listen until the connection is lost or `close` is called."""
        session = await self._connector.connect()
        ended = asyncio.Event()
        waiting = asyncio.create_task(self._stop.wait())
        waiting.add_done_callback(lambda _: ended.set())
        try:
            session.add_termination_listener(lambda _: ended.set())
            await session.add_listener(CHANNEL, self._heard)
            self._callback("", 0)
            while not ended.is_set() and self._connector.is_current(session):
                try:
                    async with asyncio.timeout(ALIVE_EVERY):
                        await ended.wait()
                except TimeoutError:
                    await session.execute("SELECT 1")  # a connection that was dropped in silence hears nothing
        finally:
            waiting.cancel()
            if self._stop.is_set():
                await self._connector.close(session)
            else:
                await cut(session)

    def _heard(self, *notification: Any) -> None:
        for order_id, version in self._payload.read(notification[3]):
            self._callback(order_id, version)

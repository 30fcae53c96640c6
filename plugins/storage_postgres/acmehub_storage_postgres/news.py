"""News between processes: LISTEN on a connection of its own, NOTIFY after the commits.

A NOTIFY inside a transaction makes all commits of a database wait for each other, so it is sent after it, for all
orders that changed meanwhile, in a transaction that needs no flush. What is lost when a process dies in between is only
the wake-up: each waiting worker also polls.

Processes that listen say so, when they begin and every half minute, and answer one that they did not know. A process
that has heard of no other tells nobody. Whenever it hears of one for the first time, or again after a silence, it takes
it that something was missed; so does the other one.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
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

HEARD_LATELY = 3.5 * ALIVE_EVERY
ANSWERED_WITHIN = 2.0  # seconds in which another process says that it is there, too

_NOTIFY = Sql("SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)")


class Payload:
    """`sender` and orders (`id:version`), as one text."""

    def __init__(self) -> None:
        self.sender = secrets.token_hex(4)

    def of(self, words: list[str]) -> str:
        """The text for these orders, each as `word` gives it; without one it only says that the sender listens."""
        return " ".join([self.sender, *words])

    def word(self, order_id: str, version: int) -> str:
        """One order of the text."""
        return f"{order_id}:{version}"

    def read(self, text: str) -> tuple[str, list[tuple[str, int]]]:
        """The sender of a text, and its orders with their versions (`("", 0)` for one that cannot be read)."""
        sender, *words = text.split(" ")
        return sender, [_read(word) for word in words]


def _read(word: str) -> tuple[str, int]:
    order_id, _, version = word.partition(":")
    return (order_id, int(version)) if version.isdecimal() else ("", 0)


class Others:
    """The other processes that listen. While this one has not asked for them, there may be any."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._listening: dict[str, float] = {}  # when each has said so last
        self._told_at = -HEARD_LATELY
        self._asked_at: float | None = None

    def __bool__(self) -> bool:
        """Whether there may be anybody to tell."""
        now = self._loop.time()
        if self._asked_at is None or now < max(self._asked_at + ANSWERED_WITHIN, self._told_at + HEARD_LATELY):
            return True
        return any(now < at + HEARD_LATELY for at in self._listening.values())

    def asked(self) -> None:
        """This process listens, and has asked who else does."""
        if self._asked_at is None:
            self._asked_at = self._loop.time()

    def lost(self) -> None:
        """This process hears nobody."""
        self._asked_at = None

    def told(self) -> None:
        """Another process has told of orders; one of an earlier version does not say that it listens."""
        self._told_at = self._loop.time()

    def listens(self, sender: str) -> bool:
        """Another process says that it listens; whether that is news."""
        now = self._loop.time()
        self._listening = {name: at for name, at in self._listening.items() if now < at + HEARD_LATELY}
        is_news = sender not in self._listening
        self._listening[sender] = now
        return is_news


class Announcer:
    """Tells other processes which orders this one has changed: at once, then not more often than every `PAUSE`."""

    def __init__(self, workers: Workers, payload: Payload, others: Others) -> None:
        self._workers = workers
        self._payload = payload
        self._others = others
        self._outbox: dict[str, int] = {}
        self._sending: asyncio.Future[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def announce(self, changed: dict[str, int]) -> None:
        """These orders have these versions now, and are committed."""
        if not self._others:
            return
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
        self,
        connector: Connector,
        away: Away,
        payload: Payload,
        others: Others,
        callback: Callable[[str, int], None],
    ) -> None:
        self._connector = connector
        self._away = away
        self._payload = payload
        self._others = others
        self._callback = callback
        self._wake = asyncio.Event()  # there is something to do before the next half minute
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Stop listening."""
        self._stop.set()
        self._wake.set()
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
        try:
            session.add_termination_listener(lambda _: self._wake.set())
            await session.add_listener(CHANNEL, self._heard)
            self._callback("", 0)
            while not self._stop.is_set() and self._connector.is_current(session):
                self._wake.clear()
                await session.fetch(_NOTIFY.postgres, CHANNEL, self._payload.of([]))  # and fails where it is cut off
                self._others.asked()
                with suppress(TimeoutError):
                    async with asyncio.timeout(ALIVE_EVERY):
                        await self._wake.wait()
        finally:
            self._others.lost()
            if self._stop.is_set():
                await self._connector.close(session)
            else:
                await cut(session)

    def _heard(self, *notification: Any) -> None:
        sender, orders = self._payload.read(notification[3])
        if sender == self._payload.sender:
            return
        if orders:
            self._others.told()
        elif self._others.listens(sender):
            self._wake.set()  # it is answered at once
            self._callback("", 0)
        for order_id, version in orders:
            self._callback(order_id, version)

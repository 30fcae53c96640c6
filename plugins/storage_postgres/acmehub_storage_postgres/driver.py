"""The PostgreSQL driver of the storage."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from acmehub import StoreUnavailable
from acmehub.storage_api import Dialect, SqlDriver, Unit
from acmehub_storage_postgres.connecting import Connector, DatabaseConnection
from acmehub_storage_postgres.errors import Errors, translated
from acmehub_storage_postgres.news import Announcer, Listener, Others, Payload
from acmehub_storage_postgres.schema import LOCK_SECONDS, PostgresSchema
from acmehub_storage_postgres.settings import Settings
from acmehub_storage_postgres.workers import Workers

T = TypeVar("T")

_SNAPSHOT = (  # a page may take its reader longer to write away than a unit of work may be idle
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = 0"
)
_OTHERS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'acmehub' AND pid <> pg_backend_pid()"
)


class PostgresDriver(SqlDriver):
    """Runs units of work, each in a transaction on one of a few kept connections.

    `lock_seconds` is how long a migration waits for a lock.
    """

    dialect = Dialect.POSTGRES
    shared = True

    def __init__(self, settings: Settings, *, lock_seconds: float = LOCK_SECONDS) -> None:
        self._settings = settings
        self._lock_seconds = lock_seconds
        self._connector = Connector(settings)
        self._workers: Workers | None = None
        self._listener: Listener | None = None
        self._payload = Payload()
        self._others: Others | None = None
        self._callbacks: dict[object, Callable[[str, int], None]] = {}
        self._announcer: Announcer | None = None

    @property
    def place(self) -> str:
        return f"PostgreSQL at {self._settings.place}"

    # ---------------------------------------------------------------------------------------- life

    @asynccontextmanager
    async def schema(self) -> AsyncIterator[PostgresSchema]:
        """A connection of its own, whose transaction takes an advisory lock."""
        async with self._session() as session:
            yield PostgresSchema(session, self._settings.place, self._lock_seconds)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[PostgresSchema]:
        """A read-only transaction that sees one state, on a connection of its own."""
        async with self._session() as session:
            await session.execute(_SNAPSHOT)
            yield PostgresSchema(session, self._settings.place, self._lock_seconds)

    async def used_elsewhere(self) -> bool:
        """Other connections of acmehub to this database, as the server lists them for the same user."""
        async with self._session() as session:
            return bool(await session.fetchval(_OTHERS))

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[DatabaseConnection]:
        connector = Connector(self._settings)
        try:
            session = await connector.connect(command_seconds=None)
            try:
                yield session
            finally:
                await connector.close(session)
        except Errors as error:
            raise translated(error, self._settings.place) or error from error

    async def open(self, *, serve: bool) -> None:  # noqa: ARG002 - any number may serve
        workers = Workers(self._settings, self._connector, self._publish)
        await workers.start()
        self._workers = workers
        self._others = Others()
        self._announcer = Announcer(workers, self._payload, self._others)
        if self._callbacks:
            self._listen()

    async def close(self) -> None:
        if self._listener is not None:
            await self._listener.close()
            self._listener = None
        workers, self._workers = self._workers, None
        if workers is not None:
            await workers.at_rest()
            if self._announcer is not None:
                await self._announcer.close()
                self._announcer = None
            await workers.close()

    @property
    def generation(self) -> int:
        return self._connector.generation

    def check(self) -> None:
        """A server that has not answered for a second may not answer this time either."""
        if self._workers is not None and self._workers.away:
            raise self._workers.away.error

    # ---------------------------------------------------------------------------------------- units of work

    async def point_read(self, verb: Callable[..., Unit[T]], *args: Any) -> T:
        value: T = await self._open().submit(verb, args, writes=False)
        return value

    async def read(self, verb: Callable[..., Unit[T]], *args: Any) -> T:
        value: T = await self._open().submit(verb, args, writes=False)
        return value

    async def write(self, verb: Callable[..., Unit[T]], *args: Any) -> T:
        value: T = await self._open().submit(verb, args, writes=True)
        return value

    def _open(self) -> Workers:
        if self._workers is None:
            raise StoreUnavailable(f"the storage at {self._settings.place} is not open")
        return self._workers

    # ---------------------------------------------------------------------------------------- news

    def subscribe(self, callback: Callable[[str, int], None]) -> Callable[[], None]:
        key = object()
        self._callbacks[key] = callback
        if self._workers is not None:
            self._listen()

        def end() -> None:
            self._callbacks.pop(key, None)

        return end

    def _listen(self) -> None:
        if self._listener is None and self._others is not None:
            workers = self._open()
            self._listener = Listener(self._connector, workers.away, self._payload, self._others, self._tell)

    def _tell(self, order_id: str, version: int) -> None:
        loop = asyncio.get_running_loop()
        for callback in self._callbacks.values():
            loop.call_soon(callback, order_id, version)

    def _publish(self, changed: dict[str, int]) -> None:
        """Own subscribers hear at once, other processes with the next notification."""
        for order_id, version in changed.items():
            self._tell(order_id, version)
        if self._announcer is not None:
            self._announcer.announce(changed)

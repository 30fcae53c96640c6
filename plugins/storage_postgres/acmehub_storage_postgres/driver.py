"""The PostgreSQL driver of the storage."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg

from acmehub import StoreUnavailable
from acmehub.storage_api import Dialect, SchemaSession, SqlDriver, Unit
from acmehub_storage_postgres.errors import Errors, translated
from acmehub_storage_postgres.news import Announcer, Listener, Payload
from acmehub_storage_postgres.settings import Settings
from acmehub_storage_postgres.workers import Workers

T = TypeVar("T")

MIGRATION_LOCK = 0x61636D65  # "acme": any number, as long as every process takes the same


class PostgresDriver(SqlDriver):
    """Runs units of work, each in a transaction on one of a few kept connections."""

    dialect = Dialect.POSTGRES
    shared = True

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._workers: Workers | None = None
        self._listener: Listener | None = None
        self._payload = Payload()
        self._callbacks: dict[object, Callable[[str, int], None]] = {}
        self._announcer: Announcer | None = None

    @property
    def place(self) -> str:
        return f"PostgreSQL at {self._settings.place}"

    # ---------------------------------------------------------------------------------------- life

    @asynccontextmanager
    async def schema(self) -> AsyncIterator["PostgresSchema"]:
        """An advisory lock on a connection of its own."""
        arguments = {**self._settings.connect_arguments(), "command_timeout": None}
        try:
            connection = await asyncpg.connect(**arguments)
            try:
                await connection.execute(f"SELECT pg_advisory_lock({MIGRATION_LOCK})")
                yield PostgresSchema(connection)
            finally:
                await connection.close(timeout=self._settings.timeout)
        except Errors as error:
            raise translated(error, self._settings.place) or error from error

    async def open(self, *, serve: bool) -> None:  # noqa: ARG002 - any number may serve
        workers = Workers(self._settings, self._publish)
        await workers.start()
        self._workers = workers
        self._announcer = Announcer(workers, self._payload)
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
        if self._listener is None:
            self._listener = Listener(self._settings, self._payload, self._tell)

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


class PostgresSchema(SchemaSession):
    """A connection for migrations."""

    def __init__(self, connection: "asyncpg.Connection[Any]") -> None:
        self._connection = connection

    async def execute(self, text: str, values: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
        return [dict(row) for row in await self._connection.fetch(text, *values)]

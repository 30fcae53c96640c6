"""The SQLite driver: one file, one writer, readers that never wait for it (WAL)."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from acmehub.ports.store import StoreAbsent, StoreError, StoreUnavailable
from acmehub.storage.driver import SchemaSession, SqlDriver
from acmehub.storage.outages import StorageOutages
from acmehub.storage.schema_steps import HAS_SCHEMA
from acmehub.storage.sqlite.files import FileLock, WorkerLocks, connect, is_busy, is_shared, patient, run, translated
from acmehub.storage.sqlite.writer import Writer
from acmehub.storage.statements import Dialect, Unit

T = TypeVar("T")

_LEAST_ROOM = 1 << 20  # bytes


class SqliteDriver(SqlDriver):
    """Runs units of work on the database in `path`.

    `busy_timeout` is how long, in seconds, it waits for another process's lock; every `poll` seconds, while there are
    subscribers, it checks whether another process has committed.
    """

    dialect = Dialect.SQLITE
    shared = False

    def __init__(self, path: Path, *, busy_timeout: float = 30.0, poll: float = 0.5) -> None:
        self._path = path
        self._path_text = str(path)
        self._busy_timeout = busy_timeout
        self._poll = poll
        self._serving = FileLock(path.with_name(path.name + ".serve.lock"))
        self._workers = WorkerLocks(path)
        self._callbacks: dict[object, Callable[[str, int], None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._writer: Writer | None = None
        self._file = (0, 0)  # device and number of the file that is open
        self._outages = StorageOutages()
        self._near: sqlite3.Connection | None = None  # for reads on the event loop
        self._far: sqlite3.Connection | None = None  # for reads in the thread
        self._thread: ThreadPoolExecutor | None = None

    @property
    def place(self) -> str:
        return str(self._path)

    # ---------------------------------------------------------------------------------------- life

    @asynccontextmanager
    async def schema(self) -> AsyncIterator["SqliteSchema"]:
        """The lock is a file beside the database."""
        file = self._path.with_name(self._path.name + ".migrate.lock")
        lock = FileLock(file)
        try:
            if not await lock.acquired_within(self._busy_timeout):
                raise StoreUnavailable(
                    f"the database {self._path}: another process has migrated it, or copied rows into it, for more than"
                    f" {self._busy_timeout:g} s: wait for it and try again (`fuser {file}` names it)"
                )
            connection = connect(self._path, create=True)
        except (OSError, sqlite3.Error) as error:
            lock.release()
            raise self._unavailable(error) from error
        try:
            connection.execute("PRAGMA foreign_keys = OFF")  # so that a migration can rebuild a table
            with patient(connection, self._busy_timeout):
                yield SqliteSchema(connection)
        except sqlite3.Error as error:
            raise self._unavailable(error) from error
        finally:
            connection.close()
            lock.release()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator["SqliteSchema"]:
        """A reader of the write-ahead log: writers go on beside it."""
        try:
            connection = await asyncio.to_thread(connect, self._path, read_only=True)
        except (OSError, sqlite3.Error) as error:
            raise self._unavailable(error) from error
        try:
            with patient(connection, self._busy_timeout):
                connection.execute("BEGIN")
                yield SqliteSchema(connection)
        except sqlite3.Error as error:
            raise self._unavailable(error) from error
        finally:
            connection.close()

    async def used_elsewhere(self) -> bool:
        """Every connection to a database with a write-ahead log holds a lock, also one that is idle."""
        return self._path.exists() and await asyncio.to_thread(is_shared, self._path)

    async def open(self, *, serve: bool) -> None:
        await asyncio.to_thread(self._require_hub)
        if serve and not self._take_serving():
            raise StoreUnavailable(
                f"another acmehub serves from {self._path} already: stop it, give this one another data directory,"
                " or use storage_postgres, which several may share"
            )
        try:
            connection, self._near, self._far = await asyncio.to_thread(self._connect)
        except (OSError, sqlite3.Error) as error:
            self._serving.release()
            raise self._unavailable(error) from error
        opened = self._path.stat()
        self._file = (opened.st_dev, opened.st_ino)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="acmehub-sqlite-read")
        self._writer = Writer(connection, self._path, self._busy_timeout, self._publish)
        if self._callbacks:
            self._schedule()

    def _require_hub(self) -> None:
        """`StoreAbsent` for a file that is not there or is not a hub's, before anything is written to it or beside."""
        try:
            self._path.stat()
            connection = connect(self._path, read_only=True)
            try:
                found = connection.execute(HAS_SCHEMA.sqlite).fetchone()
            finally:
                connection.close()
        except (FileNotFoundError, NotADirectoryError):
            raise StoreAbsent(self.place) from None
        except (OSError, sqlite3.Error) as error:
            raise self._unavailable(error) from error
        if found != (2,):
            raise StoreAbsent(self.place)

    def _take_serving(self) -> bool:
        try:
            return self._serving.acquire(wait=False)
        except OSError as error:
            raise self._unavailable(error) from error

    def _connect(self) -> tuple[sqlite3.Connection, sqlite3.Connection, sqlite3.Connection]:
        writing = connect(self._path)
        try:
            return writing, connect(self._path, read_only=True), connect(self._path, read_only=True)
        except sqlite3.Error:
            writing.close()
            raise

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.close()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.shutdown)
        for connection in (self._near, self._far):
            if connection is not None:
                connection.close()
        self._near = self._far = self._thread = None
        self._workers.release()
        self._serving.release()

    def enter(self, worker: str) -> None:
        """Each worker holds a lock on a file of its own, which ends with its process."""
        try:
            self._workers.hold(worker)
        except OSError as error:
            raise self._unavailable(error) from error

    def is_dead(self, worker: str) -> bool:
        return self._workers.is_dead(worker)

    def check(self) -> None:
        """A full disk shows when something is written, and a ping writes nothing."""
        if self._writer is None:
            return
        self._require_file()
        if shutil.disk_usage(self._path.parent).free < _LEAST_ROOM:
            raise StoreUnavailable(f"the database {self._path}: its disk is full: make room there")

    # ---------------------------------------------------------------------------------------- units of work

    async def point_read(self, verb: Callable[..., Unit[T]], *args: Any) -> T:
        """Runs on the event loop, where it takes some microseconds.

        From the writer's connection when that is at rest: its cache survives its own commits, a reader's is dropped
        with each.
        """
        if self._near is None or self._writer is None:
            raise self._closed()
        try:
            return run(self._writer.connection if self._writer.quiet else self._near, verb(*args), [])
        except sqlite3.Error as error:
            if not is_busy(error):
                raise self._failed(translated(error, self._path) or error) from error
        return await self.read(verb, *args)

    async def read(self, verb: Callable[..., Unit[T]], *args: Any) -> T:
        """Runs in a thread."""
        if self._far is None or self._thread is None:
            raise self._closed()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._read_patiently, verb(*args))
        except StoreUnavailable as error:
            raise self._failed(error) from error.__cause__

    def _read_patiently(self, unit: Unit[T]) -> T:
        assert self._far is not None
        try:
            with patient(self._far, self._busy_timeout):
                return run(self._far, unit, [])
        except sqlite3.Error as error:
            raise translated(error, self._path) or error from error

    async def write(self, verb: Callable[..., Unit[T]], *args: Any) -> T:
        if self._writer is None:
            raise self._closed()
        try:
            self._require_file()
            value = await self._writer.submit(verb, args)
        except StoreUnavailable as error:
            raise self._failed(error) from error.__cause__
        self._outages.answered()
        return value

    def _require_file(self) -> None:
        """What is written to a file that has been replaced or removed is lost with the last process that has it open.

        Raises `StoreUnavailable`.
        """
        try:
            found = os.stat(self._path_text)  # noqa: PTH116  each write asks: half the time of `Path.stat`
        except OSError as error:
            raise StoreUnavailable(f"the database {self._path}: {error.strerror}: put it back and restart") from error
        if (found.st_dev, found.st_ino) != self._file:
            raise StoreUnavailable(f"the database {self._path} was replaced by another file: restart to use that one")

    def _failed(self, error: Exception) -> Exception:
        """An error of a read or a write; one that callers are told as an outage is noted for the log."""
        if isinstance(error, StoreUnavailable):
            self._outages.failed(error)
        return error

    def _closed(self) -> StoreUnavailable:
        return StoreUnavailable(f"the database {self._path} is not open")

    def _unavailable(self, error: OSError | sqlite3.Error) -> StoreError | sqlite3.Error:
        if isinstance(error, sqlite3.Error):
            return translated(error, self._path) or error
        return StoreUnavailable(f"the database {self._path} cannot be opened: {error.strerror or error}")

    # ---------------------------------------------------------------------------------------- news

    def subscribe(self, callback: Callable[[str, int], None]) -> Callable[[], None]:
        key = object()
        self._callbacks[key] = callback
        if self._timer is None and self._writer is not None:
            self._schedule()

        def end() -> None:
            self._callbacks.pop(key, None)

        return end

    def _publish(self, order_id: str, version: int) -> None:
        loop = asyncio.get_running_loop()
        for callback in self._callbacks.values():
            loop.call_soon(callback, order_id, version)

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._poll, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._callbacks and self._writer is not None:
            self._writer.check()
            self._schedule()


class SqliteSchema(SchemaSession):
    """A connection for migrations; foreign keys are checked at COMMIT."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def execute(self, text: str, values: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
        """Piccolo gives dates and times as objects."""
        if text == "COMMIT":
            self._check_references()
        plain = [value.isoformat() if hasattr(value, "isoformat") else value for value in values]
        cursor = self._connection.execute(text, plain)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        names, marks = ", ".join(f'"{name}"' for name in columns), ", ".join("?" * len(columns))
        self._connection.executemany(f'INSERT INTO "{table}" ({names}) VALUES ({marks})', rows)  # noqa: S608

    def _check_references(self) -> None:
        for table, _, parent, _ in self._connection.execute("PRAGMA foreign_key_check"):
            raise sqlite3.IntegrityError(f"the migration would leave rows of {table} that refer to no {parent}")

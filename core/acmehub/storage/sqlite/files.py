"""SQLite's file: connections, locks beside it, and what its errors mean."""

import asyncio
import fcntl
import glob
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from acmehub.ports.store import Conflict, StoreError, StoreUnavailable
from acmehub.storage.statements import Batch, Changed, Statement, T, Unit

_HINTS = {
    sqlite3.SQLITE_BUSY: "is locked by another process: end that process, or wait for it",
    sqlite3.SQLITE_LOCKED: "is locked by another process: end that process, or wait for it",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full, make room on it",
    sqlite3.SQLITE_READONLY: "is read-only: make the file and its folder writable for this process",
    sqlite3.SQLITE_PERM: "may not be used: make the file and its folder writable for this process",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: check that the folder exists and may be written to",
    sqlite3.SQLITE_IOERR: "cannot be read or written: the disk reports an error",
    sqlite3.SQLITE_CORRUPT: "is damaged: restore it from a backup",
    sqlite3.SQLITE_NOTADB: "is not an SQLite database: give another path, or restore it from a backup",
}
_CACHE_KIB = 65536
_CHECKPOINT_PAGES = 4000
_LOOK_SECONDS = 0.1  # flock has no time limit


def connect(path: Path, *, read_only: bool = False, create: bool = False) -> sqlite3.Connection:
    """A connection whose commits are on the disk when they return; it may be used by one thread at a time.

    It never waits for a lock: `patient` does, for one statement. Without `create` the file has to be there.
    """
    if create:
        make_private(path)
    there = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(
        there, uri=True, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    try:
        with patient(connection, 30.0):
            if not read_only:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()  # the first read takes the locks
            connection.execute(f"PRAGMA query_only = {int(read_only)}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def make_private(path: Path) -> None:
    """Make the file, if it is not there, readable for its owner alone; the files beside it get its mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        # Never opened and closed: that would drop the POSIX locks that SQLite holds in this process, and another
        # process, finding none, would delete the write-ahead log under us when it leaves.
        return


def is_shared(path: Path) -> bool:
    """Whether anybody has a connection to the database: then nobody else gets it alone."""
    connection = sqlite3.connect(path, timeout=0)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    except sqlite3.Error as error:
        if is_busy(error):
            return True
        raise translated(error, path) or error from error
    finally:
        connection.close()
    return False


@contextmanager
def patient(connection: sqlite3.Connection, seconds: float) -> Iterator[None]:
    """Inside, statements wait for locks."""
    connection.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")
    try:
        yield
    finally:
        connection.execute("PRAGMA busy_timeout = 0")


def run(connection: sqlite3.Connection, unit: Unit[T], changed: list[tuple[str, int]]) -> T:
    """Run a unit's statements, one after the other; adds the orders it changes to `changed` (id, new version)."""
    try:
        step = next(unit)
        while True:
            rows: list[tuple[object, ...]] = []
            if type(step) is Statement:
                rows = _execute(connection, step)
            elif type(step) is Batch:
                for number, statement in enumerate(step.statements):
                    found = _execute(connection, statement)
                    if number == 0 or not step.guarded:
                        rows = found
                    if step.guarded and not rows:
                        break
            elif type(step) is Changed:
                changed.extend(step.orders)
            step = unit.send(rows)
    except StopIteration as stop:
        value: T = stop.value
        return value


def _execute(connection: sqlite3.Connection, statement: Statement) -> list[tuple[object, ...]]:
    if statement.many:
        connection.executemany(statement.sql.sqlite, statement.values)
        return []
    return connection.execute(statement.sql.sqlite, statement.values).fetchall()


def is_busy(error: sqlite3.Error) -> bool:
    """Whether waiting would help."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def translated(error: sqlite3.Error, path: Path) -> StoreError | None:
    """The `StoreError` for an error of SQLite; None for a defect of the hub (a wrong statement, a wrong value)."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code in (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY):
        table, _, field = str(error).rpartition(" ")[2].partition(".")
        return Conflict(field, f"another {table} has this {field}")
    if code == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
        return Conflict("references", "something else refers to this, or what this refers to is not there")
    hint = _HINTS.get(code & 0xFF)
    return StoreUnavailable(f"the database {path} {hint} ({error})") if hint else None


class WorkerLocks:
    """Which processes that claim jobs are alive: each holds a lock on a file of its own beside the database."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._own: FileLock | None = None
        self._owner = ""

    def hold(self, owner: str) -> None:
        """Say that `owner` lives, until `release` or the end of the process; removes the files of dead processes."""
        for left in self._path.parent.glob(f"{glob.escape(self._path.name)}.worker.*.lock"):
            self._remove_unheld(left)
        file, lock = self._file(owner), FileLock(self._file(owner))
        while True:
            lock.acquire(wait=True)
            if lock.stands_for(file):
                break
            lock.release()  # another process has removed the file before it was locked
        self._own, self._owner = lock, owner

    def is_dead(self, owner: str) -> bool:
        """Whether no process holds the lock of `owner`."""
        return owner != self._owner and self._remove_unheld(self._file(owner))

    def release(self) -> None:
        """The process claims nothing any more."""
        if self._own is not None:
            self._file(self._owner).unlink(missing_ok=True)
            self._own.release()
            self._own, self._owner = None, ""

    def _file(self, owner: str) -> Path:
        digest = hashlib.sha256(owner.encode()).hexdigest()[:32]
        return self._path.with_name(f"{self._path.name}.worker.{digest}.lock")

    @staticmethod
    def _remove_unheld(file: Path) -> bool:
        lock = FileLock(file)
        if not lock.acquire(wait=False):
            return False
        file.unlink(missing_ok=True)
        lock.release()
        return True


class FileLock:
    """A lock on a file beside the database, held until `release` or the end of the process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def acquire(self, *, wait: bool) -> bool:
        """Take the lock; False when somebody else has it and `wait` is off."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    async def acquired_within(self, seconds: float) -> bool:
        """Take the lock as soon as it is free; False when it was not for that long."""
        try:
            async with asyncio.timeout(seconds):
                while not self.acquire(wait=False):  # noqa: ASYNC110  another process tells no event
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            return False
        return True

    def stands_for(self, path: Path) -> bool:
        """Whether the file that is locked is the one that stands there now."""
        try:
            there, held = path.stat(), os.fstat(self._descriptor)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

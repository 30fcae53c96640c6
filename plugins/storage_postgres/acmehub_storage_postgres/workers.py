"""Connections that each work through a common queue: one unit of work, one transaction at a time.

A caller only waits for a future, so cancelling it never touches a connection, a transaction or its place in a pool; and
a unit costs no task, no acquiring and no resetting. A connection that is lost is replaced by its next unit.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import asyncpg
import msgspec

from acmehub import StoreUnavailable
from acmehub.storage_api import Unit
from acmehub_storage_postgres.errors import Errors, is_lost, may_run_again, translated
from acmehub_storage_postgres.settings import Settings
from acmehub_storage_postgres.units import Failure, Joined, Running, cut, discard, execute, roll_back

_TRIES = 5

Published = Callable[[dict[str, int]], None]


class QueuedUnit(msgspec.Struct):
    """A unit of work to be made and run, in a transaction when it writes."""

    verb: Callable[..., Unit[Any]]
    args: tuple[Any, ...]
    future: "asyncio.Future[Any]"
    writes: bool


class Workers:
    """Up to `settings.connections` workers; `published` gets the orders of each commit and their versions."""

    def __init__(self, settings: Settings, published: Published) -> None:
        self._settings = settings
        self._place = settings.place
        self._published = published
        self._queue: deque[QueuedUnit] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._unfinished = 0
        self._rest = asyncio.Event()
        self._rest.set()
        self._joined = Joined()

    async def start(self) -> None:
        """Make the first connection: raises `StoreUnavailable` when it cannot be made."""
        try:
            connection = await self._connect()
        except Failure as failure:
            raise self._meaning(failure) from failure.error
        self._spawn(connection)

    def submit(self, verb: Callable[..., Unit[Any]], args: tuple[Any, ...], *, writes: bool) -> "asyncio.Future[Any]":
        """Run a unit on the next free connection."""
        if self._closing:
            raise StoreUnavailable(f"the storage at {self._place} was closed")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._unfinished += 1
        self._rest.clear()
        self._queue.append(QueuedUnit(verb, args, future, writes))
        while self._idle:
            sleeper = self._idle.pop()
            if not sleeper.done():
                sleeper.set_result(None)
                return future
        if len(self._tasks) < self._settings.connections:
            self._spawn(None)
        return future

    async def at_rest(self) -> None:
        """Wait until everything that was submitted is done."""
        await self._rest.wait()

    async def close(self) -> None:
        """Work through what was submitted, then close the connections."""
        self._closing = True
        for sleeper in self._idle:
            if not sleeper.done():
                sleeper.set_result(None)
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _spawn(self, connection: "asyncpg.Connection[Any] | None") -> None:
        task = asyncio.create_task(self._work(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> "asyncpg.Connection[Any]":
        try:
            return await asyncpg.connect(**self._settings.connect_arguments())
        except Errors as error:
            raise Failure(error) from error

    async def _work(self, connection: "asyncpg.Connection[Any] | None") -> None:
        while True:
            if self._queue:
                job = self._queue.popleft()
                if not job.future.done():  # else its caller was cancelled before it began
                    connection = await self._serve(job, connection)
                self._unfinished -= 1
                if not self._unfinished:
                    self._rest.set()
            elif self._closing:
                break
            else:
                sleeper = asyncio.get_running_loop().create_future()
                self._idle.append(sleeper)
                await sleeper
        if connection is not None:
            await discard(connection, self._settings.timeout)

    async def _serve(
        self, job: QueuedUnit, connection: "asyncpg.Connection[Any] | None"
    ) -> "asyncpg.Connection[Any] | None":
        """Run a job and settle its future; gives the connection to go on with."""
        tries = 0
        while True:
            tries += 1
            kept = connection is not None and not connection.is_closed()
            try:
                if connection is None or not kept:
                    connection = await self._connect()
                value = await self._run(job, connection)
            except Failure as failure:
                again = may_run_again(failure.error) and tries < _TRIES
                if is_lost(failure.error):
                    if connection is not None:
                        await cut(connection)
                    connection = None
                    again = kept and not failure.committing and not isinstance(failure.error, TimeoutError)
                if again:
                    continue
                _settle(job, error=self._meaning(failure))
            except Exception as error:  # noqa: BLE001 - what a rule raises is its caller's, and goes there
                _settle(job, error=error)
            else:
                _settle(job, value=value)
            return connection

    def _meaning(self, failure: Failure) -> BaseException:
        known = translated(failure.error, self._place, committing=failure.committing)
        if known is None:
            return failure.error
        known.__cause__ = failure.error
        return known

    async def _run(self, job: QueuedUnit, connection: "asyncpg.Connection[Any]") -> Any:
        unit = Running(job.verb(*job.args), self._joined)
        if not job.writes:
            return await unit.to_end(connection)
        if unit.is_autocommit:
            value = await unit.to_end(connection, committing=True)
        else:
            await execute(connection, "BEGIN")
            try:
                value = await unit.to_end(connection)
            except BaseException:
                await roll_back(connection)
                raise
            await execute(connection, "COMMIT", committing=True)
        if unit.changed:
            self._published(unit.changed)
        return value


def _settle(job: QueuedUnit, *, value: Any = None, error: BaseException | None = None) -> None:
    if job.future.done():  # its caller was cancelled meanwhile
        return
    if error is None:
        job.future.set_result(value)
    else:
        job.future.set_exception(error)

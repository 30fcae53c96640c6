"""Connections that each work through a common queue: one unit of work, one transaction at a time.

A caller only waits for a future, so cancelling it never touches a connection, a transaction or its place in a pool; and
a unit costs no task, no acquiring and no resetting. A connection that is lost is made anew by its next unit.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import asyncpg
import msgspec

from acmehub import Statement, StoreUnavailable, Unit
from acmehub_storage_postgres.errors import Errors, is_lost, may_run_again, translated
from acmehub_storage_postgres.settings import Settings

log = logging.getLogger(__name__)

_TRIES = 5

Published = Callable[[list[str]], None]


class Job(msgspec.Struct):
    """A unit of work to be made and run, in a transaction when it writes."""

    verb: Callable[..., Unit[Any]]
    args: tuple[Any, ...]
    future: "asyncio.Future[Any]"
    writes: bool


class _Failure(Exception):
    """The database, or the way to it, failed with `error`; `committing` when the COMMIT had been sent."""

    def __init__(self, error: BaseException, *, committing: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.committing = committing


class Workers:
    """Up to `settings.connections` workers; `published` hears which orders a transaction has changed."""

    def __init__(self, settings: Settings, published: Published) -> None:
        self._settings = settings
        self._place = settings.place
        self._published = published
        self._queue: deque[Job] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    async def start(self) -> None:
        """Make the first connection: raises `StoreUnavailable` when it cannot be made."""
        try:
            connection = await self._connect()
        except _Failure as failure:
            raise self._meaning(failure) from failure.error
        self._spawn(connection)

    def submit(self, verb: Callable[..., Unit[Any]], args: tuple[Any, ...], *, writes: bool) -> "asyncio.Future[Any]":
        """Run a unit on the next free connection."""
        if self._closing:
            raise StoreUnavailable(f"the storage at {self._place} was closed")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.append(Job(verb, args, future, writes))
        while self._idle:
            sleeper = self._idle.pop()
            if not sleeper.done():
                sleeper.set_result(None)
                return future
        if len(self._tasks) < self._settings.connections:
            self._spawn(None)
        return future

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
            raise _Failure(error) from error

    async def _work(self, connection: "asyncpg.Connection[Any] | None") -> None:
        while True:
            if self._queue:
                job = self._queue.popleft()
                if not job.future.done():  # else its caller was cancelled before it began
                    connection = await self._serve(job, connection)
            elif self._closing:
                break
            else:
                sleeper = asyncio.get_running_loop().create_future()
                self._idle.append(sleeper)
                await sleeper
        if connection is not None:
            await discard(connection, self._settings.timeout)

    async def _serve(self, job: Job, connection: "asyncpg.Connection[Any] | None") -> "asyncpg.Connection[Any] | None":
        """Run a job and settle its future; gives the connection to go on with."""
        tries = 0
        while True:
            tries += 1
            kept = connection is not None and not connection.is_closed()
            try:
                if connection is None or not kept:
                    connection = await self._connect()
                value = await self._run(job, connection)
            except _Failure as failure:
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

    def _meaning(self, failure: _Failure) -> BaseException:
        known = translated(failure.error, self._place, committing=failure.committing)
        if known is None:
            return failure.error
        known.__cause__ = failure.error
        return known

    async def _run(self, job: Job, connection: "asyncpg.Connection[Any]") -> Any:
        changed: list[str] = []
        if not job.writes:
            return await _run_unit(job.verb(*job.args), connection, changed)
        await _execute(connection, "BEGIN")
        try:
            value = await _run_unit(job.verb(*job.args), connection, changed)
        except BaseException:
            await _roll_back(connection)
            raise
        await _execute(connection, "COMMIT", committing=True)
        if changed:
            self._published(list(dict.fromkeys(changed)))
        return value


def _settle(job: Job, *, value: Any = None, error: BaseException | None = None) -> None:
    if job.future.done():  # its caller was cancelled meanwhile
        return
    if error is None:
        job.future.set_result(value)
    else:
        job.future.set_exception(error)


async def _run_unit(unit: Unit[Any], connection: "asyncpg.Connection[Any]", changed: list[str]) -> Any:
    try:
        step = next(unit)
        while True:
            rows: list[Any] = []
            if isinstance(step, Statement):
                try:
                    if step.many:
                        await connection.executemany(step.sql.postgres, step.values)
                    else:
                        rows = await connection.fetch(step.sql.postgres, *step.values)
                except Errors as error:
                    raise _Failure(error) from error
            else:
                changed.extend(step.order_ids)
            step = unit.send(rows)
    except StopIteration as stop:
        return stop.value


async def _execute(connection: "asyncpg.Connection[Any]", text: str, *, committing: bool = False) -> None:
    try:
        await connection.execute(text)
    except Errors as error:
        raise _Failure(error, committing=committing) from error


async def _roll_back(connection: "asyncpg.Connection[Any]") -> None:
    """End the transaction; a connection that cannot do even that is thrown away, which ends it too."""
    if connection.is_closed():
        return
    try:
        await connection.execute("ROLLBACK")
    except Errors as error:
        log.debug("rolling back: %s", error)
        await cut(connection)


async def discard(connection: "asyncpg.Connection[Any]", timeout: float) -> None:
    """Close a connection, by force when it does not answer."""
    try:
        await connection.close(timeout=timeout)
    except Errors as error:
        log.debug("closing a connection: %s", error)
        await cut(connection)


async def cut(connection: "asyncpg.Connection[Any]") -> None:
    """Drop a connection without a word; its socket is closed when this returns."""
    connection.terminate()
    await asyncio.sleep(0)  # the transport closes in the loop's next round

"""Connections that each work through a common queue: one unit of work, one transaction at a time.

A caller only waits for a future, so cancelling it never touches a connection, a transaction or its place in a pool; and
a unit costs no task, no acquiring and no resetting. A connection that is lost is replaced by its next unit.

While the database is away, one task tries to reach it (`away`), and units wait for that as long as the settings say.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from acmehub import StoreAway, StoreUnavailable
from acmehub.storage_api import Unit
from acmehub_storage_postgres.away import Away
from acmehub_storage_postgres.connecting import Connector, DatabaseConnection
from acmehub_storage_postgres.errors import Errors, is_lost, is_passing, may_run_again, translated
from acmehub_storage_postgres.settings import Settings
from acmehub_storage_postgres.units import Failure, Joined, Running, cut, execute, roll_back

MOST_WAITING = 4096
"""Units that may wait for a connection; more are refused at once."""

MOST_WAITING_AWAY = 512
"""The same while the database is away."""

_TRIES = 5

Published = Callable[[dict[str, int]], None]


class Doubt(msgspec.Struct, frozen=True):
    """A guarded statement that was sent, and whose connection, to the database `origin`, was lost by `failure`."""

    unit: Running
    failure: Failure
    origin: tuple[Any, ...]


class QueuedUnit(msgspec.Struct):
    """A unit of work to be made and run, in a transaction when it writes; `at` is when it came (loop time)."""

    verb: Callable[..., Unit[Any]]
    args: tuple[Any, ...]
    future: "asyncio.Future[Any]"
    writes: bool
    at: float
    doubt: Doubt | None = None


class Workers:
    """Up to `settings.connections` workers; `published` gets the orders of each commit and their versions."""

    def __init__(self, settings: Settings, connector: Connector, published: Published) -> None:
        self._settings = settings
        self._place = settings.place
        self._connector = connector
        self._published = published
        self._loop = asyncio.get_running_loop()
        self._queue: deque[QueuedUnit] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way: dict[object, QueuedUnit] = {}  # by the worker that runs it
        self._closing = False
        self._unfinished = 0
        self._rest = asyncio.Event()
        self._rest.set()
        self._joined = Joined()
        self.away = Away(connector, settings, self._expire)

    async def start(self) -> None:
        """Make the first connection: raises `StoreUnavailable` when it cannot be made."""
        try:
            session = await self._connector.connect()
        except Errors as error:
            raise self._meaning(Failure(error)) from error
        self._spawn(session)

    def submit(self, verb: Callable[..., Unit[Any]], args: tuple[Any, ...], *, writes: bool) -> "asyncio.Future[Any]":
        """Run a unit on the next free connection. The future of one that is refused has its `StoreUnavailable`."""
        if self._closing:
            raise StoreUnavailable(f"the storage at {self._place} was closed")
        future: asyncio.Future[Any] = self._loop.create_future()
        refusal = self._refusal()
        if refusal is not None:
            future.set_exception(refusal)
            return future
        now = self._loop.time()
        if not self._unfinished:
            self.away.busy(now)
        self._unfinished += 1
        self._rest.clear()
        self._queue.append(QueuedUnit(verb, args, future, writes, now))
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
        await self.away.close()

    def _refusal(self) -> StoreUnavailable | None:
        """Why a unit cannot even wait."""
        if self.away.outlasts_wait:
            return self.away.error
        most = MOST_WAITING_AWAY if self.away else MOST_WAITING
        if len(self._queue) >= most:
            return StoreAway(f"PostgreSQL at {self._place}: {most} requests wait for it already: try again later")
        return None

    def _expire(self) -> None:
        """Those that have waited as long as the settings say hear that the database is away.

        Also those whose statements are under way, if nothing is answered any more: what has become of a write is not
        known.
        """
        over = self._loop.time() - self._settings.wait
        while self._queue and self._queue[0].at <= over:
            _settle(self._queue.popleft(), error=self.away.error)
            self._finish()
        if not self.away.outlasts_wait:
            return
        for job in self._under_way.values():
            if job.at <= over:
                doubt = "; whether the change was made is not known" if job.writes else ""
                _settle(job, error=StoreAway(f"{self.away.error}{doubt}"))

    def _finish(self) -> None:
        self._unfinished -= 1
        if not self._unfinished:
            self._rest.set()
            self.away.at_rest()

    def _spawn(self, session: DatabaseConnection | None) -> None:
        task = asyncio.create_task(self._work(session))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, session: DatabaseConnection | None) -> None:
        me = object()
        while True:
            if self._queue:
                job = self._under_way[me] = self._queue.popleft()
                if not job.future.done():  # else its caller was cancelled before it began
                    session = await self._serve(job, session)
                del self._under_way[me]
                self._finish()
            elif self._closing:
                break
            else:
                sleeper = self._loop.create_future()
                self._idle.append(sleeper)
                await sleeper
        if session is not None:
            await self._connector.close(session)

    async def _serve(self, job: QueuedUnit, session: DatabaseConnection | None) -> DatabaseConnection | None:
        """Run a job and settle its future; gives the connection to go on with."""
        tries = 0
        while True:
            tries += 1
            if session is not None and not self._connector.is_current(session):
                await cut(session)  # closed, or it speaks to a database that another one has replaced
                session = None
            kept = session is not None
            try:
                if session is None:
                    session = await self._connect(job)
                value = await self._run(job, session)
            except Failure as failure:
                error, again = failure.error, may_run_again(failure.error)
                if not is_lost(error):
                    self.away.answered(self._loop.time())
                elif session is not None:
                    await cut(session)
                    session = None
                    may_be_sent = not failure.committing or (job.doubt is not None and job.doubt.failure is failure)
                    again = may_be_sent and not isinstance(error, TimeoutError)
                    again = again and (kept or is_passing(error))  # else it is what a new connection says, too
                if again and tries < _TRIES:
                    continue
                _settle(job, error=self._meaning(failure))
            except Exception as error:  # noqa: BLE001 - what a rule raises is its caller's, and goes there
                self.away.answered(self._loop.time())
                _settle(job, error=error)
            else:
                self.away.answered(self._loop.time())
                _settle(job, value=value)
            return session

    async def _connect(self, job: QueuedUnit) -> DatabaseConnection:
        """A new connection; while the database is away, its caller waits as long as the settings say."""
        while True:
            if not self.away:
                try:
                    return await self._connector.connect()
                except Errors as error:
                    if not is_passing(error):
                        raise Failure(error) from error
                    self.away.begin(error)
            left = job.at + self._settings.wait - self._loop.time()
            if not await self.away.ends_within(left):
                raise Failure(self.away.error)

    def _meaning(self, failure: Failure) -> BaseException:
        known = translated(failure.error, self._place, committing=failure.committing)
        if known is None:
            return failure.error
        known.__cause__ = failure.error
        return known

    async def _run(self, job: QueuedUnit, session: DatabaseConnection) -> Any:
        unit = Running(job.verb(*job.args), self._joined) if job.doubt is None else job.doubt.unit
        if not job.writes:
            return await unit.to_end(session)
        if unit.is_guarded:
            value = await self._run_guarded(job, unit, session)
        elif unit.is_autocommit:
            value = await unit.to_end(session, committing=True)
        else:
            await execute(session, "BEGIN")
            try:
                value = await unit.to_end(session)
            except BaseException:
                await roll_back(session)
                raise
            await execute(session, "COMMIT", committing=True)
        if unit.changed:
            self._published(unit.changed)
        return value

    async def _run_guarded(self, job: QueuedUnit, unit: Running, session: DatabaseConnection) -> Any:
        """Run a statement that may be sent again when its connection is lost: of the two one at most does something.

        Where the second one does, the first never will; where it finds the guard gone, the first may have.
        """
        doubt = job.doubt
        if doubt is not None and doubt.origin != session.origin:  # the guard may stand for other content there
            raise Failure(doubt.failure.error, committing=True)
        try:
            value = await unit.to_end(session, committing=True)
        except Failure as failure:
            if is_lost(failure.error):
                job.doubt = Doubt(unit, failure, session.origin)
            raise
        if doubt is not None and not unit.guard_held:
            raise Failure(doubt.failure.error, committing=True)
        return value


def _settle(job: QueuedUnit, *, value: Any = None, error: BaseException | None = None) -> None:
    if job.future.done():  # its caller was cancelled meanwhile
        return
    if error is None:
        job.future.set_result(value)
    else:
        job.future.set_exception(error)

"""The job loop: claims jobs that are due, works on several at once, waits for news or the next due time, and drains.

Orders, TXT removals, renewal windows and pruning are subclasses of `Loop`: each says how to `claim` and how to `work`.
"""

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

from acmehub.ports.clock import Clock
from acmehub.ports.store import StoreUnavailable
from acmehub.runtime.backoff import back_off, jittered
from acmehub.runtime.defects import Defects
from acmehub.runtime.places import NO_GROUPS, Groups, Places

BREATH = 0.025  # seconds between two claims unless the first found jobs and more are due: many commits concern no job
RESTART = 5.0  # seconds until a loop that failed starts again
LONGEST_CLAIM = 5.0  # seconds that a loop which stops waits for a claim under way
LONGEST_OUTAGE_PAUSE = 15.0  # seconds between claims while the storage is unavailable


T = TypeVar("T")

_log = logging.getLogger(__name__)


class Loop(ABC, Generic[T]):
    """One kind of job, worked on by at most `places` at once. `name` stands in log messages.

    With `shared`, places are shared out among the `groups` of jobs (`runtime.places`).
    The loop claims again when it is woken, when a job that has ended is due again, when a place is free for one that
    was left, when `next_due` has come, and after `idle` seconds at the latest; it waits until at least `refill` places
    are free. On cancellation running jobs have `grace` seconds to end.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        rng: random.Random,
        *,
        places: int,
        refill: int = 1,
        idle: float = 60.0,
        grace: float = 0.0,
        shared: bool = False,
    ) -> None:
        self.name = name
        self.refill = refill
        self.idle = idle
        self.grace = grace
        self._clock = clock
        self._rng = rng
        self._running: dict[str, tuple[T, asyncio.Task[None]]] = {}
        self._reserved: set[str] = set()
        self._woken = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        self.places = Places(places, self._place_is_free, shared=shared)
        self.passed_over: datetime | None = None  # when the last claim found nothing more but jobs of full groups
        self._full_then: frozenset[str] = frozenset()  # the groups that the last claim passed over
        self._more = False  # whether the last claim may have left due jobs of other groups
        self._not_claiming = asyncio.Event()
        self._not_claiming.set()
        self._fatal: BaseException | None = None
        self._defects = Defects(clock.monotonic)

    # ------------------------------------------------------------------------------------- what a kind of job says

    @abstractmethod
    async def claim(self, limit: int) -> Sequence[T]:
        """Up to `limit` jobs that are due, none of a group that is full; may raise `StoreUnavailable`."""

    @abstractmethod
    async def work(self, job: T) -> None:
        """Work on one job. After `StoreUnavailable` the job is left to its next claim."""

    @abstractmethod
    def key(self, job: T) -> str:
        """What identifies a job: of two with one key, the one that runs already is kept."""

    def groups(self, job: T) -> Groups:  # noqa: ARG002  for subclasses
        """What a job belongs to."""
        return NO_GROUPS

    def due_again(self, job: T) -> datetime | None:  # noqa: ARG002  for subclasses
        """When a claim may find a job that has just ended; None when it will not become due by itself."""
        return self._clock.now()

    async def next_due(self) -> datetime | None:
        """When a claim will find something, after `passed_over`; None when nothing is known to become due."""
        return None

    async def handle_unexpected(self, job: T, error: Exception) -> None:
        """`work` raised an error that it does not handle; the loop has logged it."""

    async def give_back(self, job: T) -> None:
        """The process stops and `job` was cancelled: let another process claim it."""

    # ------------------------------------------------------------------------------------------------- for callers

    def wake(self) -> None:
        """Claim now."""
        self._woken.set()

    def has_place(self, groups: Groups) -> bool:
        """Whether a job of these groups may be started now, because no other one that is due waits for the place."""
        passed_over = not self._full_then.isdisjoint((*groups.shares, groups.crowd))
        return not self._more and not passed_over and self.places.open_to(groups)

    def reserve(self, key: str, groups: Groups) -> bool:
        """Take a place for a job that is about to be claimed elsewhere, and then started; False without a place."""
        if not self.has_place(groups):
            return False
        if key not in self._running:
            self._reserved.add(key)
            self.places.take(key, groups)
        return True

    def is_reserved(self, key: str) -> bool:
        """Whether the job has such a place."""
        return key in self._reserved

    def free(self, key: str) -> None:
        """Give the place of a job back that was not started after all."""
        if key in self._reserved:
            self._reserved.discard(key)
            self.places.leave(key)

    def start(self, job: T) -> None:
        """Work on a job that is claimed already, at once and beside the others."""
        self._reserved.discard(self.key(job))
        self._run(job, self._attempt(job), self._ended)

    def running(self) -> list[T]:
        """The jobs in work."""
        return [job for job, _task in self._running.values()]

    def find(self, key: str) -> T | None:
        """The job in work with this key."""
        kept = self._running.get(key)
        return None if kept is None else kept[0]

    async def run(self) -> None:
        """Work until cancelled, then drain. A loop that fails is logged and starts again."""
        task = asyncio.create_task(keep_running(self.name, self._claim_for_ever))
        try:
            await asyncio.wait([task])
            await task
        except asyncio.CancelledError:
            await self._end_claim()
            task.cancel()
            await asyncio.wait([task])
            raise
        finally:
            await self.drain()

    async def work_off(self) -> int:
        """Work on everything that is due now until nothing is; how many jobs were claimed."""
        count = 0
        while True:
            started = await self._claim()
            count += started
            if not started and not self._running:
                return count
            await self.wait_until_idle()

    async def wait_until_idle(self, seconds: float | None = None) -> None:
        """Wait until no job is in work, or `seconds` have passed."""
        try:
            async with asyncio.timeout(seconds):
                while self._running:
                    await asyncio.wait([task for _job, task in self._running.values()])
                    await asyncio.sleep(0)  # lets the callbacks of jobs that ended run
        except TimeoutError:
            return
        self._raise_fatal()

    async def drain(self) -> None:
        """Let running jobs end within the grace; cancel the others and give them back."""
        await self.wait_until_idle(self.grace)
        for job in await self.cancel():
            await self.give_back(job)

    async def cancel(self) -> list[T]:
        """Cancel the jobs in work; which they were. They are not given back."""
        left = list(self._running.values())
        for _job, task in left:
            task.cancel()
        if left:
            await asyncio.wait([task for _job, task in left])
        return [job for job, _task in left]

    # ---------------------------------------------------------------------------------------------------- claiming

    async def _claim(self) -> int:
        """Claim for the free places; how many jobs were started."""
        self.passed_over = None
        room = self.places.room() if self.places.free >= self.refill else 0
        self._more = room <= 0
        if self._more:
            return 0
        full, now = self.places.full(), self._clock.now()
        self._not_claiming.clear()
        try:
            claimed = await self.claim(room)
        finally:
            self._not_claiming.set()
        self._full_then, self._more = full, len(claimed) >= room
        if full and not self._more:
            self.passed_over = now
        started = 0
        for job in claimed:
            if self.key(job) not in self._running:
                self.start(job)
                started += 1
        return started

    async def _end_claim(self) -> None:
        """Let a claim that is under way end: cancelled, it may have claimed jobs that nobody works on."""
        try:
            async with asyncio.timeout(LONGEST_CLAIM):
                await self._not_claiming.wait()
        except TimeoutError:
            _log.warning("%s: a claim does not end; what it claims is left to its next claim", self.name)

    async def _claim_for_ever(self) -> None:
        failures = 0
        while True:
            self._woken.clear()
            self._set_alarm(None)
            self._raise_fatal()
            claimed_at = self._clock.monotonic()
            try:
                started = await self._claim()
                seconds = await self._until_next()
                failures = 0
            except StoreUnavailable as error:
                failures += 1
                seconds = jittered(back_off(failures, longest=LONGEST_OUTAGE_PAUSE), self._rng)
                _log.debug("%s: nothing can be claimed now (again in %.0f s): %s", self.name, seconds, error)
                await self._sleep(seconds, claimed_at)
                continue
            if not started or seconds > 0:
                await self._sleep(seconds, claimed_at)

    async def _until_next(self) -> float:
        """Seconds until a job can be claimed; without free places only the end of a job counts."""
        if self.places.free < self.refill:
            return self.idle
        due = await self.next_due()
        seconds = self.idle if due is None else min(self.idle, (due - self._clock.now()).total_seconds())
        self._more = seconds <= 0
        return seconds

    async def _sleep(self, seconds: float, claimed_at: float) -> None:
        """Until `seconds` have passed or the loop is woken, and `BREATH` after the last claim."""
        early = BREATH - (self._clock.monotonic() - claimed_at)
        if early > 0:
            await asyncio.sleep(early)
            seconds -= early
        if seconds <= 0 or self._woken.is_set():
            return
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass  # the next job is due

    def _place_is_free(self) -> None:
        """Claim, unless the last claim has left nothing for want of a place."""
        if self._more or self._full_then or not self._not_claiming.is_set():
            self.wake()

    def _wake_at(self, at: datetime) -> None:
        """Claim then at the latest; the next round asks the storage what is due."""
        seconds = (at - self._clock.now()).total_seconds()
        if seconds <= 0:
            self.wake()
        elif seconds < self.idle:
            when = asyncio.get_running_loop().time() + seconds
            if self._alarm is None or when < self._alarm.when():
                self._set_alarm(when)

    def _set_alarm(self, when: float | None) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = None if when is None else asyncio.get_running_loop().call_at(when, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self.wake()

    # ----------------------------------------------------------------------------------------------------- working

    def _run(self, job: T, work: Coroutine[Any, Any, None], ended: Callable[[T, asyncio.Task[None]], None]) -> None:
        task = asyncio.create_task(work)
        self._running[self.key(job)] = (job, task)
        self.places.take(self.key(job), self.groups(job))
        task.add_done_callback(lambda done: ended(job, done))

    async def _attempt(self, job: T) -> None:
        try:
            await self.work(job)
        except StoreUnavailable as error:
            _log.debug("%s: %s is left to its next claim: %s", self.name, self.key(job), error)

    def _ended(self, job: T, task: asyncio.Task[None]) -> None:
        error = self._release(job, task)
        if isinstance(error, Exception):
            if self._defects.is_news(error):
                _log.error("%s: %s failed in an unexpected way", self.name, self.key(job), exc_info=error)
            self._run(job, self._handle_unexpected(job, error), self._handled)
        elif error is not None:
            self._fatal = error
            self.wake()
        elif (again := self.due_again(job)) is not None:
            self._wake_at(again)

    async def _handle_unexpected(self, job: T, error: Exception) -> None:
        try:
            await self.handle_unexpected(job, error)
        except StoreUnavailable as second:
            _log.debug("%s: %s is left to its next claim: %s", self.name, self.key(job), second)

    def _handled(self, job: T, task: asyncio.Task[None]) -> None:
        error = self._release(job, task)
        if error is not None:
            _log.error("%s: %s failed twice", self.name, self.key(job), exc_info=error)
        if (again := self.due_again(job)) is not None:
            self._wake_at(again)

    def _release(self, job: T, task: asyncio.Task[None]) -> BaseException | None:
        """Free the place of a job that ended; the error it ended with."""
        kept = self._running.get(self.key(job))
        if kept is not None and kept[1] is task:
            del self._running[self.key(job)]
            self.places.leave(self.key(job))
        return None if task.cancelled() else task.exception()

    def _raise_fatal(self) -> None:
        """Raise what ended a job and is no `Exception`: it ends the process."""
        if self._fatal is not None:
            fatal, self._fatal = self._fatal, None
            raise fatal


async def keep_running(name: str, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `loop` until cancelled: when it ends or fails, log that and start it again."""
    while True:
        task = asyncio.create_task(loop())
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            raise
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, Exception):
            raise error
        _log.error("%s: the loop ended and starts again in %.0f s", name, RESTART, exc_info=error)
        await asyncio.sleep(RESTART)

"""Where the buckets of `rules.rate_limits` are: in the memory of the only serving process, or in the shared storage."""

import asyncio
import heapq
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from acmehub.ports.clock import Clock
from acmehub.ports.spending import RateLimits
from acmehub.ports.store import StoreUnavailable
from acmehub.rules.rate_limits import SECOND, Charge, TokensLacking, TokensTaken, take
from acmehub.runtime.lru import Lru

MOST_BUCKETS = 100_000
"""Buckets in memory; beyond that those that are full soonest are taken for full."""

STORE_EVERY = 1.0  # seconds
_WORTH_STORING = 60 * SECOND  # what a restart gives back at most, or one token where that takes longer
_STORED = "stored"  # the row with the time at which the others were stored
_MOST_AT_ONCE = 64
_MOST_BLOCKED = 10_000

_log = logging.getLogger(__name__)


class Buckets(Protocol):
    """Takes tokens, all of a request's or none."""

    async def take(self, charges: Sequence[Charge]) -> TokensTaken | TokensLacking:
        """Take the tokens of all charges, or none; raises `StoreUnavailable`."""
        ...

    def kept(self) -> AbstractAsyncContextManager[None]:
        """Inside, buckets go on as the process before has left them, and are kept for the next one."""
        ...


def microseconds(clock: Clock) -> int:
    """The time as buckets have it."""
    return int(clock.now().timestamp() * SECOND)


class LocalBuckets:
    """Buckets of the only serving process. Those that lack much are stored once a second, and read at the start: a
    crash gives back what was taken in the last second, any restart a minute's tokens (at least one)."""

    def __init__(self, stored: RateLimits, clock: Clock, most: int = MOST_BUCKETS) -> None:
        self._stored = stored
        self._clock = clock
        self._most = most
        self._full_at: dict[str, int] = {}
        self._changed: set[str] = set()
        self._has_changed = asyncio.Event()
        self._is_told = False  # that nothing can be stored now

    def __len__(self) -> int:
        return len(self._full_at)

    async def take(self, charges: Sequence[Charge]) -> TokensTaken | TokensLacking:
        now = microseconds(self._clock)
        result = take(self._full_at, charges, now)  # nothing is awaited, so that two requests cannot take one token
        if isinstance(result, TokensTaken):
            self._full_at.update(result.full_at)
            for charge in charges:
                if self._full_at[charge.key] - now > max(_WORTH_STORING, charge.limit.interval):
                    self._changed.add(charge.key)
                    self._has_changed.set()
            if len(self._full_at) > self._most:
                self._make_room(now)
        return result

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Reads what an earlier process has stored, and stores what changes, the last of it on leaving."""
        now = microseconds(self._clock)
        full_at = dict(await self._stored.load(now, self._most + 1))
        back = max(0, full_at.pop(_STORED, now) - now)  # so far the clock was put back meanwhile
        self._full_at = {key: full - back for key, full in full_at.items()}
        task = asyncio.create_task(self._store_regularly(), name="limits")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            await self._store()

    async def _store_regularly(self) -> None:
        while True:
            await self._has_changed.wait()  # an idle hub is not woken
            await asyncio.sleep(STORE_EVERY)
            self._has_changed.clear()
            await self._store()

    async def _store(self) -> None:
        """Store what has changed; what could not be stored is tried again with the next."""
        changed = {key: self._full_at[key] for key in self._changed if key in self._full_at}
        self._changed.clear()
        if not changed:
            return
        try:
            await self._stored.save({**changed, _STORED: microseconds(self._clock)})
        except StoreUnavailable as error:
            if not self._is_told:
                _log.warning("what clients have used of their limits is not stored now: %s", error)
            self._is_told = True
            self._changed.update(changed)
            self._has_changed.set()
        else:
            self._is_told = False

    def _make_room(self, now: int) -> None:
        """Drop the buckets that are full, and if they are few, a tenth of all."""
        self._full_at = {key: full for key, full in self._full_at.items() if full > now}
        spare = len(self._full_at) - self._most * 9 // 10
        if spare > 0:
            for key in heapq.nsmallest(spare, self._full_at, key=self._full_at.__getitem__):
                del self._full_at[key]


class SharedBuckets:
    """Buckets of serving processes that share a storage. What arrives while a transaction is under way is taken in the
    next one together; a bucket that has refused is not asked for again before it can have the tokens."""

    def __init__(self, stored: RateLimits, clock: Clock) -> None:
        self._stored = stored
        self._clock = clock
        self._refused: Lru[str, tuple[int, int]] = Lru(_MOST_BLOCKED)
        self._waiting: list[tuple[Sequence[Charge], asyncio.Future[TokensTaken | TokensLacking]]] = []
        self._task: asyncio.Task[None] | None = None

    async def take(self, charges: Sequence[Charge]) -> TokensTaken | TokensLacking:
        now = microseconds(self._clock)
        for charge in charges:
            until, cost = self._refused.get(charge.key) or (0, 0)
            if now < until and charge.cost >= cost:
                return TokensLacking(charge, until - now)
        future: asyncio.Future[TokensTaken | TokensLacking] = asyncio.get_running_loop().create_future()
        self._waiting.append((charges, future))
        if self._task is None:
            self._task = asyncio.create_task(self._take_waiting(), name="limits")
        result = await future
        if isinstance(result, TokensLacking):
            refused = result.charge
            self._refused.put(refused.key, (microseconds(self._clock) + result.wait, refused.cost))
        return result

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Nothing to do: every change is stored at once."""
        yield

    async def _take_waiting(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
                await self._take_batch(batch)
        finally:
            self._task = None

    async def _take_batch(
        self, batch: Sequence[tuple[Sequence[Charge], "asyncio.Future[TokensTaken | TokensLacking]"]]
    ) -> None:
        wanted = [(charges, future) for charges, future in batch if not future.done()]  # not cancelled meanwhile
        if not wanted:
            return
        try:
            results = await self._stored.take([charges for charges, _ in wanted], microseconds(self._clock))
        except Exception as error:  # noqa: BLE001  whatever it is, each caller gets it
            for _, future in wanted:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(wanted, results, strict=True):
            if not future.done():
                future.set_result(result)

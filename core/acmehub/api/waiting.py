"""`wait` and `since`: an answer about an order that comes as soon as there is news. It is a coroutine that waits; it
holds no thread and no database connection."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import msgspec

from acmehub.admin.operations.orders import OrderDetail
from acmehub.api.problems import invalid
from acmehub.models import OrderStatus
from acmehub.ports.clock import Clock
from acmehub.runtime.order_events import OrderEvents

LONGEST = 60.0  # seconds
MOST = 512
"""Answers that wait at once; further requests are answered at once."""

MOST_OF_TOKEN = 16
_OVER = (OrderStatus.VALID, OrderStatus.INVALID)


class WaitQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Wait up to `wait` seconds for a version of the order newer than `since` (0: than the present one)."""

    wait: float = 0.0
    since: int = 0


class Waiting:
    """All answers that wait; `stopping` ends them."""

    def __init__(self, order_events: OrderEvents, stopping: asyncio.Event, clock: Clock) -> None:
        self._order_events = order_events
        self._stopping = stopping
        self._clock = clock
        self._held: Counter[str] = Counter()

    async def newer(self, read: Callable[[], Awaitable[OrderDetail]], query: WaitQuery, credential: str) -> OrderDetail:
        """The order as soon as it is newer, is over, or the time is up."""
        if not 0 <= query.wait <= LONGEST:
            raise invalid("wait", f"0 to {LONGEST:g} seconds")
        found = await read()
        since = query.since or found.version
        if not query.wait or self._held.total() >= MOST or self._held[credential] >= MOST_OF_TOKEN:
            return found
        self._held[credential] += 1
        try:
            return await self._newer(read, found, since, self._clock.monotonic() + query.wait)
        finally:
            self._held[credential] -= 1
            if not self._held[credential]:
                del self._held[credential]

    async def _newer(
        self, read: Callable[[], Awaitable[OrderDetail]], found: OrderDetail, since: int, end: float
    ) -> OrderDetail:
        with self._order_events.subscribe(found.id) as subscription:
            while found.version <= since and found.status not in _OVER and not self._stopping.is_set():
                left = end - self._clock.monotonic()
                if left <= 0:
                    return found
                await subscription.wait(found.version, left)
                found = await read()
        return found

"""Open orders that wait for their clients have no step that judges their right: they are looked at in turn."""

import random
from collections.abc import Awaitable, Callable, Sequence

from acmehub.models import Order, OrderStatus
from acmehub.ports.clock import Clock
from acmehub.ports.lists import OrderFilter
from acmehub.ports.store import Missing, Store
from acmehub.rules.rights import RightTaken, end_open_order
from acmehub.runtime.announcements import apply_end
from acmehub.runtime.jobs import Loop
from acmehub.runtime.rights import Rights

INTERVAL = 60.0  # seconds
BATCH = 100  # orders an interval


class IdleOrders(Loop[Order]):
    """Ends idle orders whose account may not have the names any more, `BATCH` orders a minute, newest first, then again
    from the newest. `announce` is called with each order that ended. One per worker process."""

    def __init__(
        self,
        store: Store,
        rights: Rights,
        clock: Clock,
        rng: random.Random,
        announce: Callable[[Order], Awaitable[None]],
    ) -> None:
        super().__init__("idle orders", clock, rng, places=BATCH, refill=BATCH, idle=INTERVAL)
        self._store = store
        self._rights = rights
        self._announce = announce
        self._look_at = clock.monotonic()
        self._status = OrderStatus.READY
        self._after = ""

    async def claim(self, limit: int) -> Sequence[Order]:
        """The next ready orders, after the oldest of them the pending ones, once an interval."""
        now = self._clock.monotonic()
        if now < self._look_at:
            return ()
        self._look_at = now + INTERVAL
        found = await self._store.orders.list(OrderFilter(status=self._status), after=self._after, limit=limit)
        self._after = found[-1].id if len(found) == limit else ""
        if not self._after:
            self._status = OrderStatus.PENDING if self._status is OrderStatus.READY else OrderStatus.READY
        return [order for order in found if order.run_at is None]

    def key(self, job: Order) -> str:
        """The order's id."""
        return job.id

    async def work(self, job: Order) -> None:
        """End the order if its right was taken, unless its client finalized it meanwhile."""
        try:
            await self._rights.require_step(job)
        except RightTaken as reason:
            await self._end(job, reason)

    async def _end(self, job: Order, reason: RightTaken) -> None:
        now = self._clock.now()
        try:
            bundle, ended = await apply_end(self._store, job.id, lambda stored: end_open_order(stored, reason, now))
        except Missing:
            return
        if ended:
            await self._announce(bundle.order)

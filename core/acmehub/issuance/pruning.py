"""What is over is put away, in small batches: orders that lapsed, nonces that nobody can use any more, and in the end
orders that are done or failed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from acmehub.models import Order, OrderStatus
from acmehub.ports.clock import Clock
from acmehub.ports.store import Missing, Store, StoreUnavailable
from acmehub.rules import orders
from acmehub.rules.orders import Change, OrderBundle

BATCH = 50
INTERVAL = 60.0
FORGET_EVERY = 3600.0

_log = logging.getLogger(__name__)


class Pruner:
    """Expires orders and forgets nonces; one per worker process. `announce` is told of each order that ended; orders
    that are over are forgotten after `keep` (None: never)."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        announce: Callable[[Order], Awaitable[None]],
        keep: timedelta | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._announce = announce
        self._keep = keep
        self._forget_at = clock.monotonic()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                await self.work_off()
            except StoreUnavailable as error:
                _log.warning("nothing can be pruned now: %s", error)
            await asyncio.sleep(INTERVAL)

    async def work_off(self) -> int:
        """Prune what is over now; how many orders lapsed."""
        await self._store.nonces.prune(self._clock.now())
        count = 0
        while lapsed := await self._store.orders.lapsed(self._clock.now(), BATCH):
            for order_id in lapsed:
                await self._expire(order_id)
            count += len(lapsed)
        if self._keep is not None and self._clock.monotonic() >= self._forget_at:
            self._forget_at = self._clock.monotonic() + FORGET_EVERY
            await self._forget(self._keep)
        return count

    async def _forget(self, keep: timedelta) -> None:
        forgotten = 0
        while count := await self._store.orders.prune(self._clock.now() - keep, BATCH):
            forgotten += count
        if forgotten:
            _log.info("%d orders that were long over were forgotten", forgotten)

    async def _expire(self, order_id: str) -> None:
        now = self._clock.now()

        def rule(current: OrderBundle) -> Change:
            open_still = current.order.status in (OrderStatus.PENDING, OrderStatus.READY)
            if not open_still or current.order.expires > now:
                return Change(order=current.order)
            return orders.expired(current, now)

        try:
            bundle = await self._store.orders.apply(order_id, rule)
        except Missing:
            return
        if bundle.order.status is OrderStatus.INVALID and not bundle.order.preauthorization:
            await self._announce(bundle.order)

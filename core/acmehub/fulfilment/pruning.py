"""What is over is put away, in small batches: orders that lapsed, nonces that nobody can use any more."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from acmehub import orders
from acmehub.models import Order, OrderStatus
from acmehub.orders import Change, OrderBundle
from acmehub.ports.clock import Clock
from acmehub.ports.store import Missing, Store, StoreUnavailable

BATCH = 50
INTERVAL = 60.0

_log = logging.getLogger(__name__)


class Pruner:
    """Expires orders and forgets nonces; one per worker process. `announce` is told of each order that ended."""

    def __init__(self, store: Store, clock: Clock, announce: Callable[[Order], Awaitable[None]]) -> None:
        self._store = store
        self._clock = clock
        self._announce = announce

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
        return count

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
        if bundle.order.status is OrderStatus.INVALID:
            await self._announce(bundle.order)

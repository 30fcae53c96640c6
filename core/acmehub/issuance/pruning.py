"""Pruning: expires orders that lapsed, and forgets used nonces, full buckets, zone leases that are over, idempotency
keys past their day, orders that ended long ago, and old lines of timelines, in small batches; after an upgrade, fills
what the migration left empty."""

import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from acmehub.models import Order, OrderStatus
from acmehub.ports.clock import Clock
from acmehub.ports.store import Missing, Store
from acmehub.rules import orders
from acmehub.rules.orders import Change, OrderBundle
from acmehub.runtime.announcements import apply_end
from acmehub.runtime.client_limits.buckets import microseconds
from acmehub.runtime.jobs import Loop

BATCH = 50
LINES = 500
FILLED_AT_ONCE = 25
EXPIRED_AT_ONCE = 8
INTERVAL = 60.0
FORGET_EVERY = 3600.0
KEEP_ZONE_LEASES = timedelta(days=1)

_log = logging.getLogger(__name__)


class Pruner(Loop[str]):
    """Expires lapsed orders, by id; each claim also forgets what nobody needs. One per worker process.

    `announce` is called with each order that ended. Orders that ended and the lines of their timelines are forgotten
    after `keep` (None: never).
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        rng: random.Random,
        announce: Callable[[Order], Awaitable[None]],
        keep: timedelta | None = None,
    ) -> None:
        super().__init__("pruning", clock, rng, places=EXPIRED_AT_ONCE, refill=EXPIRED_AT_ONCE, idle=INTERVAL)
        self._store = store
        self._announce = announce
        self._keep = keep
        self._forget_at = self._nonces_at = clock.monotonic()

    async def claim(self, limit: int) -> Sequence[str]:
        """Orders that lapsed. Nonces and buckets are forgotten, and what is empty is filled, once a minute; the rest is
        forgotten once an hour."""
        now = self._clock.monotonic()
        if now >= self._nonces_at:
            self._nonces_at = now + INTERVAL
            await self._store.nonces.prune(self._clock.now())
            await self._store.rate_limits.prune(microseconds(self._clock))
            await self._fill()
        if now >= self._forget_at:
            self._forget_at = now + FORGET_EVERY
            await self._store.zone_leases.prune(self._clock.now() - KEEP_ZONE_LEASES)
            await self._store.idempotency.forget(self._clock.now())
            if self._keep is not None:
                await self._forget(self._keep)
                await self._forget_lines(self._keep)
        return await self._store.orders.lapsed(self._clock.now(), limit)

    def key(self, job: str) -> str:
        """The order's id."""
        return job

    async def work(self, job: str) -> None:
        """Expire the order, unless its client finalized it meanwhile."""
        now = self._clock.now()

        def rule(current: OrderBundle) -> Change:
            unfinished = current.order.status in (OrderStatus.PENDING, OrderStatus.READY)
            if not unfinished or current.order.expires > now:
                return Change(order=current.order)
            return orders.expired(current, now)

        try:
            bundle, ended = await apply_end(self._store, job, rule)
        except Missing:
            return
        if ended:
            await self._announce(bundle.order)

    async def _fill(self) -> None:
        """Each batch is a transaction, so that others write in between."""
        filled = 0
        while count := await self._store.certificates.fill_name_sets(FILLED_AT_ONCE):
            filled += count
        if filled:
            _log.info("the sets of names of %d certificates were stored, for lists of certificates", filled)

    async def _forget(self, keep: timedelta) -> None:
        forgotten = 0
        while count := await self._store.orders.prune(self._clock.now() - keep, BATCH):
            forgotten += count
        if forgotten:
            _log.info("%d orders that ended long ago were forgotten", forgotten)

    async def _forget_lines(self, keep: timedelta) -> None:
        """A certificate that is valid for years keeps its order, but not every line of its timeline."""
        before, line = self._clock.now() - keep, 0
        while (last := await self._store.records.prune_timelines(before, line, LINES)) is not None:
            line = last

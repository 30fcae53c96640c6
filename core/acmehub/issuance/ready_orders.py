"""Upstream orders that this process has read `ready`: a CSR that comes within a minute is sent without a look."""

from datetime import timedelta

import msgspec

from acmehub.models import Order
from acmehub.ports.authority import UpstreamOrder
from acmehub.ports.clock import Clock
from acmehub.rules.finalizing import Ready
from acmehub.runtime.lru import Lru

KEPT = 4096
KEPT_SECONDS = 60.0


class _Read(msgspec.Struct, frozen=True):
    upstream: UpstreamOrder
    fence: int
    at: float


class ReadyOrders:
    """By order id, each with the fence of the claim in which it was read; any later claim but the next makes it void.

    The one that was noted first is forgotten first.
    """

    def __init__(self, clock: Clock, issuance_timeout: timedelta) -> None:
        self._clock = clock
        self._issuance_timeout = issuance_timeout
        self._read: Lru[str, _Read] = Lru(KEPT)

    def note(self, order: Order, upstream: UpstreamOrder) -> None:
        """The order was written at stage `authorized`, because its upstream order was just read."""
        if upstream.status == "ready" and upstream.url == order.upstream_url:
            self._read.put(order.id, _Read(upstream, order.fence, self._clock.monotonic()))

    def ready(self, order: Order) -> Ready | None:
        """What the rule of finalize needs to know, if the order's upstream order was read lately."""
        read = self._young(order.id)
        return None if read is None else Ready(read.upstream.url, read.fence, self._issuance_timeout)

    def take(self, order: Order) -> UpstreamOrder | None:
        """The upstream order of an order that was claimed by the write of its CSR, and of no other claim."""
        read = self._young(order.id)
        self._read.pop(order.id)
        if read is None or (read.upstream.url, read.fence + 1) != (order.upstream_url, order.fence):
            return None
        return read.upstream

    def _young(self, order_id: str) -> _Read | None:
        read = self._read.get(order_id)
        return read if read is not None and self._clock.monotonic() - read.at <= KEPT_SECONDS else None

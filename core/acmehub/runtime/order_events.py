"""Long polls of an order are woken by the commit that changed it.

A commit is published as the order's id and its new version, so that news of what a reader has seen already, its own
write above all, wakes nobody, and no news is lost between a read and the wait that follows it.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from acmehub.runtime.lru import Lru

_MOST_VERSIONS = 4096  # they bridge the moment from a read to the subscription


class Subscription:
    """The versions of one order, for one reader; `version` is the newest that is known.

    `heard` is the version that ended the last `wait`; 0: none, or its reader must read.
    """

    def __init__(self, version: int) -> None:
        self.heard = 0
        self._version = version
        self._seen = version
        self._must_read = False
        self._event = asyncio.Event()

    def publish(self, version: int) -> None:
        """The order has this version now; with 0 it may have any, and its reader must read it."""
        self._version = max(self._version, version)
        self._must_read |= not version
        if self._is_news():
            self._event.set()

    async def wait(self, seen: int, seconds: float) -> bool:
        """Whether a version newer than `seen` came within `seconds`, or the reader must read to know."""
        self._seen = seen
        self.heard = 0
        if not self._is_news():
            self._event.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._event.wait()
            except TimeoutError:
                return False
        if not self._must_read:
            self.heard = self._version
        self._must_read = False
        self._version = 0  # what is read now counts: a version that was lost with its database is never seen
        return True

    def _is_news(self) -> bool:
        return self._must_read or self._version > self._seen


class OrderEvents:
    """Subscriptions by order id; `publish` is the callback of `Store.subscribe`."""

    def __init__(self) -> None:
        self._subscriptions: dict[str, set[Subscription]] = {}
        self._versions: Lru[str, int] = Lru(_MOST_VERSIONS)
        self._count = 0

    @contextmanager
    def subscribe(self, order_id: str) -> Iterator[Subscription]:
        """Subscribe to one order; versions published shortly before count, too."""
        subscription = Subscription(self._versions.get(order_id) or 0)
        subscriptions = self._subscriptions.setdefault(order_id, set())
        subscriptions.add(subscription)
        self._count += 1
        try:
            yield subscription
        finally:
            subscriptions.discard(subscription)
            self._count -= 1
            if not subscriptions:
                self._subscriptions.pop(order_id, None)

    def publish(self, order_id: str, version: int) -> None:
        """Wake the readers of one order that have not seen this version; with `("", 0)` all readers of all orders."""
        if not order_id:
            for subscriptions in self._subscriptions.values():
                for subscription in subscriptions:
                    subscription.publish(0)
            return
        self._versions.put(order_id, version)
        for subscription in self._subscriptions.get(order_id, ()):
            subscription.publish(version)

    def __len__(self) -> int:
        """How many subscriptions there are."""
        return self._count

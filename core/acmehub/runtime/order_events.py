"""Held answers: who waits for news of an order is woken by the commit that changed it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Subscription:
    """One listener's view of an order: `wait` returns when something was posted since the last `wait`, or in time."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def post(self) -> None:
        """Something changed."""
        self._event.set()

    def forget(self) -> None:
        """Take away what was posted so far."""
        self._event.clear()

    async def wait(self, seconds: float) -> bool:
        """Whether news came within `seconds`; takes the news away."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class OrderEvents:
    """Notices by order id; `post` is what a `Store` subscription calls."""

    def __init__(self) -> None:
        self._notices: dict[str, set[Subscription]] = {}
        self._count = 0

    @contextmanager
    def listen(self, order_id: str) -> Iterator[Subscription]:
        """Listen before you read, so that nothing falls between reading and waiting."""
        notice = Subscription()
        listeners = self._notices.setdefault(order_id, set())
        listeners.add(notice)
        self._count += 1
        try:
            yield notice
        finally:
            listeners.discard(notice)
            self._count -= 1
            if not listeners:
                self._notices.pop(order_id, None)

    def post(self, order_id: str) -> None:
        """Wake the listeners of one order; of all orders when `order_id` is empty."""
        groups = list(self._notices.values()) if not order_id else [self._notices.get(order_id, set())]
        for group in groups:
            for notice in group:
                notice.post()

    def __len__(self) -> int:
        """How many answers are held."""
        return self._count

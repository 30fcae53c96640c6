"""Held answers: who waits for news of an order is woken by the commit that changed it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Notice:
    """One listener's view of an order: `wait` returns when something was posted since the last `wait`, or in time."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def post(self) -> None:
        """Something changed."""
        self._event.set()

    async def wait(self, seconds: float) -> bool:
        """Whether news came within `seconds`; takes the news away."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class Bulletin:
    """Notices by order id; `post` is what a `Store` subscription calls."""

    def __init__(self) -> None:
        self._notices: dict[str, set[Notice]] = {}

    @contextmanager
    def listen(self, order_id: str) -> Iterator[Notice]:
        """Listen before you read, so that nothing falls between reading and waiting."""
        notice = Notice()
        listeners = self._notices.setdefault(order_id, set())
        listeners.add(notice)
        try:
            yield notice
        finally:
            listeners.discard(notice)
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
        return sum(len(group) for group in self._notices.values())

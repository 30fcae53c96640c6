"""Held answers (docs/client-rules.md rule 30): an answer waits until there is something new to say, or for as
long as the client
bears. Nothing but a coroutine waits: no thread, no database connection.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeVar

from litestar.types import Receive

from acmehub.ports.clock import Clock
from acmehub.rules.authorization_modes import ClientTimeout, client_timeout
from acmehub.runtime.order_events import OrderEvents, Subscription

SUM_PER_ORDER = 600.0
"""Seconds for which answers about one order are held altogether; beyond, the client has to poll."""

MOST_HELD = 4096
"""Answers held at once; beyond, nothing is held."""

_MOST_ORDERS = 20_000
_UNWATCHED = 1.0  # seconds of a hold before it is worth a task to see whether the client is still there

T = TypeVar("T")


class ClientGone(Exception):
    """The client hung up while its answer was held: there is nobody to answer."""


class LongPolls:
    """Holds answers; one per application. `stopping` ends every hold, `seconds` is `[acme] hold`."""

    def __init__(self, order_events: OrderEvents, stopping: asyncio.Event, clock: Clock, seconds: float) -> None:
        self._order_events = order_events
        self._stopping = stopping
        self._clock = clock
        self._seconds = seconds
        self._spent: OrderedDict[str, float] = OrderedDict()
        self._greeted: OrderedDict[str, None] = OrderedDict()

    def client_timeout(self, user_agent: str) -> ClientTimeout:
        """How a client with this User-Agent waits."""
        return client_timeout(user_agent, self._seconds)

    async def until(
        self,
        done: Callable[[T], bool],
        order_id: str,
        read: Callable[[], Awaitable[T]],
        *,
        seconds: float,
        receive: Receive,
        first: Callable[[], Awaitable[T]] | None = None,
    ) -> T:
        """What `read` (the first time: `first`) gives, as soon as `done` says so, or at the latest after `seconds`.

        Listens before it reads, so that nothing happens unnoticed in between. Raises `ClientGone`.
        """
        with self._order_events.listen(order_id) as notice:
            state = await (first or read)()
            if done(state) or len(self._order_events) > MOST_HELD:
                return state
            if first is not None:  # the news of our own write comes a turn later, and would have us read for nothing
                await asyncio.sleep(0)
                notice.forget()
            begun = self._clock.monotonic()
            end = begun + min(seconds, SUM_PER_ORDER - self._spent.get(order_id, 0.0))
            try:
                async with _Watch(receive, notice) as watch:
                    while not done(state) and await self._news(notice, watch, end):
                        state = await read()
            finally:
                self._note(order_id, self._clock.monotonic() - begun)
            return state

    def first_look(self, order_id: str) -> bool:
        """Whether this is the first time that an authorization of the order is looked at; held once per order."""
        if order_id in self._greeted:
            return False
        self.nothing_to_wait_for(order_id)
        return True

    def nothing_to_wait_for(self, order_id: str) -> None:
        """The order is further than any first look would wait for."""
        self._greeted[order_id] = None
        if len(self._greeted) > _MOST_ORDERS:
            self._greeted.popitem(last=False)

    async def _news(self, notice: Subscription, watch: "_Watch", end: float) -> bool:
        """Wait for news until `end` (monotonic), and see after a while without what there is; False when time is up."""
        left = end - self._clock.monotonic()
        if self._stopping.is_set() or left <= 0:
            return False
        if watch.begun:
            await notice.wait(left)
        elif not await notice.wait(min(left, _UNWATCHED)):
            watch.begin()
        if watch.gone:
            raise ClientGone
        return True

    def _note(self, order_id: str, seconds: float) -> None:
        self._spent[order_id] = self._spent.get(order_id, 0.0) + seconds
        if len(self._spent) > _MOST_ORDERS:
            self._spent.popitem(last=False)


class _Watch:
    """Watches a connection for the client's going away, and posts a notice when it does."""

    def __init__(self, receive: Receive, notice: Subscription) -> None:
        self._receive = receive
        self._notice = notice
        self._task: asyncio.Task[None] | None = None
        self.gone = False

    @property
    def begun(self) -> bool:
        return self._task is not None

    def begin(self) -> None:
        self._task = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self._notice.post()

    async def __aenter__(self) -> "_Watch":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

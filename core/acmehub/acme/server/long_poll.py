"""Long polls (docs/client-rules.md rule 30): a response waits until the order has changed, or the client's timeout is
near. A waiting response is a coroutine; it holds no thread and no database connection.
"""

import asyncio
from collections.abc import Awaitable, Callable

from litestar.types import Receive

from acmehub.ports.clock import Clock
from acmehub.rules.authorization_modes import ClientTimeout, client_timeout
from acmehub.rules.orders import OrderBundle
from acmehub.runtime.lru import Lru
from acmehub.runtime.order_events import OrderEvents, Subscription

SUM_PER_ORDER = 600.0
"""Seconds that all long polls of one order take together; afterwards its client is answered at once."""

MOST_LONG_POLLS = 4096
"""Long polls at once; further requests are answered at once."""

MOST_PER_ACCOUNT = MOST_LONG_POLLS // 10
"""Long polls of one account at once; its further requests are answered at once."""

_MOST_ORDERS = 20_000
_UNWATCHED = 1.0  # seconds; a shorter wait does not pay for a task that watches the connection


class ClientGone(Exception):
    """The client hung up; there is nobody to answer."""


class LongPolls:
    """The long polls of one application. `stopping` ends them all; `seconds` is `[acme] hold`."""

    def __init__(self, order_events: OrderEvents, stopping: asyncio.Event, clock: Clock, seconds: float) -> None:
        self._order_events = order_events
        self._stopping = stopping
        self._clock = clock
        self._seconds = seconds
        self._held: dict[str, int] = {}
        self._spent: Lru[str, float] = Lru(_MOST_ORDERS)
        self._first_reads: Lru[str, bool] = Lru(_MOST_ORDERS)

    def client_timeout(self, user_agent: str) -> ClientTimeout:
        """How long a client with this User-Agent waits."""
        return client_timeout(user_agent, self._seconds)

    async def until(
        self,
        done: Callable[[OrderBundle], bool],
        bundle: OrderBundle,
        read: Callable[[int], Awaitable[OrderBundle]],
        *,
        seconds: float,
        receive: Receive,
    ) -> OrderBundle:
        """The order as soon as `done` is true of it, at the latest after `seconds`.

        `bundle` is the order as the caller has just read or written it; `read` reads it again when there is a newer
        version, which it is given (0: it is not known). Raises `ClientGone`.
        """
        account_id = bundle.order.account_id
        held = self._held.get(account_id, 0)
        if done(bundle) or len(self._order_events) >= MOST_LONG_POLLS or held >= MOST_PER_ACCOUNT:
            return bundle
        self._held[account_id] = held + 1
        try:
            return await self._until(done, bundle, read, seconds, receive)
        finally:
            left = self._held[account_id] - 1
            if left:
                self._held[account_id] = left
            else:
                del self._held[account_id]

    async def _until(
        self,
        done: Callable[[OrderBundle], bool],
        bundle: OrderBundle,
        read: Callable[[int], Awaitable[OrderBundle]],
        seconds: float,
        receive: Receive,
    ) -> OrderBundle:
        order_id = bundle.order.id
        begun = self._clock.monotonic()
        spent = self._spent.get(order_id) or 0.0
        end = begun + min(seconds, SUM_PER_ORDER - spent)
        try:
            with self._order_events.subscribe(order_id) as subscription:
                async with _Connection(receive, subscription) as connection:
                    while not done(bundle) and await self._changed(bundle, subscription, connection, end):
                        bundle = await read(subscription.heard)
        finally:
            spent = self._spent.get(order_id) or 0.0
            self._spent.put(order_id, spent + self._clock.monotonic() - begun)
        return bundle

    def is_first_read(self, order_id: str) -> bool:
        """Whether no authorization of the order was read before; only the first read is a long poll."""
        if order_id in self._first_reads:
            return False
        self.no_first_read(order_id)
        return True

    def no_first_read(self, order_id: str) -> None:
        """The upstream has validated: the first read of an authorization has nothing to wait for."""
        self._first_reads.put(order_id, True)

    async def _changed(
        self, bundle: OrderBundle, subscription: Subscription, connection: "_Connection", end: float
    ) -> bool:
        """Wait until the order may have changed; False at `end` (monotonic).

        True, too, when the first second is over and when the time is up: news may get lost between processes.
        """
        left = end - self._clock.monotonic()
        if self._stopping.is_set() or left <= 0:
            return False
        version = bundle.order.version
        if connection.is_watched:
            await subscription.wait(version, left)
        elif not await subscription.wait(version, min(left, _UNWATCHED)):
            connection.watch()
        if connection.is_gone:
            raise ClientGone
        return True


class _Connection:
    """A client's connection; once `watch` was called, the subscription wakes its reader when the client hangs up."""

    def __init__(self, receive: Receive, subscription: Subscription) -> None:
        self._receive = receive
        self._subscription = subscription
        self._task: asyncio.Task[None] | None = None
        self.is_gone = False

    @property
    def is_watched(self) -> bool:
        return self._task is not None

    def watch(self) -> None:
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.is_gone = True
        self._subscription.publish(0)

    async def __aenter__(self) -> "_Connection":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

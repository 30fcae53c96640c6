"""Within its share a backlog is worked oldest order first, to its end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from acmehub.issuance.worker import groups_of
from acmehub.models import OrderStatus
from acmehub.ports.clock import SystemClock
from acmehub.testing.fakes import FakeRelay
from tests.issuance.rig import Rig
from tests.issuance.test_worker import running, until

ORDERS = 40
SECONDS = 0.015  # that the CA takes for each exchange; a poll of its validation comes a quarter of a second later

T = TypeVar("T")


def begun_before_each_certificate(relay: FakeRelay) -> list[int]:
    """Make the CA slow; how many upstream orders there were when each certificate was fetched, filled in later."""
    begun: list[int] = []

    def slow(verb: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        async def call(*arguments: object) -> T:
            await asyncio.sleep(SECONDS)
            if verb.__name__ == "certificate":
                begun.append(len(relay.orders))
            return await verb(*arguments)

        return call

    for name in ("new_order", "order", "authorization", "answer", "finalize", "certificate"):
        setattr(relay, name, slow(getattr(relay, name)))
    return begun


async def test_a_backlog_is_worked_order_by_order_and_not_step_by_step(rig: Rig) -> None:
    """By `run_at` all orders are begun before the first is ended, and none is ended earlier for it."""
    rig.clock = SystemClock()  # type: ignore[assignment]
    rig.relay._clock = rig.clock
    begun = begun_before_each_certificate(rig.relay)
    order_ids = [await rig.open(f"n{number}.corp.test", finalize=True) for number in range(ORDERS)]

    async def all_valid() -> bool:
        return all([(await rig.order(id)).status is OrderStatus.VALID for id in order_ids])

    async with running(rig.worker(concurrency=4)):
        await until(all_valid, 20.0)
    assert begun[0] < ORDERS / 2
    assert begun[ORDERS // 2] < ORDERS


async def test_a_new_order_is_not_started_before_older_ones_that_were_passed_over(rig: Rig) -> None:
    worker = rig.worker(concurrency=4)
    order = await rig.order(await rig.open())
    for number in range(3):
        worker.orders.places.take(f"{number}", groups_of(order))
    assert await worker.work_off() == 0, "its principal has its share"
    worker.orders.places.leave("0")
    newest = await rig.order(await rig.open("new.corp.test"))
    assert not worker.orders.has_place(groups_of(newest)), "the place is for the order that was passed over"
    assert await worker.work_off() == 2
    assert worker.orders.has_place(groups_of(newest))

"""Who waits for an order is woken by versions it has not seen, and by nothing else."""

import asyncio

import pytest

from acmehub.runtime import order_events
from acmehub.runtime.order_events import OrderEvents

LONG = 20.0
SHORT = 0.05


async def test_a_newer_version_ends_the_wait() -> None:
    events = OrderEvents()
    with events.subscribe("a") as subscription:
        waiting = asyncio.create_task(subscription.wait(2, LONG))
        await asyncio.sleep(0)
        events.publish("a", 2)
        events.publish("b", 9)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
        events.publish("a", 3)
        assert await waiting
        assert not await subscription.wait(3, SHORT)


async def test_a_version_that_came_before_the_wait_or_the_subscription_counts() -> None:
    events = OrderEvents()
    events.publish("a", 5)
    with events.subscribe("a") as subscription:
        assert await subscription.wait(4, SHORT)
        assert not await subscription.wait(5, SHORT)
        events.publish("a", 6)
        events.publish("a", 7)
        assert await subscription.wait(5, SHORT)
        assert not await subscription.wait(7, SHORT)


async def test_a_version_that_was_lost_with_its_database_wakes_once_and_hides_no_news() -> None:
    events = OrderEvents()
    events.publish("a", 9)  # committed to a database that is gone; in the one that has come the order has version 4
    with events.subscribe("a") as subscription:
        assert await subscription.wait(4, SHORT)
        assert not await subscription.wait(4, SHORT)
        events.publish("a", 5)
        assert await subscription.wait(4, SHORT)


async def test_an_unknown_change_wakes_all_readers_once() -> None:
    events = OrderEvents()
    with events.subscribe("a") as one, events.subscribe("b") as other:
        events.publish("", 0)
        assert await one.wait(1, SHORT)
        assert await other.wait(1, SHORT)
        assert not await one.wait(1, SHORT)


async def test_subscriptions_are_counted_and_end() -> None:
    events = OrderEvents()
    with events.subscribe("a"), events.subscribe("a") as subscription:
        assert len(events) == 2
    assert len(events) == 0
    events.publish("a", 2)
    assert not await subscription.wait(1, 0)


async def test_the_versions_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_events, "_MOST_VERSIONS", 2)
    events = OrderEvents()
    for order_id in ("a", "b", "c"):
        events.publish(order_id, 4)
    with events.subscribe("a") as forgotten, events.subscribe("c") as kept:
        assert not await forgotten.wait(1, SHORT)
        assert await kept.wait(1, SHORT)

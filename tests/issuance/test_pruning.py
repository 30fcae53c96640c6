"""What is over is put away: at once what nobody waits for, after `keep` what nobody asks for any more."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest_asyncio
from msgspec.structs import replace

from acmehub import SqliteDriver, SqlStore
from acmehub.issuance.pruning import FORGET_EVERY, Pruner
from acmehub.models import Order, OrderStatus, Stage
from acmehub.ports.store import Store
from acmehub.rules.orders import Change, OrderBundle
from acmehub.testing.fakes import ManualClock
from acmehub.testing.store_samples import NOW, sow

DAY = 86400.0
KEEP = timedelta(days=90)


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = SqlStore(SqliteDriver(tmp_path / "acmehub.db"))
    await store.migrate()
    await store.open()
    yield store
    await store.close()


async def failed_order(store: Store) -> str:
    seed = await sow(store)
    bundle = seed.order()
    await store.orders.add(bundle)

    def end(stored: OrderBundle) -> Change:
        return Change(order=replace(stored.order, stage=Stage.FAILED, status=OrderStatus.INVALID, run_at=None))

    await store.orders.apply(bundle.order.id, end)
    return bundle.order.id


async def nobody(_order: Order) -> None:
    raise AssertionError("nothing lapsed")


async def test_an_order_that_is_over_is_forgotten_after_the_days_to_keep_it(store: Store) -> None:
    order_id = await failed_order(store)
    clock = ManualClock(NOW)
    pruner = Pruner(store, clock, Random(1), nobody, KEEP)
    clock.advance(89 * DAY)
    await pruner.work_off()
    assert await store.orders.get(order_id) is not None
    clock.advance(2 * DAY)
    await pruner.work_off()
    assert await store.orders.get(order_id) is None


async def test_old_orders_are_looked_for_once_an_hour(store: Store) -> None:
    clock = ManualClock(NOW + timedelta(days=100))
    pruner = Pruner(store, clock, Random(1), nobody, KEEP)
    await pruner.work_off()
    order_id = await failed_order(store)
    clock.advance(FORGET_EVERY - 1)
    await pruner.work_off()
    assert await store.orders.get(order_id) is not None
    clock.advance(2)
    await pruner.work_off()
    assert await store.orders.get(order_id) is None


async def test_without_a_time_to_keep_them_orders_stay_for_ever(store: Store) -> None:
    order_id = await failed_order(store)
    await Pruner(store, ManualClock(NOW + timedelta(days=10_000)), Random(1), nobody).work_off()
    assert await store.orders.get(order_id) is not None

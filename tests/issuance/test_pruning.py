"""What is over is put away: at once what nobody waits for, after `keep` what nobody asks for any more."""

import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
import pytest_asyncio
from msgspec.structs import replace

from acmehub.issuance import pruning
from acmehub.issuance.pruning import FORGET_EVERY, Pruner
from acmehub.models import Certificate, Event, EventKind, Order, OrderStatus, Stage
from acmehub.ports.store import Store
from acmehub.rules.orders import Change, OrderBundle
from acmehub.runtime.client_limits.buckets import microseconds
from acmehub.storage_api import SqliteDriver, SqlStore
from acmehub.testing.fakes import ManualClock
from acmehub.testing.store_samples import NOW, Seed, a_certificate, sow

DAY = 86400.0
KEEP = timedelta(days=90)


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = SqlStore(SqliteDriver(tmp_path / "acmehub.db"))
    await store.migrate()
    await store.open()
    yield store
    await store.close()


async def failed_order(store: Store, seed: Seed | None = None) -> str:
    bundle = (seed or await sow(store)).order()
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


async def test_old_lines_of_the_timeline_go_while_the_order_stays_for_its_certificate(store: Store) -> None:
    order_id = await failed_order(store)
    clock = ManualClock(NOW)
    lines = [Event(order_id=order_id, at=NOW + timedelta(days=day), kind=EventKind.NOTED) for day in (0, 100)]
    await store.records.note(lines)
    clock.advance(120 * DAY)
    pruner = Pruner(store, clock, Random(1), nobody, timedelta(days=3650))
    await pruner.work_off()
    assert len(await store.records.timeline(order_id)) == 2
    bundle = await store.orders.get(order_id)
    assert bundle is not None
    certificate = replace(a_certificate(bundle.order), not_after=NOW + timedelta(days=900))
    await store.orders.apply(order_id, lambda now: Change(order=now.order, certificate=certificate))
    await Pruner(store, clock, Random(1), nobody, KEEP).work_off()
    assert [event.at for event in await store.records.timeline(order_id)] == [NOW + timedelta(days=100)]
    assert await store.orders.get(order_id) is not None


async def test_full_buckets_are_forgotten_once_a_minute(store: Store) -> None:
    clock = ManualClock(NOW)
    now = microseconds(clock)
    await store.rate_limits.save({"full": now, "empty": now + 10**9})
    pruner = Pruner(store, clock, Random(1), nobody, KEEP)
    await pruner.work_off()
    assert await store.rate_limits.load(0, 10) == {"empty": now + 10**9}


async def test_sets_of_names_that_an_upgrade_left_empty_are_filled_in_batches(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(pruning, "FILLED_AT_ONCE", 2)
    seed = await sow(store)
    for number in range(5):
        bundle = seed.order(f"b{number}.corp.test", "a.corp.test")
        certificate = replace(a_certificate(bundle.order), name_set=None)
        await store.orders.add(bundle)

        def issue(now: OrderBundle, made: Certificate = certificate) -> Change:
            return Change(order=now.order, certificate=made)

        await store.orders.apply(bundle.order.id, issue)
    await Pruner(store, ManualClock(NOW), Random(1), nobody).work_off()
    assert {item.name_set for item in await store.certificates.list()} == {
        f"a.corp.test b{number}.corp.test" for number in range(5)
    }
    assert await store.certificates.name_sets_filled()
    assert caplog.messages == ["the sets of names of 5 certificates were stored, for lists of certificates"]


async def test_the_log_counts_what_was_forgotten_and_is_silent_when_that_is_nothing(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(pruning, "BATCH", 1)
    monkeypatch.setattr(pruning, "LINES", 1)
    clock = ManualClock(NOW)
    await Pruner(store, clock, Random(1), nobody, KEEP).work_off()
    assert caplog.messages == []
    seed = await sow(store)
    for _ in range(2):
        await failed_order(store, seed)
    clock.advance(100 * DAY)
    await Pruner(store, clock, Random(1), nobody, KEEP).work_off()
    assert caplog.messages == ["2 orders that ended long ago were forgotten"]

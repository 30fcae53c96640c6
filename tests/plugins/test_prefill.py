"""bench/prefill.py: copies of finished orders, which the store reads like those that it has written."""

import asyncio
import sqlite3
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from acmehub.models import OrderStatus
from acmehub.rules.orders import Change, OrderBundle
from acmehub.storage_api import SqliteDriver, SqlStore
from acmehub.testing.store_samples import a_certificate, an_event, sow
from bench.prefill import prefill, prefill_postgres
from tests.plugins.conftest import store_of
from tests.servers.postgres import Postgres

FINISHED, WANTED = 2, 7  # with the one that is not finished: two whole copies, then a part


def _given(change: Change, _stored: OrderBundle) -> Change:
    return change


async def _grow(store: SqlStore) -> None:
    await store.migrate()
    await store.open()
    seed = await sow(store)
    for number in range(FINISHED):
        bundle = seed.order(f"w{number}.corp.test")
        certificate = a_certificate(bundle.order)
        await store.orders.add(bundle, (an_event(bundle.order),))
        done = replace(bundle.order, status=OrderStatus.VALID, certificate_id=certificate.id)
        change = Change(order=done, certificate=certificate)
        await store.orders.apply(bundle.order.id, partial(_given, change))
    await store.orders.add(seed.order("open.corp.test"))
    await store.close()


async def _check(store: SqlStore) -> None:
    """Every copy has its own parts."""
    await store.open()
    orders = await store.orders.list()
    assert Counter(order.status for order in orders) == {OrderStatus.VALID: WANTED - 1, OrderStatus.PENDING: 1}
    for order in orders:
        bundle = await store.orders.get(order.id)
        assert bundle is not None
        assert len(bundle.authorizations) == 1
        if order.status is OrderStatus.VALID:
            assert order.certificate_id is not None
            certificate = await store.certificates.get(order.certificate_id)
            assert certificate is not None
            assert certificate.order_id == order.id
            assert len(await store.records.timeline(order.id)) == 1
    await store.close()


@pytest.mark.slow
def test_copies_in_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    asyncio.run(_grow(SqlStore(SqliteDriver(path))))
    prefill(path, WANTED)
    asyncio.run(_check(SqlStore(SqliteDriver(path))))


@pytest.mark.slow
def test_copies_in_postgresql(postgres: Postgres) -> None:
    dsn = postgres.new_database()
    asyncio.run(_grow(store_of(dsn)))
    asyncio.run(prefill_postgres(dsn, WANTED))
    asyncio.run(_check(store_of(dsn)))


def test_nothing_is_copied_where_no_order_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    asyncio.run(SqlStore(SqliteDriver(path)).migrate())
    with pytest.raises(SystemExit, match="no finished order"):
        prefill(path, WANTED)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)
    connection.close()

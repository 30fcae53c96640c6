"""The hub behind a real pgbouncer: session mode serves, the others are refused with the cure."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from acmehub import StoreUnavailable
from acmehub.testing.store_samples import sow
from tests.plugins.conftest import name_of, store_of
from tests.servers.pgbouncer import PROGRAM, PgBouncer, running_pgbouncer
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.skipif(not os.access(PROGRAM, os.X_OK), reason="needs pgbouncer (tests/apt-packages.txt)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pgbouncer")


@pytest.fixture(scope="module")
def session_pooler(postgres: Postgres, folder: Path) -> Iterator[PgBouncer]:
    with running_pgbouncer(postgres, mode="session", folder=folder) as bouncer:
        yield bouncer


async def test_session_mode_serves_with_settings_and_news(postgres: Postgres, session_pooler: PgBouncer) -> None:
    dsn = session_pooler.dsn(name_of(postgres.new_database()))
    store, other = store_of(dsn), store_of(dsn)
    assert await store.migrate() > 0
    assert await store.migrate() == 0
    heard: list[str] = []
    other.subscribe(lambda order_id, _version: heard.append(order_id))
    await store.open()
    await other.open()
    try:
        bundle = (await sow(store)).order()
        async with asyncio.timeout(30):
            while "" not in heard:
                await asyncio.sleep(0.01)
            await store.orders.add(bundle)
            while bundle.order.id not in heard:
                await asyncio.sleep(0.01)
        assert (await other.orders.get(bundle.order.id)) == bundle
    finally:
        await store.close()
        await other.close()


@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_a_pooler_that_gives_each_transaction_another_connection_is_refused(
    postgres: Postgres, folder: Path, mode: str
) -> None:
    database = name_of(postgres.new_database())
    with running_pgbouncer(postgres, mode=mode, folder=folder) as bouncer:
        store = store_of(bouncer.dsn(database))
        for _ in range(3):  # however many server connections its pool has by then
            for attempt in (store.open, store.migrate):
                with pytest.raises(StoreUnavailable, match="session mode"):
                    await attempt()
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    assert postgres.sql(locks) == "0"


async def test_transaction_mode_is_recognised_whatever_else_uses_the_pool(postgres: Postgres, folder: Path) -> None:
    database = name_of(postgres.new_database())
    with (
        running_pgbouncer(postgres, mode="transaction", folder=folder, pool=1) as bouncer,
        pytest.raises(StoreUnavailable, match="session mode"),
    ):
        await store_of(bouncer.dsn(database)).open()


async def test_a_pool_that_is_too_small_says_so(postgres: Postgres, folder: Path) -> None:
    database = name_of(postgres.new_database())
    with (
        running_pgbouncer(postgres, mode="session", folder=folder, pool=1) as bouncer,
        pytest.raises(StoreUnavailable, match="raise the pool's size to 5"),
    ):
        await store_of(bouncer.dsn(database)).open()


async def test_startup_parameters_that_a_pooler_refuses_are_named(
    postgres: Postgres, session_pooler: PgBouncer
) -> None:
    database = name_of(postgres.new_database())
    store = store_of(f"{session_pooler.dsn(database)}?search_path=hub")
    with pytest.raises(StoreUnavailable, match="ALTER ROLE"):
        await store.open()

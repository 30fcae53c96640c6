"""All rows go to PostgreSQL and back, and come back as they were."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from acmehub import Secret
from acmehub.acme.server.context import build_context
from acmehub.app.hub import Hub, build_hub
from acmehub.config import Config, Storage, TlsMode
from acmehub.models import AuditEntry
from acmehub.ports.copying import CopiesRows, HasRows, TablePage
from acmehub.storage.migrating import migrate
from acmehub.storage.sqlite.driver import SqliteDriver
from acmehub.storage.transfer import import_rows
from acmehub.testing.store_samples import NOW, sow
from acmehub_storage_postgres import PostgresDriver, Settings
from tests.plugins.conftest import name_of, store_of
from tests.servers.postgres import Postgres
from tests.storage.every_column import ROWS, copied, everything, exported, fill

ENTRY = AuditEntry(at=NOW, actor="cli:root", action="storage.copy", object="storage storage_postgres")


def driver_of(dsn: str) -> PostgresDriver:
    return PostgresDriver(Settings(dsn=Secret(dsn), timeout=10))


async def test_there_and_back(postgres: Postgres, tmp_path: Path) -> None:
    dsn = postgres.new_database()
    here, there, back = SqliteDriver(tmp_path / "a.db"), driver_of(dsn), SqliteDriver(tmp_path / "b.db")
    await migrate(here)
    await fill(here)
    for source, target in ((here, there), (there, back)):
        async with copied(source) as (schema, pages):
            await import_rows(target, schema, pages, ())
    before, there_rows, back_rows = [
        [item for item in await exported(driver) if "copied" not in item[2]] for driver in (here, there, back)
    ]
    assert before == there_rows == back_rows
    assert {len((await everything(there))[name]) for name in ("orders", "audit", "token")} == {ROWS}
    async with copied(here) as (schema, pages):
        with pytest.raises(HasRows):
            await import_rows(there, schema, pages, ())


async def test_what_is_written_next_has_the_next_number(postgres: Postgres, tmp_path: Path) -> None:
    dsn = postgres.new_database()
    here = SqliteDriver(tmp_path / "a.db")
    await migrate(here)
    await fill(here)
    async with copied(here) as (schema, pages):
        await import_rows(driver_of(dsn), schema, pages, [ENTRY])
    store = store_of(dsn)
    await store.open()
    await store.records.audit([ENTRY])
    await store.close()
    numbers = [row["id"] for row in (await everything(driver_of(dsn)))["audit"]]
    assert numbers == [*range(7, 7 + ROWS), 7 + ROWS, 8 + ROWS]


async def test_a_snapshot_is_one_moment_and_outlives_a_slow_reader(postgres: Postgres) -> None:
    store = store_of(postgres.new_database())
    await store.migrate()
    await store.open()
    await sow(store)
    seen = 0
    async with store.snapshot() as found:
        async for page in found.pages():
            if page.table == "principal":
                await store.records.audit([ENTRY])
            seen += len(page.rows) if page.table == "audit" else 0
    assert seen == 0
    await store.close()


async def test_another_process_is_seen_though_it_is_idle(postgres: Postgres) -> None:
    dsn = postgres.new_database()
    here, there = store_of(dsn), store_of(dsn)
    await here.migrate()
    assert not await here.used_elsewhere()
    await there.open()
    assert await here.used_elsewhere()
    await there.close()
    for _ in range(100):  # the server takes a moment to forget a connection
        if not await here.used_elsewhere():
            break
        await asyncio.to_thread(postgres.sql, "SELECT pg_sleep(0.05)")
    assert not await here.used_elsewhere()


async def test_a_copy_that_breaks_leaves_nothing(postgres: Postgres, tmp_path: Path) -> None:
    dsn = postgres.new_database()
    here = SqliteDriver(tmp_path / "a.db")
    await migrate(here)
    await fill(here)
    async with copied(here) as (schema, pages):

        async def broken() -> AsyncIterator[TablePage]:
            async for page in pages:
                if page.table == "event":
                    raise OSError(5, "Input/output error")
                yield page

        with pytest.raises(Exception, match="Input/output"):
            await import_rows(driver_of(dsn), schema, broken(), ())
    assert postgres.sql("SELECT count(*) FROM pg_class WHERE relname IN ('orders', 'migration')", name_of(dsn)) == "0"


async def test_a_nonce_of_the_former_hub_is_good_nowhere_else(postgres: Postgres, tmp_path: Path) -> None:
    """Both have the same master key, and what the former hub has seen used since the copy is not known here."""

    def hub_on(dsn: str) -> Hub:
        storage = Storage(plugin="storage_postgres", settings={"dsn": dsn})
        return build_hub(Config(data_dir=tmp_path, storage=storage, tls=TlsMode(mode="off")))

    former, later = hub_on(postgres.new_database()), hub_on(postgres.new_database())
    async with former.running(serve=True):
        nonces = build_context(former).nonces
        used, unused = nonces.issue(), nonces.issue()
        assert await nonces.spend(used)
        assert isinstance(former.store, CopiesRows)
        assert isinstance(later.store, CopiesRows)
        async with former.store.snapshot() as found:
            await later.store.import_rows(found.schema, found.pages())
    replica = build_hub(later.config)
    async with later.running(serve=True), replica.running(serve=True):
        here, beside = build_context(later).nonces, build_context(replica).nonces
        assert not await here.spend(used)
        assert not await here.spend(unused)
        assert await here.spend(beside.issue())

"""The schema in PostgreSQL: made safely, by whom it may be, and with an index for every statement."""

import asyncio
import re

import asyncpg
import pytest
from piccolo.conf.apps import MigrationModule

from acmehub.storage.hot_statements import NEXT_DUE_ORDER
from acmehub.storage.indexes import INDEXES
from acmehub.storage.migrating import PackageMigrations
from acmehub.storage.piccolo_engine import speaking
from acmehub.storage.statements import Dialect
from acmehub.storage.tables import TABLES
from acmehub.testing.store_samples import at, sow
from tests.plugins.conftest import name_of, store_of
from tests.racing import race
from tests.servers.postgres import Postgres
from tests.storage_statements import WHOLE, pages, statements


def test_six_processes_migrate_at_once(postgres: Postgres) -> None:
    imports = (
        "import asyncio, acmehub.storage.migrating\n"
        "from acmehub import Secret\nfrom acmehub.storage_api import SqlStore\n"
        "from acmehub_storage_postgres import PostgresDriver, Settings"
    )
    driver = f"PostgresDriver(Settings(dsn=Secret({postgres.new_database()!r})))"
    steps = sorted(map(int, race(6, imports, f"asyncio.run(SqlStore({driver}).migrate())")))
    assert steps[:5] == [0] * 5
    assert steps[5] > 0


TYPES = {"BIGSERIAL": "bigint", "BYTEA": "bytea", "TIMESTAMPTZ": "timestamp with time zone"}


def test_the_migrations_make_the_columns_that_the_tables_declare(postgres: Postgres, database: str) -> None:
    text = postgres.sql(
        "SELECT table_name || ' ' || column_name || ' ' || data_type || ' ' || is_nullable"
        " FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'migration'",
        name_of(database),
    )
    with speaking(Dialect.POSTGRES):
        declared = {
            f"{table._meta.tablename} {column._meta.name}"
            f" {TYPES.get(column.column_type, column.column_type.lower())} {'YES' if column._meta.null else 'NO'}"
            for table in TABLES
            for column in table._meta.columns
        }
    assert set(text.splitlines()) == declared


def test_the_migrations_make_the_indexes_that_are_declared(postgres: Postgres, database: str) -> None:
    text = postgres.sql(
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND indexname NOT LIKE '%_pkey'",
        name_of(database),
    )
    made = {line.partition(" WHERE ")[0]: " WHERE " in line for line in text.splitlines()}
    assert made == {
        f"CREATE {'UNIQUE ' if index.unique else ''}INDEX {index.name}"
        f" ON public.{index.table._meta.tablename} USING btree ({index.columns})": bool(index.where)
        for index in INDEXES
    }


async def test_every_statement_but_those_for_all_rows_can_use_an_index(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")
        checked = 0
        for name, sql in statements(store_of(database)):
            if name in WHOLE:
                continue
            count = max((int(number) for number in re.findall(r"\$(\d+)", sql.postgres)), default=0)
            arguments = f"({', '.join(['NULL'] * count)})" if count else ""
            await connection.execute(f"PREPARE checked AS {sql.postgres}")
            plan = [row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE checked{arguments}")]
            await connection.execute("DEALLOCATE checked")
            assert not any("Seq Scan" in line for line in plan), f"{name}: {plan}"
            checked += 1
        assert checked > 50
    finally:
        await connection.close()


async def test_every_list_with_filters_can_use_an_index(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")
        for name, statement in await asyncio.to_thread(lambda: list(pages(Dialect.POSTGRES))):
            await connection.execute(f"PREPARE checked AS {statement.sql.postgres}")
            arguments = f"({', '.join(['NULL'] * len(statement.values))})"
            plan = [row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE checked{arguments}")]
            await connection.execute("DEALLOCATE checked")
            assert not any("Seq Scan" in line for line in plan), f"{name}: {plan}"
    finally:
        await connection.close()


async def test_a_claim_reads_the_oldest_orders_from_an_index_without_sorting(postgres: Postgres) -> None:
    """Where one order of twenty has something to do."""
    database = postgres.new_database()  # rows that other tests left are no part of the plan
    store = store_of(database)
    await store.migrate()
    await store.open()
    seed = await sow(store)
    await asyncio.gather(*[store.orders.add(seed.order(f"n{n}.corp.test", created=at(n))) for n in range(400)])
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(
            "UPDATE orders SET run_at = NULL WHERE id NOT IN (SELECT id FROM orders ORDER BY created LIMIT 20);"
            " ANALYZE orders; SET enable_seqscan = off; SET enable_sort = off; SET plan_cache_mode = force_generic_plan"
        )
        ((_, sql),) = [found for found in statements(store) if found[0] == "JobRows._claim"]
        await connection.execute(f"PREPARE checked AS {sql.postgres}")
        plan = [row[0] for row in await connection.fetch("EXPLAIN EXECUTE checked(NULL, NULL, NULL, NULL, NULL)")]
        assert any("Index Scan using orders_claim" in line for line in plan), plan
        assert not any("Sort" in line for line in plan), plan
    finally:
        await connection.close()
        await store.close()


async def test_the_next_due_order_is_read_from_indexes_before_there_are_statistics(postgres: Postgres) -> None:
    database = postgres.new_database()
    store = store_of(database)
    await store.migrate()
    postgres.sql("ALTER TABLE orders SET (autovacuum_enabled = off)", name_of(database))
    await store.open()
    seed = await sow(store)
    connection = await asyncpg.connect(database)
    try:
        for number in (1, 300):
            await asyncio.gather(*[store.orders.add(seed.order(f"n{n}.corp.test")) for n in range(number)])
            for mode in ("force_generic_plan", "force_custom_plan"):
                await connection.execute(f"SET plan_cache_mode = {mode}")
                await connection.execute(f"PREPARE checked AS {NEXT_DUE_ORDER.postgres}")
                values = "now(), '1970-01-01', '9999-01-01'"
                plan = [row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE checked({values})")]
                await connection.execute("DEALLOCATE checked")
                assert not any("Seq Scan" in line for line in plan), plan
    finally:
        await connection.close()
        await store.close()


async def test_a_role_that_owns_nothing_is_enough_once_the_tables_are_there(postgres: Postgres, database: str) -> None:
    name = name_of(database)
    role = f"runs_{name}"
    postgres.sql(
        f"CREATE ROLE {role} LOGIN PASSWORD 'run-time-word'; GRANT USAGE ON SCHEMA public TO {role};"
        f" GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};"
        f" GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
        name,
    )
    store = store_of(f"postgresql://{role}:run-time-word@127.0.0.1:{postgres.port}/{name}")
    assert await store.migrate() == 0
    await store.open()
    await store.ping()
    await store.close()


async def test_a_schema_of_its_own_serves_as_well(postgres: Postgres) -> None:
    dsn = postgres.new_database()
    postgres.sql("CREATE SCHEMA hub", name_of(dsn))
    store = store_of(f"{dsn}?search_path=hub")
    assert await store.migrate() > 0
    assert await store.migrate() == 0
    await store.open()
    await sow(store)
    await store.close()
    assert postgres.sql("SELECT count(*) FROM hub.principal", name_of(dsn)) == "1"


OLD_ROWS = """
INSERT INTO principal VALUES ('p', 1, 'devices', 'application', '[]', true, now(), '[]');
INSERT INTO token (id, version, title, principal_id, scope, names, "authorization", networks, created)
    VALUES ('t', 1, 'token', 'p', '[]', '[]', 'preapproved', '[]', now());
INSERT INTO authority (id, version, name, plugin, tags, account_url, created)
    VALUES ('a', 1, 'relay', 'ca_acme', '[]', '', now());
INSERT INTO account (id, version, status, thumbprint, contact, token_id, principal_id, user_agent, created)
    VALUES ('c', 1, 'valid', 'x', '[]', 't', 'p', '', now());
INSERT INTO orders (id, version, account_id, token_id, principal_id, status, identifiers, name_set, mode, expires,
    created, authority_id, stage, give_up_at)
    VALUES ('o', 1, 'c', 't', 'p', 'pending', '[]', '', 'preapproved', now(), now(), 'a', 'triggering', '2090-01-01Z');
INSERT INTO authorization_ (id, version, order_id, account_id, "position", identifier, wildcard, status, expires, token,
    upstream_status, triggered)
    VALUES ('z', 1, 'o', 'c', 0, '{}', false, 'pending', now(), 'x', 'pending', true);
INSERT INTO event (order_id, at, what, detail, server) VALUES
    ('o', now(), 'order opened', '', ''),
    ('o', now(), 'challenge triggered', '', ''),
    ('o', now(), 'TXT record cannot be removed, 5 attempts', 'refused', ''),
    ('o', now(), 'proof of somebody''s', 'words', '');
"""


def test_the_words_of_a_database_from_before_are_renamed(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    dsn = postgres.new_database()
    modules = PackageMigrations.get_migration_modules

    def until_then(self: PackageMigrations, folder: str) -> dict[str, MigrationModule]:
        return {id: module for id, module in modules(self, folder).items() if id < "2026-11-27"}

    with monkeypatch.context() as patch:
        patch.setattr(PackageMigrations, "get_migration_modules", until_then)
        assert asyncio.run(store_of(dsn).migrate()) == 4
    postgres.sql(OLD_ROWS, name_of(dsn))
    assert asyncio.run(store_of(dsn).migrate()) > 0
    assert postgres.sql("SELECT stage, deadline FROM orders", name_of(dsn)) == "responding|2090-01-01 00:00:00+00"
    assert postgres.sql("SELECT responded FROM authorization_", name_of(dsn)) == "t"
    assert postgres.sql("SELECT kind || ': ' || detail FROM event ORDER BY id", name_of(dsn)).splitlines() == [
        "order opened: ",
        "challenge answered upstream: ",
        "TXT record cannot be removed: 5 attempts: refused",
        "noted: proof of somebody's: words",
    ]

"""The schema: migrations make what tables and models say, safely, and no hot statement is without an index."""

import asyncio
import contextlib
import importlib
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import Column, Integer, Text
from piccolo.table import Table

from acmehub import models
from acmehub.ports.lists import AccountFilter, CertificateFilter, OrderFilter
from acmehub.ports.store import StoreOutdated, StoreUnavailable
from acmehub.storage import schema_steps, tables
from acmehub.storage.codec import Codec
from acmehub.storage.indexes import INDEXES, Index
from acmehub.storage.listing import OrderLists
from acmehub.storage.migrating import PackageMigrations
from acmehub.storage.piccolo_engine import speaking
from acmehub.storage.schema_steps import known_steps
from acmehub.storage.sqlite.driver import SqliteDriver
from acmehub.storage.statements import Dialect, Statement
from acmehub.storage.store import SqlStore
from acmehub.storage.tables import TABLES
from acmehub.testing.store_samples import at
from tests.racing import race
from tests.storage_statements import WHOLE, page_of, pages, statements

MODELS = {
    "principal": models.Principal,
    "token": models.Token,
    "managed_challenge": models.ManagedChallenge,
    "authority": models.Authority,
    "account": models.Account,
    "orders": models.Order,
    "authorization_": models.Authorization,
    "txt_record": models.TxtRecord,
    "certificate": models.Certificate,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "acmehub.db"


@pytest.fixture
def store(path: Path) -> SqlStore:
    store = SqlStore(SqliteDriver(path))
    assert asyncio.run(store.migrate()) > 0
    return store


@pytest.fixture
def database(store: SqlStore, path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        yield connection


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table._meta.tablename)
def test_the_migrations_make_the_columns_that_the_tables_declare(database: sqlite3.Connection, table: type) -> None:
    meta = table._meta  # type: ignore[attr-defined]
    made = [row[1:6] for row in database.execute(f'PRAGMA table_info("{meta.tablename}")')]
    with speaking(Dialect.SQLITE):
        declared = {column._meta.name: declared_column(column) for column in meta.columns}
    assert {
        name: (kind, bool(not_null), default or "null", bool(key)) for name, kind, not_null, default, key in made
    } == declared
    keys = {row[3]: row[2] for row in database.execute(f'PRAGMA foreign_key_list("{meta.tablename}")')}
    assert keys == {
        column._meta.name: column._foreign_key_meta.resolved_references._meta.tablename
        for column in meta.foreign_key_columns
    }


def declared_column(column: Column) -> tuple[str, bool, str, bool]:
    """Type, NOT NULL, default and whether it is the key, as SQLite tells them."""
    default = column.get_sql_value(column._meta.params.get("default"))
    if column._meta.name in ("directory_hash", "sealed_directory_key"):
        default = "x''"  # Piccolo cannot say that
    return column.column_type, not column._meta.null, str(default), column._meta.primary_key


def test_the_migrations_make_the_indexes_that_are_declared(database: sqlite3.Connection) -> None:
    rows = database.execute("SELECT sql FROM sqlite_master WHERE type = 'index' AND sql <> ''")
    made = {row[0].replace('"', "") for row in rows}  # SQLite quotes a column that was renamed
    assert made == {declared_index(index) for index in INDEXES}


def declared_index(index: Index) -> str:
    """The statement that makes it."""
    where = f" WHERE {index.where}" if index.where else ""
    unique = "UNIQUE " if index.unique else ""
    return f"CREATE {unique}INDEX {index.name} ON {index.table._meta.tablename} ({index.columns}){where}"


class Odd(Table, tablename="odd"):
    id = Text(primary_key=True, default=None)
    amount = Integer(default=None, null=True)


class Lacks(msgspec.Struct):
    id: str


class Exceeds(msgspec.Struct):
    id: str
    amount: int | None
    more: str


class MustBeThere(msgspec.Struct):
    id: str
    amount: int


class IsText(msgspec.Struct):
    id: str
    amount: str | None


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Lacks, "differ in amount"),
        (Exceeds, "differ in more"),
        (MustBeThere, r"odd\.amount: the column Integer\(null=True\) does not fit"),
        (IsText, r"odd\.amount: the column Integer\(null=True\) does not fit"),
    ],
)
def test_a_model_that_does_not_fit_its_table_is_refused(model: type[msgspec.Struct], reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        Codec(model, Odd, Dialect.SQLITE)


@pytest.mark.parametrize("table", MODELS)
def test_a_table_has_the_fields_of_its_model_in_their_order(database: sqlite3.Connection, table: str) -> None:
    columns = tuple(row[1] for row in database.execute(f'PRAGMA table_info("{table}")'))
    assert columns == MODELS[table].__struct_fields__


def test_every_foreign_key_has_an_index(database: sqlite3.Connection) -> None:
    for table in TABLES:
        name = table._meta.tablename
        indexed = set()
        for index in database.execute(f'PRAGMA index_list("{name}")').fetchall():
            if not index[4]:  # not partial
                indexed.add(database.execute(f'PRAGMA index_info("{index[1]}")').fetchone()[2])
        for key in database.execute(f'PRAGMA foreign_key_list("{name}")').fetchall():
            assert key[3] in indexed, f"{name}.{key[3]}"


def test_no_statement_scans_a_table(store: SqlStore, database: sqlite3.Connection) -> None:
    database.execute("PRAGMA foreign_keys = ON")
    checked = 0
    for name, sql in statements(store):
        if name not in WHOLE and sql.sqlite:
            plan = plan_of(database, sql.sqlite)
            scans = [step for step in plan if step.startswith("SCAN") and not _is_short(step)]
            assert not scans, f"{name}: {sql.sqlite}: {plan}"
            checked += 1
    assert checked > 50


def test_open_orders_are_found_among_all_of_an_account_by_their_own_index(
    store: SqlStore, database: sqlite3.Connection
) -> None:
    """newOrder asks for them each time: it must not go through all orders that the account ever had."""
    ((_, sql),) = [found for found in statements(store) if found[0] == "OrderLists._open_of"]
    assert plan_of(database, sql.sqlite) == ["SEARCH orders USING INDEX orders_open (account_id=? AND name_set=?)"]


def test_an_order_of_the_same_csr_is_found_by_the_csr(store: SqlStore, database: sqlite3.Connection) -> None:
    """Each finalize asks for it: it must not go through all valid orders."""
    ((_, sql),) = [found for found in statements(store) if found[0] == "OrderLists._same_csr"]
    plan = plan_of(database, sql.sqlite)
    assert plan[0] == "SEARCH orders USING INDEX orders_csr (account_id=? AND <expr>=?)", plan


# the only filters that may leave a list to walk along the order that it is printed in
WALKS = {
    "order": {"since", "after"},
    "certificate": {"ends_before", "uncovered", "revoked", "after"},
    "account": {"status", "after"},
}


def test_a_list_with_filters_reads_from_an_index_of_its_narrowest_filter(database: sqlite3.Connection) -> None:
    checked = 0
    for name, statement in pages(Dialect.SQLITE):
        first, *rest = [step for step in plan_of(database, statement.sql.sqlite) if "SUBQUERY" not in step]
        assert first.startswith("SEARCH page USING INDEX sqlite_autoindex_"), name
        scans = [step for step in rest if step.startswith("SCAN") and "json_each" not in step]
        noun, *filters = name
        if {"failing", "stage"} & set(filters) and not {"name", "challenge_id"} & set(filters):
            assert "INDEX orders_unfinished" in rest[0], (name, rest)
        elif scans:
            few = "INDEX certificate_revoked" in scans[0] or "INDEX account_over" in scans[0]
            assert few or set(filters) <= WALKS[noun], (name, rest)
            assert _is_short(scans[0]), (name, rest)
        if noun == "certificate" and "ends_before" in filters and not {"name", "below", "revoked"} & set(filters):
            assert "INDEX certificate_ends" in rest[0], (name, rest)
        checked += 1
    assert checked > 100


SOME = frozenset({"x", "y"})


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (OrderFilter(principal_ids=SOME), "COVERING INDEX orders_principal (principal_id=?)"),
        (OrderFilter(principal_ids=SOME, status=models.OrderStatus.INVALID), "orders_failed (principal_id=?)"),
        (OrderFilter(principal_ids=SOME, status=models.OrderStatus.VALID), "orders_principal (principal_id=?)"),
        (OrderFilter(principal_ids=SOME, status=models.OrderStatus.PENDING), "orders_unfinished"),
        (OrderFilter(principal_ids=SOME, failing=True), "orders_unfinished"),
        (OrderFilter(principal_ids=SOME, account_id="x"), "orders_account (account_id=?)"),
        (CertificateFilter(principal_ids=SOME), "COVERING INDEX certificate_account (account_id=?)"),
        (CertificateFilter(principal_id="x"), "COVERING INDEX certificate_account (account_id=?)"),
        (CertificateFilter(principal_ids=SOME, authority_id="x"), "certificate_account (account_id=?)"),
        (CertificateFilter(principal_ids=SOME, ends_before=at(0)), "COVERING INDEX certificate_ends (not_after<?)"),
        (CertificateFilter(revoked=True, principal_ids=SOME), "certificate_revoked"),
        (CertificateFilter(below="x"), "COVERING INDEX certificate_name_below (reversed>? AND reversed<?)"),
        (AccountFilter(principal_ids=SOME), "COVERING INDEX account_principal (principal_id=?)"),
        (AccountFilter(token_id="x", principal_ids=SOME), "account_token (token_id=?)"),
        (AccountFilter(status=models.AccountStatus.REVOKED), "account_over"),
        (AccountFilter(thumbprint="x"), "account_thumbprint_unique (thumbprint=?)"),
    ],
    ids=str,
)
def test_a_list_is_read_from_the_index_of_what_it_asks_for(
    database: sqlite3.Connection, wanted: Any, index: str
) -> None:
    """Without statistics, and never through all rows of a status, or of others."""
    statement = page_of(Dialect.SQLITE, wanted)
    plan = [step for step in plan_of(database, statement.sql.sqlite) if "LIST SUBQUERY" not in step]
    assert any(index in step for step in plan[1:3]), plan


def test_a_claim_reads_the_oldest_orders_from_its_index_alone(store: SqlStore, database: sqlite3.Connection) -> None:
    """No sorting of all that is due, and no reading of rows that are passed over."""
    ((_, sql),) = [found for found in statements(store) if found[0] == "JobRows._claim"]
    plan = plan_of(database, sql.sqlite)
    assert "SCAN orders USING COVERING INDEX orders_claim" in plan
    assert not any("TEMP B-TREE" in step for step in plan), plan


def plan_of(database: sqlite3.Connection, text: str) -> list[str]:
    values = [None] * max((int(number) for number in re.findall(r"\?(\d+)", text)), default=text.count("?"))
    return [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {text}", values)]


def _is_short(step: str) -> bool:
    """A walk along an index that stops at LIMIT or holds few rows, or through the rows of a subquery."""
    partial: tuple[str, ...] = ("orders_claim", "orders_due", "orders_leased", "txt_record_due")
    subquery = ("SCAN CONSTANT ROW", "SCAN json_each", "SCAN free", "SCAN both_halves", "SCAN held", "SCAN (subquery")
    partial += ("account_over", "certificate_revoked", "certificate_unfilled", "certificate_name_unfilled")
    ordered: tuple[str, ...] = ("orders_created", "orders_unfinished", "certificate_created", "certificate_ends")
    ordered += ("sqlite_autoindex_account", "seal_kept")
    return step.startswith(subquery) or any(f"INDEX {name}" in step for name in (*partial, *ordered))


@pytest.mark.parametrize(
    ("status", "account", "index"),
    [
        (None, "", "orders_created"),
        (models.OrderStatus.INVALID, "", "orders_status"),
        (models.OrderStatus.READY, "", "orders_unfinished"),
        (None, "account", "orders_account"),
    ],
)
@pytest.mark.parametrize("after", ["", "order"])
def test_a_page_of_orders_is_read_from_an_index_in_its_order(
    database: sqlite3.Connection, status: models.OrderStatus | None, account: str, index: str, after: str
) -> None:
    lists = OrderLists(
        Dialect.SQLITE,
        Codec(models.Order, tables.Order, Dialect.SQLITE),
        Codec(models.Authorization, tables.Authorization, Dialect.SQLITE),
    )
    step = next(lists.page(OrderFilter(status=status, account_id=account), after, 10))
    assert isinstance(step, Statement)
    plan = plan_of(database, step.sql.sqlite)
    (first,) = [line for line in plan if f"INDEX {index}" in line]
    assert ("created<?" in first) is bool(after)
    others = [line for line in plan if line != first]
    assert all("SUBQUERY" in line or "(id=?)" in line or "ORDER BY" in line for line in others), others


def test_six_processes_migrate_at_once(path: Path) -> None:
    imports = (
        "import asyncio, pathlib, acmehub.storage.migrating\nfrom acmehub.storage_api import SqliteDriver, SqlStore"
    )
    driver = f"SqliteDriver(pathlib.Path({str(path)!r}))"
    steps = sorted(map(int, race(6, imports, f"asyncio.run(SqlStore({driver}).migrate())")))
    assert steps[:5] == [0] * 5
    assert steps[5] > 0


async def test_the_lock_of_a_migration_that_does_not_end_is_waited_for_and_then_named(path: Path) -> None:
    first, second = SqliteDriver(path), SqliteDriver(path, busy_timeout=0.3)
    async with first.schema():
        with pytest.raises(
            StoreUnavailable, match=r"another process has migrated .* for more than 0.3 s: .*migrate\.lock"
        ):
            await SqlStore(second).migrate()
        waiting = asyncio.create_task(SqlStore(SqliteDriver(path)).migrate())
        await asyncio.sleep(0.2)
        assert not waiting.done()
    assert await waiting > 0


def test_a_migration_that_fails_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def forwards() -> MigrationManager:
        manager = MigrationManager(migration_id="9999", app_name="acmehub")
        manager.add_table("Token", tablename="token")
        return manager

    modules = PackageMigrations.get_migration_modules
    broken: Any = SimpleNamespace(ID="9999", forwards=forwards)
    with monkeypatch.context() as patch:
        patch.setattr(PackageMigrations, "get_migration_modules", lambda self, _: {**modules(self, ""), "9999": broken})
        with pytest.raises(sqlite3.OperationalError, match="already exists"):
            asyncio.run(SqlStore(SqliteDriver(path)).migrate())
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    assert asyncio.run(SqlStore(SqliteDriver(path)).migrate()) > 0


def test_a_migration_that_would_orphan_rows_is_refused(
    store: SqlStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = {**known_steps(), "2999-01-01T00:00:01": "m2999_01_01_01_later"}
    monkeypatch.setattr(schema_steps, "known_steps", lambda: steps)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO certificate_name (certificate_id, name) VALUES ('none', 'a')")
        connection.commit()
    with pytest.raises(sqlite3.IntegrityError, match="rows of certificate_name that refer to no certificate"):
        asyncio.run(store.migrate())


def test_the_steps_are_known_without_importing_them() -> None:
    modules = {name: importlib.import_module(f"acmehub.storage.migrations.{name}") for name in known_steps().values()}
    assert {module.ID: name for name, module in modules.items()} == known_steps()


async def test_a_database_that_lacks_a_step_is_not_opened_and_one_with_more_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hub.db"
    store = SqlStore(SqliteDriver(path))
    await store.migrate()
    later = {**known_steps(), "2999-01-01T00:00:01": "m2999_01_01_01_later"}
    with monkeypatch.context() as patch:
        patch.setattr(schema_steps, "known_steps", lambda: later)
        with pytest.raises(StoreOutdated, match=r"\(1 steps\): run `acmehub db upgrade`"):
            await store.open(serve=True)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO migration (name, app_name) VALUES ('2999-01-01T00:00:01', 'acmehub')")
    await store.open(serve=True)  # a later version has been here; and the lock of the refused start is free
    await store.close()

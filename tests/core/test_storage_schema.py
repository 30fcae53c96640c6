"""The schema: migrations make what tables and models say, safely, and no hot statement is without an index."""

import asyncio
import contextlib
import enum
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from acmehub import models
from acmehub.storage.binding import BoundEngine
from acmehub.storage.migrating import _Forwards
from acmehub.storage.sqlite import SqliteDriver
from acmehub.storage.statements import Sql
from acmehub.storage.store import SqlStore
from acmehub.storage.tables import TABLES

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
def test_the_migrations_make_the_columns_that_the_tables_have(database: sqlite3.Connection, table: type) -> None:
    meta = table._meta  # type: ignore[attr-defined]
    made = {row[1]: bool(row[3]) for row in database.execute(f'PRAGMA table_info("{meta.tablename}")')}
    assert made == {column._meta.name: not column._meta.null for column in meta.columns}
    keys = {row[3]: row[2] for row in database.execute(f'PRAGMA foreign_key_list("{meta.tablename}")')}
    assert keys == {
        column._meta.name: column._foreign_key_meta.resolved_references._meta.tablename
        for column in meta.foreign_key_columns
    }


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


def statements(thing: object, seen: set[int]) -> Iterator[tuple[str, Sql]]:
    """Every `Sql` that an object of the storage, or one that it uses, keeps."""
    if id(thing) in seen or isinstance(thing, SqliteDriver | type | enum.Enum | BoundEngine):
        return
    seen.add(id(thing))
    for name, value in {**vars(type(thing)), **vars(thing)}.items():
        if isinstance(value, Sql):
            yield f"{type(thing).__name__}.{name}", value
        elif isinstance(value, dict):
            yield from ((f"{type(thing).__name__}.{name}", item) for item in value.values() if isinstance(item, Sql))
        elif type(value).__module__.startswith("acmehub.storage"):
            yield from statements(value, seen)


WHOLE = {  # what is meant to give all there is, or the newest of it by the table's own key
    "SqlResources._list",
    "SqlLedger._list",
    "SqlRecords._latest",
}


def test_no_statement_scans_a_table(store: SqlStore, database: sqlite3.Connection) -> None:
    database.execute("PRAGMA foreign_keys = ON")
    checked = 0
    for noun in vars(store).values():
        for name, sql in statements(noun, set()):
            if name in WHOLE:
                continue
            values = [None] * (sql.sqlite.count("?") and max(int(n) for n in _numbers(sql.sqlite)))
            plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {sql.sqlite}", values)]
            scans = [step for step in plan if step.startswith("SCAN") and not _is_short(step)]
            assert not scans, f"{name}: {sql.sqlite}: {plan}"
            checked += 1
    assert checked > 50


def _numbers(text: str) -> list[str]:
    return [part.split(" ")[0].rstrip("),") for part in text.replace("(", " ").split("?")[1:]]


def _is_short(step: str) -> bool:
    """A walk along an index that stops at LIMIT or holds few rows, or through the rows of a subquery."""
    partial = ("orders_due", "orders_leased", "txt_record_due")
    subquery = ("SCAN free", "SCAN both_halves", "SCAN (subquery")
    ordered = ("orders_created", "certificate_created")
    return step.startswith(subquery) or any(f"INDEX {name}" in step for name in (*partial, *ordered))


def test_six_processes_migrate_at_once(path: Path) -> None:
    program = f"""
import asyncio
from pathlib import Path
from acmehub import SqliteDriver, SqlStore
print(asyncio.run(SqlStore(SqliteDriver(Path({str(path)!r}))).migrate()))
"""
    running = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    ended = [process.communicate(timeout=120) for process in running]
    assert all(not errors for _, errors in ended), ended
    steps = sorted(int(output) for output, _ in ended)
    assert steps[:5] == [0] * 5
    assert steps[5] > 0


def test_a_migration_that_fails_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def forwards() -> MigrationManager:
        manager = MigrationManager(migration_id="9999", app_name="acmehub")
        manager.add_table("Token", tablename="token")
        return manager

    modules = _Forwards.get_migration_modules
    broken: Any = SimpleNamespace(ID="9999", forwards=forwards)
    with monkeypatch.context() as patch:
        patch.setattr(_Forwards, "get_migration_modules", lambda self, _: {**modules(self, ""), "9999": broken})
        with pytest.raises(sqlite3.OperationalError, match="already exists"):
            asyncio.run(SqlStore(SqliteDriver(path)).migrate())
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    assert asyncio.run(SqlStore(SqliteDriver(path)).migrate()) > 0


def test_a_migration_that_would_orphan_rows_is_refused(store: SqlStore, path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO certificate_name (certificate_id, name) VALUES ('none', 'a')")
        connection.commit()
    with pytest.raises(sqlite3.IntegrityError, match="rows of certificate_name that refer to no certificate"):
        asyncio.run(store.migrate())

"""Lists of the audit: which index each filter is answered by, before there are statistics."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import combinations
from pathlib import Path

import pytest

from acmehub.models import AuditFilter
from acmehub.storage.audit.statements import CONDITIONS, page_of_audit
from acmehub.storage.sqlite.driver import SqliteDriver
from acmehub.storage.store import SqlStore

INDEXED = ("object_id", "actor_ids", "request", "credential", "address", "refused")
INDEX_OF = {name: f"audit_{name.removesuffix('_id').removesuffix('_ids')}" for name in INDEXED}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    store = SqlStore(SqliteDriver(tmp_path / "acmehub.db"))
    asyncio.run(store.migrate())
    with closing(sqlite3.connect(tmp_path / "acmehub.db")) as connection:
        yield connection


def plan(database: sqlite3.Connection, given: list[str]) -> list[str]:
    sql = page_of_audit('"actor"', given, 1).sqlite
    values = [1] * sql.count("?")
    return [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {sql}", values)]


def test_the_narrowest_filter_is_answered_by_its_index_whatever_else_is_asked(database: sqlite3.Connection) -> None:
    assert database.execute("SELECT name FROM sqlite_master WHERE name = 'sqlite_stat1'").fetchall() == []
    for count in (1, 2, 3):
        for chosen in combinations(CONDITIONS, count):
            steps = plan(database, [name for name in CONDITIONS if name in chosen])
            narrowest = next((name for name in INDEXED if name in chosen), "")
            assert len(steps) == 1, (chosen, steps)  # nothing is sorted
            if narrowest:
                assert f"USING INDEX {INDEX_OF[narrowest]}" in steps[0], (chosen, steps)
            else:
                assert "INDEX" not in steps[0].replace("INTEGER PRIMARY KEY", ""), (chosen, steps)


def test_each_field_of_the_filter_has_its_condition() -> None:
    assert set(CONDITIONS) - {"before", "after"} == set(AuditFilter.__struct_fields__)

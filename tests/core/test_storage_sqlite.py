"""The SQLite storage: the contract, and what is its own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from acmehub import SqliteDriver, SqlStore, Store
from acmehub.testing.store_contract import StoreContract


class TestSqliteStore(StoreContract):
    """The contract of every storage."""

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], Store]:
        return lambda: SqlStore(SqliteDriver(tmp_path / "acmehub.db", poll=0.05))

"""The PostgreSQL storage: the contract, and what is its own."""

from collections.abc import Callable, Iterator

import pytest

from acmehub import Secret, SqlStore, Store
from acmehub.testing.store_contract import StoreContract
from acmehub_storage_postgres import PostgresDriver, Settings
from tests.journal import Journal
from tests.servers.postgres import Postgres, running_postgres


@pytest.fixture(scope="session")
def postgres(journal: Journal) -> Iterator[Postgres]:
    with running_postgres(log=journal.new_log("postgres")) as server:
        journal.keep_secret("PostgreSQL password", server.password)
        yield server


@pytest.fixture
def settings(postgres: Postgres) -> Settings:
    return Settings(dsn=Secret(postgres.new_database()), connections=4, timeout=10)


@pytest.fixture
def make_store(settings: Settings) -> Callable[[], Store]:
    return lambda: SqlStore(PostgresDriver(settings))


class TestPostgresStore(StoreContract):
    """The contract of every storage."""

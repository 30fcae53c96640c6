"""One PostgreSQL for all tests of its storage."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from acmehub import Secret, Store, StoreAway
from acmehub.storage_api import SqlStore
from acmehub_storage_postgres import PostgresDriver, Settings
from tests.journal import Journal
from tests.servers.postgres import Postgres, running_postgres


@pytest.fixture(scope="session")
def postgres(journal: Journal) -> Iterator[Postgres]:
    with running_postgres(log=journal.new_log("postgres")) as server:
        journal.keep_secret("PostgreSQL password", server.password)
        yield server


@pytest.fixture(scope="session")
def database(postgres: Postgres) -> str:
    """The DSN of a database that has its tables."""
    dsn = postgres.new_database()
    asyncio.run(store_of(dsn).migrate())
    return dsn


@pytest.fixture(scope="session")
def _unsteady(journal: Journal) -> Iterator[tuple[Postgres, str]]:
    with running_postgres(log=journal.new_log("postgres")) as server:
        journal.keep_secret("PostgreSQL password of a server that is stopped", server.password)
        template = server.new_database()
        asyncio.run(store_of(template).migrate())
        yield server, name_of(template)


@pytest.fixture
def server(_unsteady: tuple[Postgres, str]) -> Postgres:
    """A server that tests stop, freeze and replace; it runs when a test begins."""
    found, _ = _unsteady
    if not found.running:
        found.start()
    return found


@pytest.fixture
def dsn(server: Postgres, _unsteady: tuple[Postgres, str]) -> str:
    """A new database of `server` that has tables and no rows."""
    return server.new_database(like=_unsteady[1])


def store_of(dsn: str, **settings: Any) -> SqlStore:
    return SqlStore(PostgresDriver(Settings(dsn=Secret(dsn), **{"connections": 4, "timeout": 10, **settings})))


def name_of(dsn: str) -> str:
    return dsn.rpartition("/")[2]


async def back(store: Store) -> None:
    """Wait until a store that nobody is to wait for any more has noticed that its server answers."""
    async with asyncio.timeout(40):
        while True:
            try:
                return await store.ping()
            except StoreAway:
                await asyncio.sleep(0.05)

"""What is settled on PostgreSQL, where entries of the audit can be seen in another order than they have numbers."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from acmehub.models import AuditEntry
from acmehub.storage_api import SqlStore
from acmehub.testing.store_samples import NOW
from tests.plugins.conftest import name_of, store_of
from tests.servers.postgres import Postgres

ENTRY = AuditEntry(at=NOW, actor="a", action="b", object="c")
INSERT = (
    "INSERT INTO audit (at, actor, action, object, detail, allowed) VALUES (now(), '', '', '', '', true) RETURNING id"
)


@pytest.fixture
async def dsn(postgres: Postgres, database: str) -> str:
    return postgres.new_database(like=name_of(database))


@pytest.fixture
async def store(dsn: str) -> AsyncIterator[SqlStore]:
    store = store_of(dsn)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def other(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


async def test_nothing_is_settled_above_an_entry_that_cannot_be_seen_yet(
    store: SqlStore, other: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    late = other.transaction()
    await late.start()
    number = await other.fetchval(INSERT)
    await store.records.audit([ENTRY])
    (seen,) = await store.records.audited()
    assert seen.id > number
    assert await store.seals.settled(0) is None
    await late.commit()
    assert await store.seals.settled(0) == seen.id
    assert [entry.id for entry in await store.records.audited(after=0)] == [number, seen.id]


async def test_a_number_that_was_taken_by_a_transaction_without_an_id_counts(
    store: SqlStore, other: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """As a process that is stopped within its INSERT, between the number and the row."""
    await store.records.audit([ENTRY])
    late = other.transaction()
    await late.start()
    await other.execute("LOCK TABLE audit IN ROW EXCLUSIVE MODE")
    await other.fetchval("SELECT nextval(pg_get_serial_sequence('audit', 'id'))")
    await store.records.audit([ENTRY])
    assert await store.seals.settled(0) is None
    await late.rollback()
    assert await store.seals.settled(0) == (await store.records.audited())[0].id


async def test_who_reads_or_writes_elsewhere_does_not_matter(
    store: SqlStore, other: "asyncpg.Connection[asyncpg.Record]", postgres: Postgres, database: str
) -> None:
    await store.records.audit([ENTRY])
    reads = other.transaction()
    await reads.start()
    await other.fetch("SELECT * FROM audit")
    await other.execute("UPDATE revision SET value = value")
    neighbour = await asyncpg.connect(postgres.new_database(like=name_of(database)))
    writes = neighbour.transaction()
    await writes.start()
    await neighbour.fetchval(INSERT)
    try:
        assert await store.seals.settled(0) is not None
    finally:
        await writes.rollback()
        await neighbour.close()
        await reads.rollback()


async def test_under_load_no_entry_appears_below_what_was_settled(store: SqlStore, dsn: str) -> None:
    """Entries as a caller reads them that asks for what came after the last one that was settled."""
    writers = [store_of(dsn) for _ in range(3)]
    for writer in writers:
        await writer.open()
    read: list[int] = []

    async def follow() -> None:
        while (last := await store.seals.settled(read[-1] if read else 0)) is not None:
            page = await store.records.audited(1000, after=read[-1] if read else 0)
            read.extend(entry.id for entry in page if entry.id <= last)

    async def write(writer: SqlStore) -> None:
        for _ in range(30):
            await writer.records.audit([ENTRY])
            await asyncio.sleep(0)
            await follow_once()

    lock = asyncio.Lock()

    async def follow_once() -> None:
        async with lock:
            await follow()

    await asyncio.gather(*map(write, writers))
    await follow()
    assert read == sorted(entry.id for entry in await store.records.audited(1000))
    for writer in writers:
        await writer.close()

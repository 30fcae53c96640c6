"""The lock for migrations: who holds it is said, and it ends with whoever holds it."""

import asyncio
import subprocess
import sys

import asyncpg
import pytest

from acmehub import Secret, StoreUnavailable
from acmehub.storage_api import SqlStore
from acmehub_storage_postgres import PostgresDriver, Settings
from acmehub_storage_postgres.schema import MIGRATION_LOCK
from tests.plugins.conftest import store_of
from tests.servers.postgres import Postgres


def impatient(dsn: str, seconds: float) -> SqlStore:
    return SqlStore(PostgresDriver(Settings(dsn=Secret(dsn)), lock_seconds=seconds))


@pytest.mark.parametrize("kind", ["pg_advisory_lock", "pg_advisory_xact_lock"])
async def test_a_lock_that_somebody_holds_is_waited_for_and_then_named(postgres: Postgres, kind: str) -> None:
    dsn = postgres.new_database()
    holder = await asyncpg.connect(dsn, server_settings={"application_name": "left by a pooler"})
    try:
        async with holder.transaction():
            await holder.execute(f"SELECT {kind}({MIGRATION_LOCK})")
            with pytest.raises(StoreUnavailable) as caught:
                await impatient(dsn, 0.3).migrate()
        text = str(caught.value)
        for part in ("0.3 s", "left by a pooler", "127.0.0.1", f"pg_terminate_backend({holder.get_server_pid()})"):
            assert part in text
    finally:
        await holder.close()
    assert await impatient(dsn, 5).migrate() > 0


async def test_who_has_waited_goes_on_as_soon_as_the_lock_is_free(postgres: Postgres) -> None:
    dsn = postgres.new_database()
    holder = await asyncpg.connect(dsn)
    await holder.execute(f"SELECT pg_advisory_lock({MIGRATION_LOCK})")
    waiting = asyncio.create_task(store_of(dsn).migrate())
    await _until_somebody_waits(postgres)
    await holder.close()
    assert await waiting > 0


async def test_a_migration_that_is_given_up_ends_at_once(postgres: Postgres) -> None:
    dsn = postgres.new_database()
    holder = await asyncpg.connect(dsn)
    try:
        await holder.execute(f"SELECT pg_advisory_lock({MIGRATION_LOCK})")
        waiting = asyncio.create_task(store_of(dsn).migrate())
        await _until_somebody_waits(postgres)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with asyncio.timeout(30):
            while postgres.sql(_WAITING) != "0":
                await asyncio.sleep(0.02)
    finally:
        await holder.close()


async def test_a_process_that_is_killed_while_it_migrates_leaves_no_lock(postgres: Postgres) -> None:
    dsn = postgres.new_database()
    text = (
        "import asyncio, sys, time\nfrom acmehub import Secret\nfrom acmehub_storage_postgres import *\n"
        f"driver = PostgresDriver(Settings(dsn=Secret({dsn!r})))\n"
        "async def main():\n    async with driver.schema() as session:\n        await session.execute('BEGIN')\n"
        "        print('locked', flush=True)\n        await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == b"locked\n"
        with pytest.raises(StoreUnavailable, match="acmehub, idle in transaction"):
            await impatient(dsn, 0.2).migrate()
        process.kill()
    assert await impatient(dsn, 5).migrate() > 0


_WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


async def _until_somebody_waits(postgres: Postgres) -> None:
    async with asyncio.timeout(30):
        while postgres.sql(_WAITING) == "0":
            await asyncio.sleep(0.02)

"""The connection for migrations, and the lock that lets one process migrate at a time."""

import logging
from collections.abc import Sequence
from typing import Any

import asyncpg

from acmehub import StoreUnavailable
from acmehub.storage_api import SchemaSession
from acmehub_storage_postgres.connecting import DatabaseConnection

log = logging.getLogger(__name__)

MIGRATION_LOCK = 0x61636D65  # "acme": any number, as long as every process takes the same
LOCK_SECONDS = 60.0

_HOLDERS = (
    "SELECT a.pid, a.usename, coalesce(host(a.client_addr), 'a local socket') AS address, a.application_name, a.state,"
    " a.state_change FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid"
    " WHERE l.locktype = 'advisory' AND l.classid = 0 AND l.objid = $1 AND l.objsubid = 1 AND l.granted"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class PostgresSchema(SchemaSession):
    """A connection for migrations.

    The lock belongs to the transaction of the migrations, so it ends with that, however the process ends; no statement
    in it waits for a lock longer than `lock_seconds`.
    """

    def __init__(self, session: DatabaseConnection, place: str, lock_seconds: float) -> None:
        self._session = session
        self._place = place
        self._lock_seconds = lock_seconds

    async def execute(self, text: str, values: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
        rows = [dict(row) for row in await self._session.fetch(text, *values)]
        if text == "BEGIN":
            await self._lock()
        return rows

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        await self._session.copy_records_to_table(table, columns=list(columns), records=rows)

    async def _lock(self) -> None:
        await self._session.execute(f"SET LOCAL lock_timeout = {round(self._lock_seconds * 1000)}")
        try:
            await self._session.execute(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
        except asyncpg.LockNotAvailableError:
            await self._session.execute("ROLLBACK")
            raise await self._refusal() from None

    async def _refusal(self) -> StoreUnavailable:
        holders = await self._session.fetch(_HOLDERS, MIGRATION_LOCK)
        text = "; ".join(
            f"process {row['pid']} of user {row['usename']} at {row['address']} ({row['application_name']},"
            f" {row['state']} since {row['state_change']:%Y-%m-%d %H:%M:%SZ})"
            for row in holders
        )
        which = f"SELECT pg_terminate_backend({holders[0]['pid']})" if holders else "pg_locks there"
        return StoreUnavailable(
            f"PostgreSQL at {self._place}: another process has held the lock for migrations for more than"
            f" {self._lock_seconds:g} s: {text or 'it has just ended'}. Wait for it and try again; if no acmehub"
            f" migrates, a connection that a pooler kept may hold it: end it by {which}"
        )

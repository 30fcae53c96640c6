"""Requests of the API by their idempotency keys."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import BigInt, Bytea, Text, Timestamptz
from piccolo.table import Table

from acmehub.storage.piccolo_engine import DB

ID = "2026-12-01T00:00:03"


class Idempotency(Table, tablename="idempotency", db=DB):
    place = Text(primary_key=True, default=None)
    body_hash = Bytea(default=None)
    sealed_answer = Bytea(default=None, null=True)
    fence = BigInt()
    lease_until = Timestamptz(default=None)
    expires = Timestamptz(default=None)


async def forwards() -> MigrationManager:
    """Add the table, then its index."""
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="idempotency keys")

    async def add() -> None:
        await Idempotency.create_table()
        await DB.run_ddl("CREATE INDEX idempotency_expires ON idempotency (expires)")

    manager.add_raw(add)
    return manager

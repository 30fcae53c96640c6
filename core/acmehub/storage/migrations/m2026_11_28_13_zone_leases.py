"""Zone leases: which process writes records into a zone, for providers that replace whole record sets."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import BigInt, Text, Timestamptz
from piccolo.table import Table

from acmehub.storage.piccolo_engine import DB

ID = "2026-11-28T00:00:13"


class ZoneLease(Table, tablename="zone_lease", db=DB):
    place = Text(primary_key=True, default=None)
    fence = BigInt()
    lease_owner = Text(default=None)
    lease_until = Timestamptz(default=None)


async def forwards() -> MigrationManager:
    """Add the table, then its index."""
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="zone leases")

    async def add() -> None:
        await ZoneLease.create_table()
        await DB.run_ddl("CREATE INDEX zone_lease_until ON zone_lease (lease_until)")

    manager.add_raw(add)
    return manager

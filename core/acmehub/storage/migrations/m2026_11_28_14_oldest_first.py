"""Indexes for claiming the oldest of the due orders first and for the next moment; who asks for a renewal window."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import Text
from piccolo.table import Table

from acmehub.storage.piccolo_engine import DB

ID = "2026-11-28T00:00:14"


class Certificate(Table, tablename="certificate", db=DB):
    lease_owner = Text(null=True, default=None)


async def forwards() -> MigrationManager:
    """Split `orders_due`: claims read by `created`, the next due moment by `run_at`. Add the column."""
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="oldest first")

    async def indexes() -> None:
        await DB.run_ddl("DROP INDEX IF EXISTS orders_due")
        await DB.run_ddl("CREATE INDEX orders_due ON orders (run_at) WHERE run_at IS NOT NULL AND lease_until IS NULL")
        await DB.run_ddl(
            "CREATE INDEX orders_claim ON orders (created, run_at, lease_until, authority_id, mode, principal_id, id)"
            " WHERE run_at IS NOT NULL"
        )

    async def column() -> None:
        await Certificate.alter().add_column("lease_owner", Certificate.lease_owner)
        await DB.run_ddl("CREATE INDEX certificate_leased ON certificate (lease_owner) WHERE lease_owner IS NOT NULL")

    manager.add_raw(indexes)
    manager.add_raw(column)
    return manager

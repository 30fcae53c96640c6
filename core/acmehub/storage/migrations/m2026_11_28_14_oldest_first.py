"""Indexes for claiming the oldest of the due orders first, and for the moment at which the next one is due."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from acmehub.storage.piccolo_engine import DB

ID = "2026-11-28T00:00:14"


async def forwards() -> MigrationManager:
    """Split `orders_due`: claims read by `created`, the next due moment by `run_at`."""
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="oldest first")

    async def indexes() -> None:
        await DB.run_ddl("DROP INDEX IF EXISTS orders_due")
        await DB.run_ddl("CREATE INDEX orders_due ON orders (run_at) WHERE run_at IS NOT NULL AND lease_until IS NULL")
        await DB.run_ddl(
            "CREATE INDEX orders_claim ON orders (created, run_at, lease_until, authority_id, mode, principal_id, id)"
            " WHERE run_at IS NOT NULL"
        )

    manager.add_raw(indexes)
    return manager

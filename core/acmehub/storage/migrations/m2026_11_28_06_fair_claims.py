"""The index of due orders knows their groups, so that a claim passes those of full groups over without reading them."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from acmehub.storage.piccolo_engine import DB

ID = "2026-11-28T00:00:06"


async def forwards() -> MigrationManager:
    """Create `orders_due` again, with more columns."""
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="fair claims")

    async def index() -> None:
        await DB.run_ddl("DROP INDEX IF EXISTS orders_due")
        await DB.run_ddl(
            "CREATE INDEX orders_due ON orders (run_at, lease_until, authority_id, mode, principal_id, id)"
            " WHERE run_at IS NOT NULL"
        )

    manager.add_raw(index)
    return manager

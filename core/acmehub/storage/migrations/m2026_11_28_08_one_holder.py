"""One holder of a lock for one upstream order, as a unique index instead of a look before the write."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from acmehub.storage.piccolo_engine import DB

ID = "2026-11-28T00:00:08"


async def forwards() -> MigrationManager:
    """Where two have the same, the older one keeps its lock; the other one goes on as before, without one."""
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="one holder of an upstream order")

    async def indexes() -> None:
        await DB.run_ddl("DROP INDEX IF EXISTS orders_upstream")
        await DB.run_ddl(
            "UPDATE orders SET lock_key = NULL WHERE lock_key IS NOT NULL AND EXISTS (SELECT 1 FROM orders AS other"
            " WHERE other.upstream_url = orders.upstream_url AND other.lock_key IS NOT NULL AND other.id < orders.id)"
        )
        await DB.run_ddl(
            "CREATE UNIQUE INDEX orders_upstream_url_unique ON orders (upstream_url) WHERE lock_key IS NOT NULL"
        )

    manager.add_raw(indexes)
    return manager

"""Indexes for what was read row by row: an order with the very same CSR, a TXT record of another order."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from acmehub.storage.piccolo_engine import DB

ID = "2026-11-28T00:00:20"


async def forwards() -> MigrationManager:
    """Add the indexes. A CSR ends with its signature, which is as good as a hash, and short where a CSR may be long."""
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="look-ups")

    async def indexes() -> None:
        await DB.run_ddl(
            "CREATE INDEX orders_csr ON orders (account_id, substr(csr, (length(csr) - 31))) WHERE csr IS NOT NULL"
        )
        await DB.run_ddl("CREATE INDEX txt_record_value ON txt_record (value)")

    manager.add_raw(indexes)
    return manager

"""Former keys of accounts: no certificate may have one. Keys that were changed before this migration are not known."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import Text
from piccolo.table import Table

from acmehub.storage.piccolo_engine import DB

ID = "2026-11-28T00:00:07"


class Account(Table, tablename="account", db=DB):
    former_keys = Text(default="[]")


async def forwards() -> MigrationManager:
    """Add the column."""
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="former keys")

    async def add() -> None:
        await Account.alter().add_column("former_keys", Account.former_keys)

    manager.add_raw(add)
    return manager

"""Columns for managed challenges whose DNS differs from the hub's: their zone and their resolvers."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import Text
from piccolo.table import Table

from acmehub.storage.piccolo_engine import DB

ID = "2026-11-28T00:00:03"


class ManagedChallenge(Table, tablename="managed_challenge", db=DB):
    zone = Text(default="")
    resolvers = Text(default="[]")


async def forwards() -> MigrationManager:
    """Add columns; rows that are there get the defaults."""
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="split views")

    async def add() -> None:
        for column in ManagedChallenge._meta.non_default_columns:
            await ManagedChallenge.alter().add_column(column._meta.name, column)

    manager.add_raw(add)
    return manager

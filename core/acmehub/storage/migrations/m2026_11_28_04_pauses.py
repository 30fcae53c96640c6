"""A column for what a CA has paused."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import Text
from piccolo.table import Table

from acmehub.storage.piccolo_engine import DB

ID = "2026-11-28T00:00:04"


class Authority(Table, tablename="authority", db=DB):
    pauses = Text(default="[]")


async def forwards() -> MigrationManager:
    """Add the column; rows that are there get its default."""
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="pauses")

    async def add() -> None:
        await Authority.alter().add_column("pauses", Authority.pauses)

    manager.add_raw(add)
    return manager

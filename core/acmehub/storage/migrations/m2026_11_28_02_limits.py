"""Limits on clients: their buckets, a token's own, and the index by which a name's proofs are found."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import BigInt, Text
from piccolo.table import Table

from acmehub.storage.piccolo_engine import DB

ID = "2026-11-28T00:00:02"


class Token(Table, tablename="token", db=DB):
    limits = Text(default="{}")


class RateLimit(Table, tablename="rate_limit", db=DB):
    bucket = Text(primary_key=True, default=None)
    full_at = BigInt()


INDEXES = (  # raw: Piccolo knows no expression and no WHERE of an index
    "CREATE INDEX authorization_valid ON authorization_ (account_id, lower(identifier), wildcard, expires)"
    " WHERE status = 'valid'",
    "CREATE INDEX rate_limit_full_at ON rate_limit (full_at)",
)


async def forwards() -> MigrationManager:
    """Add the table and the column, then the indexes."""
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="limits")

    async def add() -> None:
        await RateLimit.create_table()
        await Token.alter().add_column("limits", Token.limits)
        for text in INDEXES:
            await DB.run_ddl(text)

    manager.add_raw(add)
    return manager

"""Sets of names of certificates, and indexes by which operators find orders and certificates.

`name_set` stays empty here, so that a hub with many certificates starts at once; its worker fills it afterwards.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import Text
from piccolo.table import Table

from acmehub.storage.piccolo_engine import DB

ID = "2026-11-28T00:00:10"


class Certificate(Table, tablename="certificate", db=DB):
    name_set = Text(default=None, null=True)


INDEXES = (  # raw: Piccolo knows no expression and no WHERE of an index
    "CREATE INDEX orders_unfinished ON orders (created, id) WHERE stage NOT IN ('done', 'failed')",
    "CREATE INDEX authorization_name ON authorization_ (lower(identifier), wildcard)",
    "CREATE INDEX certificate_ends ON certificate (not_after, id)",
    "CREATE INDEX certificate_name_set ON certificate (name_set, not_after)",
    "CREATE INDEX certificate_unfilled ON certificate (id) WHERE name_set IS NULL",
)
WIDER = (("orders", "token"), ("orders", "principal"), ("orders", "authority"), ("certificate", "authority"))


async def forwards() -> MigrationManager:
    """Add the column, then the indexes; those by token, principal and authority get the order of lists."""
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="name sets")

    async def add() -> None:
        await Certificate.alter().add_column("name_set", Certificate.name_set)
        for text in INDEXES:
            await DB.run_ddl(text)
        for table, noun in WIDER:
            await DB.run_ddl(f"DROP INDEX IF EXISTS {table}_{noun}")
            await DB.run_ddl(f"CREATE INDEX {table}_{noun} ON {table} ({noun}_id, created, id)")

    manager.add_raw(add)
    return manager

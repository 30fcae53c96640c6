"""More of each entry of the audit, seals over them, and the keys of the chain."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import BigInt, Bytea, Text, Timestamptz
from piccolo.table import Table

from acmehub.storage.piccolo_engine import DB

ID = "2026-12-01T00:00:02"


class Audit(Table, tablename="audit", db=DB):
    actor_id = Text(default="")
    actor_kind = Text(default=None, null=True)
    via = Text(default=None, null=True)
    address = Text(default="")
    request = Text(default="")
    credential = Text(default="")
    object_kind = Text(default="")
    object_id = Text(default="")
    object_name = Text(default="")
    difference = Text(default="")
    withheld = Text(default="")
    salt = Text(default="")


class Seal(Table, tablename="seal", db=DB):
    id = BigInt(primary_key=True, default=None)
    first = BigInt()
    last = BigInt()
    entries = BigInt()
    at = Timestamptz(default=None)
    key = Text(default=None)
    mac = Bytea()
    pruned = Bytea(default=None, null=True)


class SealKey(Table, tablename="seal_key", db=DB):
    id = Text(primary_key=True, default=None)
    sealed_key = Bytea()


INDEXES = (  # raw: Piccolo knows no WHERE of an index
    *(
        f"CREATE INDEX audit_{name} ON audit ({column}, id)"
        for name, column in (
            ("object", "object_id"),
            ("actor", "actor_id"),
            ("request", "request"),
            ("credential", "credential"),
            ("address", "address"),
        )
    ),
    "CREATE INDEX audit_refused ON audit (id) WHERE NOT allowed",
    "CREATE INDEX seal_kept ON seal (id) WHERE pruned IS NULL",
)


async def forwards() -> MigrationManager:
    """Add the columns (entries that are there get the defaults), the tables, then the indexes."""
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="sealed audit")

    async def add() -> None:
        for column in Audit._meta.non_default_columns:
            await Audit.alter().add_column(column._meta.name, column)
        await Seal.create_table()
        await SealKey.create_table()
        for text in INDEXES:
            await DB.run_ddl(text)

    manager.add_raw(add)
    return manager

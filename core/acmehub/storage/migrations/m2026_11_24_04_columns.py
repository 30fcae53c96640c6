"""Columns for secret directory URLs, profiles, and what ARI and `auto` remember."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import Boolean, Integer, Text, Timestamptz
from piccolo.table import Table

from acmehub.storage.piccolo_engine import DB

ID = "2026-11-24T00:00:04"


class Principal(Table, tablename="principal", db=DB):
    profiles = Text(default="[]")


class Account(Table, tablename="account", db=DB):
    learned = Text(default=None, null=True)
    learned_why = Text(default="")


class Order(Table, tablename="orders", db=DB):
    client_profile = Text(default=None, null=True)
    preauthorization = Boolean()


class Certificate(Table, tablename="certificate", db=DB):
    principal_id = Text(default="")
    profile = Text(default=None, null=True)
    account_url = Text(default="")
    cert_id = Text(default="")
    window_start = Timestamptz(default=None, null=True)
    window_end = Timestamptz(default=None, null=True)
    window_until = Timestamptz(default=None, null=True)
    explanation_url = Text(default="")
    replaced_by = Text(default=None, null=True)
    revocation_reason = Integer(default=None, null=True)


INDEXES = (  # raw: Piccolo knows no UNIQUE, no WHERE and no name of an index
    "CREATE UNIQUE INDEX profile_name_unique ON profile (name)",
    "CREATE UNIQUE INDEX campaign_name_unique ON campaign (name)",
    "CREATE INDEX orders_open ON orders (account_id, name_set) WHERE status IN ('pending', 'ready')",
    "CREATE INDEX certificate_window ON certificate (window_until) WHERE window_until IS NOT NULL",
)


async def forwards() -> MigrationManager:
    """Add columns (rows that are there get the defaults), then indexes; a manager's own steps would run after those."""
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="columns")

    async def add() -> None:
        for table in (Principal, Account, Order, Certificate):
            for column in table._meta.non_default_columns:
                await table.alter().add_column(column._meta.name, column)
        kind, empty = ("BLOB", "x''") if DB.engine_type == "sqlite" else ("BYTEA", "''")
        for name in ("directory_hash", "sealed_directory_key"):  # raw: Piccolo's '' is text in SQLite
            await DB.run_ddl(f"ALTER TABLE token ADD COLUMN {name} {kind} NOT NULL DEFAULT {empty}")
        for text in INDEXES:
            await DB.run_ddl(text)

    manager.add_raw(add)
    return manager

"""Indexes for lists of what some principals have, and for certificates below a name.

`reversed` stays empty here, so that a hub with many certificates starts at once; its worker fills it afterwards.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import Bytea
from piccolo.table import Table

from acmehub.storage.piccolo_engine import DB

ID = "2026-12-01T00:00:04"


class CertificateName(Table, tablename="certificate_name", db=DB):
    reversed = Bytea(default=None, null=True)


INDEXES = (  # raw: Piccolo knows no WHERE of an index
    "CREATE INDEX account_over ON account (id) WHERE status <> 'valid'",
    "CREATE INDEX orders_failed ON orders (principal_id, created, id) WHERE status = 'invalid'",
    "CREATE INDEX certificate_revoked ON certificate (created, id) WHERE revoked IS NOT NULL",
    "CREATE INDEX certificate_name_below ON certificate_name (reversed, certificate_id)",
    "CREATE INDEX certificate_name_unfilled ON certificate_name (id) WHERE reversed IS NULL",
)
WIDER = (
    ("account_token", "account", "token_id, id"),
    ("account_principal", "account", "principal_id, id"),
    ("certificate_account", "certificate", "account_id, created, id"),
    ("certificate_ends", "certificate", "not_after, id, account_id, name_set, revoked"),
    ("certificate_name_certificate", "certificate_name", "certificate_id, reversed"),
)


async def forwards() -> MigrationManager:
    """Add the column, then the indexes; those of accounts and ends get what lists sort by, or ask for."""
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="lists")

    async def add() -> None:
        await CertificateName.alter().add_column("reversed", CertificateName.reversed)
        for text in INDEXES:
            await DB.run_ddl(text)
        for name, table, columns in WIDER:
            await DB.run_ddl(f"DROP INDEX IF EXISTS {name}")
            await DB.run_ddl(f"CREATE INDEX {name} ON {table} ({columns})")
        await DB.run_ddl("DROP INDEX IF EXISTS certificate_name_set")
        await DB.run_ddl(
            "CREATE INDEX certificate_name_set ON certificate (name_set, not_after, id) WHERE revoked IS NULL"
        )

    manager.add_raw(add)
    return manager

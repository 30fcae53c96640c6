"""Columns for secret directory URLs, profiles, and what ARI and `auto` remember."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine import engine_finder

ID = "2026-11-24T00:00:04"

COLUMNS = {  # of tables that are there; rows that are there get the default
    "principal": "profiles TEXT NOT NULL DEFAULT '[]'",
    "token": (
        "directory_hash {bytes} NOT NULL DEFAULT {nothing}, sealed_directory_key {bytes} NOT NULL DEFAULT {nothing}"
    ),
    "account": "learned TEXT, learned_why TEXT NOT NULL DEFAULT ''",
    "orders": "client_profile TEXT, preauthorization BOOLEAN NOT NULL DEFAULT false",
    "certificate": (
        "principal_id TEXT NOT NULL DEFAULT '', profile TEXT, account_url TEXT NOT NULL DEFAULT '',"
        " cert_id TEXT NOT NULL DEFAULT '', window_start TIMESTAMPTZ, window_end TIMESTAMPTZ,"
        " window_until TIMESTAMPTZ, explanation_url TEXT NOT NULL DEFAULT '', replaced_by TEXT,"
        " revocation_reason INTEGER"
    ),
}
INDEXES = (
    "UNIQUE INDEX profile_name_unique ON profile (name)",
    "UNIQUE INDEX campaign_name_unique ON campaign (name)",
    "INDEX orders_open ON orders (account_id, name_set) WHERE status IN ('pending', 'ready')",
    "INDEX certificate_window ON certificate (window_until) WHERE window_until IS NOT NULL",
)


async def forwards() -> MigrationManager:
    """Add the columns and indexes."""
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="columns")

    async def make() -> None:
        engine = engine_finder()
        assert engine is not None
        sqlite = engine.engine_type == "sqlite"
        words = {"bytes": "BLOB" if sqlite else "BYTEA", "nothing": "x''" if sqlite else "''"}
        for table, columns in COLUMNS.items():
            for column in columns.format_map(words).split(", "):
                await engine.run_ddl(f"ALTER TABLE {table} ADD COLUMN {column.strip()}")
        for text in INDEXES:
            await engine.run_ddl("CREATE " + text)

    manager.add_raw(make)
    return manager

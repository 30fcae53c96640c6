"""Profiles and campaigns."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import Boolean, Integer, Text, Timestamptz

ID = "2026-11-24T00:00:03"

TABLES = {
    "Profile profile": (
        "id key, version int, name text, description text, authority_id text, upstream_profile text?, key_types text,"
        " lifetime_days int?, enabled bool, created time"
    ),
    "Campaign campaign": (
        "id key, version int, name text, reason text, authority_id text, profile text, names text, principal_id text,"
        " starts time, renew_by time, explanation_url text, ended time?, created time"
    ),
}
KINDS = {
    "key": (Text, {"primary_key": True, "default": None}),
    "int": (Integer, {}),
    "int?": (Integer, {"default": None, "null": True}),
    "bool": (Boolean, {}),
    "text": (Text, {"default": None, "null": False}),
    "text?": (Text, {"default": None, "null": True}),
    "time": (Timestamptz, {"default": None, "null": False}),
    "time?": (Timestamptz, {"default": None, "null": True}),
}


async def forwards() -> MigrationManager:
    """Make the tables."""
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="profiles and campaigns")
    for names, columns in TABLES.items():
        class_name, table = names.split()
        manager.add_table(class_name, tablename=table)
        for column in columns.split(", "):
            name, kind = column.split()
            column_class, params = KINDS[kind]
            manager.add_column(class_name, table, name, column_class=column_class, params=dict(params))

    return manager

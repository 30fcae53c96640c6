"""Profiles and campaigns, as they were then."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import Boolean, Integer, Text, Timestamptz
from piccolo.table import Table

ID = "2026-11-24T00:00:03"


class Profile(Table, tablename="profile"):
    id = Text(primary_key=True, default=None)
    version = Integer()
    name = Text(default=None)
    description = Text(default=None)
    authority_id = Text(default=None)
    upstream_profile = Text(default=None, null=True)
    key_types = Text(default=None)
    lifetime_days = Integer(default=None, null=True)
    enabled = Boolean()
    created = Timestamptz(default=None)


class Campaign(Table, tablename="campaign"):
    id = Text(primary_key=True, default=None)
    version = Integer()
    name = Text(default=None)
    reason = Text(default=None)
    authority_id = Text(default=None)
    profile = Text(default=None)
    names = Text(default=None)
    principal_id = Text(default=None)
    starts = Timestamptz(default=None)
    renew_by = Timestamptz(default=None)
    explanation_url = Text(default=None)
    ended = Timestamptz(default=None, null=True)
    created = Timestamptz(default=None)


async def forwards() -> MigrationManager:
    """Make the tables."""
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="profiles and campaigns")
    for table in (Profile, Campaign):
        name, tablename = table.__name__, table._meta.tablename
        manager.add_table(name, tablename=tablename)
        for column in table._meta.columns:
            manager.add_column(
                name, tablename, column._meta.name, column_class=type(column), params=column._meta.params
            )
    return manager

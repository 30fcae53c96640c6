"""Columns for tags of principals, tokens and profiles, for what a token may do at the API, and for who manages what."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import Boolean, Text
from piccolo.table import Table

from acmehub.storage.piccolo_engine import DB

ID = "2026-12-01T00:00:01"


class Principal(Table, tablename="principal", db=DB):
    tags = Text(default="[]")
    managed_by = Text(default="")


class Token(Table, tablename="token", db=DB):
    tags = Text(default="[]")
    reveal = Boolean()
    delegates = Boolean()
    managed_by = Text(default="")


class ManagedChallenge(Table, tablename="managed_challenge", db=DB):
    managed_by = Text(default="")


class Authority(Table, tablename="authority", db=DB):
    managed_by = Text(default="")


class Profile(Table, tablename="profile", db=DB):
    tags = Text(default="[]")
    managed_by = Text(default="")


async def forwards() -> MigrationManager:
    """Add the columns; rows that are there get the defaults."""
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="rights")

    async def add() -> None:
        for table in (Principal, Token, ManagedChallenge, Authority, Profile):
            for column in table._meta.non_default_columns:
                await table.alter().add_column(column._meta.name, column)

    manager.add_raw(add)
    return manager

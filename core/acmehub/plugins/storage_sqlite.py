"""Built-in storage: one SQLite file, for one `serve` process and any number of workers on the same machine."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from acmehub import PluginContext, PluginSettings, Register, Store, hookimpl
from acmehub.storage_api import SqliteDriver, SqlStore


class SqliteSettings(PluginSettings, frozen=True, kw_only=True):
    """Where the database is."""

    path: Annotated[str, Meta(description="the database file, relative to the data directory")] = "acmehub.db"


def make_store(settings: SqliteSettings, context: PluginContext) -> Store:
    """The store on the file that `settings` name."""
    return SqlStore(SqliteDriver(context.data_dir / Path(settings.path)), context.clock)


@hookimpl
def register_storages(register: Register) -> None:
    """Offer `storage_sqlite`."""
    register("storage_sqlite", make_store, SqliteSettings, "one SQLite file in the data directory")

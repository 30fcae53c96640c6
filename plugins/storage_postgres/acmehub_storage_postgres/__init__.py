"""PostgreSQL as the storage of acmehub: several `serve` and `worker` processes may share one database."""

from acmehub import PluginContext, Register, Store, hookimpl
from acmehub.storage_api import SqlStore
from acmehub_storage_postgres.driver import PostgresDriver
from acmehub_storage_postgres.settings import Settings

__all__ = ["PostgresDriver", "Settings", "make_store", "register_storages"]


def make_store(settings: Settings, context: PluginContext) -> Store:
    """The store in the database that `settings` name."""
    return SqlStore(PostgresDriver(settings), context.clock)


@hookimpl
def register_storages(register: Register) -> None:
    """Offer `storage_postgres`."""
    register("storage_postgres", make_store, Settings, "a PostgreSQL database that several processes may share")

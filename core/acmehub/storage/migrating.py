"""Bringing the schema up to date: Piccolo's migration runner, on a session that keeps all other processes waiting.

By itself Piccolo records a migration outside the migration's transaction; here all migrations of a run, and their
records, are one transaction, so a crash leaves the schema as it was.
"""

import asyncio
import contextlib
import importlib
import io
import os
import pkgutil
from collections.abc import Collection
from typing import cast

from piccolo.apps.migrations.commands.forwards import ForwardsMigrationManager
from piccolo.apps.migrations.tables import Migration
from piccolo.conf.apps import MigrationModule

from acmehub.storage import migrations
from acmehub.storage.driver import SchemaSession, SqlDriver
from acmehub.storage.piccolo_conf import APP_CONFIG
from acmehub.storage.piccolo_engine import bound, transaction
from acmehub.storage.statements import Dialect

APP = APP_CONFIG.app_name

_HAS_TABLE = {  # wherever the search path leads (Piccolo only looks into `public`), and for a role that may not CREATE
    Dialect.SQLITE: "SELECT 1 FROM sqlite_master WHERE name = ?1",
    Dialect.POSTGRES: "SELECT 1 WHERE to_regclass($1) IS NOT NULL",
}


class PackageMigrations(ForwardsMigrationManager):
    """Piccolo's runner, with the migrations imported as the modules of a package that they are; with `only`, no other
    ones are run."""

    def __init__(self, app_name: str, only: Collection[str] | None = None) -> None:
        super().__init__(app_name)
        self._only = only

    def get_migration_modules(self, folder_path: str = "") -> dict[str, MigrationModule]:  # noqa: ARG002
        """Each migration by its `ID`."""
        names = [item.name for item in pkgutil.iter_modules(migrations.__path__)]
        modules = [importlib.import_module(f"{migrations.__name__}.{name}") for name in names]
        found = {module.ID: cast(MigrationModule, module) for module in modules}
        return {id: module for id, module in found.items() if self._only is None or id in self._only}


async def migrate(driver: SqlDriver) -> int:
    """Run what has not been run, in a thread with its own event loop; returns how many migrations that were.

    A caller that is cancelled ends the run, which then has changed nothing.
    """
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[int]]] = []

    async def run() -> int:
        task = asyncio.ensure_future(_run(driver))
        running.append((asyncio.get_running_loop(), task))
        return await task

    try:
        return await asyncio.to_thread(asyncio.run, run())
    except asyncio.CancelledError:
        for loop, task in running:
            with contextlib.suppress(RuntimeError):  # it has ended meanwhile
                loop.call_soon_threadsafe(task.cancel)
        raise


async def _run(driver: SqlDriver) -> int:
    async with driver.schema() as session, transaction(session):
        return await bring_up(session, driver.dialect)


async def bring_up(session: SchemaSession, dialect: Dialect, only: Collection[str] | None = None) -> int:
    """Run what has not been run, or what `only` names of it, in the session's transaction; how many that were."""
    os.environ["PICCOLO_CONF"] = "acmehub.storage.piccolo_conf"
    with bound(session, dialect), contextlib.redirect_stdout(io.StringIO()):
        if not await has_table(session, dialect, "migration"):
            await Migration.create_table()
        before = len(await Migration.get_migrations_which_ran(APP))
        await PackageMigrations(APP, only).run_migrations(APP_CONFIG)
        return len(await Migration.get_migrations_which_ran(APP)) - before


async def has_table(session: SchemaSession, dialect: Dialect, name: str) -> bool:
    """Whether there is a table of that name."""
    return bool(await session.execute(_HAS_TABLE[dialect], (name,)))


def known_migrations() -> frozenset[str]:
    """The ids of all migrations."""
    return frozenset(PackageMigrations(APP).get_migration_modules())


async def migrations_of(session: SchemaSession, dialect: Dialect) -> list[str]:
    """The ids of those that were run, in their order."""
    if not await has_table(session, dialect, "migration"):
        return []
    rows = await session.execute(f"SELECT name FROM migration WHERE app_name = '{APP}' ORDER BY name")  # noqa: S608
    return [row["name"] for row in rows]

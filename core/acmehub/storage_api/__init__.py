"""What a storage plugin for another SQL engine builds on. **Unstable**: it may change with every minor version.

A plugin implements `SqlDriver` (run units of work in one transaction, keep the schema, tell of changes) and offers
`SqlStore(driver)`; verbs, schema and migrations are shared by all engines. A storage that is not SQL needs none of
this: it implements `acmehub.Store`. Either one must pass `acmehub.testing.store_contract`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acmehub.storage.driver import SchemaSession as SchemaSession
    from acmehub.storage.driver import SqlDriver as SqlDriver
    from acmehub.storage.outages import Outages as Outages
    from acmehub.storage.sqlite.driver import SqliteDriver as SqliteDriver
    from acmehub.storage.statements import Batch as Batch
    from acmehub.storage.statements import Changed as Changed
    from acmehub.storage.statements import Dialect as Dialect
    from acmehub.storage.statements import Rows as Rows
    from acmehub.storage.statements import Sql as Sql
    from acmehub.storage.statements import Statement as Statement
    from acmehub.storage.statements import Step as Step
    from acmehub.storage.statements import Unit as Unit
    from acmehub.storage.store import SqlStore as SqlStore

_HOME_OF = {
    "Batch": "statements",
    "Changed": "statements",
    "Dialect": "statements",
    "Outages": "outages",
    "Rows": "statements",
    "SchemaSession": "driver",
    "Sql": "statements",
    "SqlDriver": "driver",
    "SqlStore": "store",
    "SqliteDriver": "sqlite.driver",
    "Statement": "statements",
    "Step": "statements",
    "Unit": "statements",
}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(importlib.import_module(f"acmehub.storage.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'acmehub.storage_api' has no public name {name!r}")


def __dir__() -> list[str]:
    return __all__

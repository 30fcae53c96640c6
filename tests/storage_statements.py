"""All the SQL that a store keeps, for asking an engine how it would run it."""

import enum
from collections.abc import Iterator

from acmehub.storage import hot_statements
from acmehub.storage.piccolo_engine import BoundEngine
from acmehub.storage.statements import Sql
from acmehub.storage.store import SqlStore

WHOLE = {  # what is meant to give all there is, or its newest or oldest by the table's own key
    "READ_REVISIONS",  # one row for each kind of resource
    "HAS_SCHEMA",  # the tables, by name
    "STEPS_TAKEN",  # one row for each migration
    "SqlResources._list",
    "SqlTxtRecords._list",
    "SqlRecords._latest",
    "SqlRecords._oldest",
}


def statements(store: SqlStore) -> Iterator[tuple[str, Sql]]:
    """Every statement with the place where it is kept (`SqlOrders._row`, `LOCK_ORDER`)."""
    yield from ((name, item) for name, item in vars(hot_statements).items() if isinstance(item, Sql))
    for noun in vars(store).values():
        yield from _kept_by(noun, set())


def _kept_by(thing: object, seen: set[int]) -> Iterator[tuple[str, Sql]]:
    """Every `Sql` that an object of the storage, or one that it uses, keeps."""
    if id(thing) in seen or isinstance(thing, type | enum.Enum | BoundEngine):
        return
    seen.add(id(thing))
    for name, value in {**vars(type(thing)), **vars(thing)}.items():
        if isinstance(value, Sql):
            yield f"{type(thing).__name__}.{name}", value
        elif isinstance(value, tuple):
            yield from ((f"{type(thing).__name__}.{name}", item) for item in value if isinstance(item, Sql))
        elif type(value).__module__.startswith("acmehub.storage"):
            yield from _kept_by(value, seen)

"""All the SQL of a store, for asking an engine how it would run it."""

import asyncio
import enum
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import combinations
from typing import Any, cast

from acmehub.models import AccountStatus, OrderStatus, Stage
from acmehub.ports.lists import AccountFilter, CertificateFilter, OrderFilter
from acmehub.storage import hot_statements, list_statements, rate_limits, schema_steps
from acmehub.storage.audit import statements as audit_statements
from acmehub.storage.driver import SqlDriver
from acmehub.storage.piccolo_engine import BoundEngine
from acmehub.storage.statements import Dialect, Sql, Statement
from acmehub.storage.store import SqlStore

WHOLE = {  # what is meant to give all there is, or its newest or oldest by the table's own key
    "SUM_REVISIONS",
    "USE_NONCE_BY",  # with that sum
    "READ_REVISIONS",  # one row for each kind of resource
    "HAS_SCHEMA",  # the tables, by name
    "STEPS_TAKEN",  # one row for each migration
    "SqlResources._list",
    "SqlTxtRecords._list",
    "SqlRecords._latest",
    "SqlSeals._newest",
    "SqlSeals._keys",  # one row for each master key there ever was
    "SqlRecords._oldest",
    "STANDING_RECORDS",  # the few rows that there are
}


def statements(store: SqlStore) -> Iterator[tuple[str, Sql]]:
    """Every statement with the place where it is kept (`SqlOrders._row`, `LOCK_ORDER`)."""
    for module in (audit_statements, hot_statements, list_statements, rate_limits, schema_steps):
        yield from ((name, item) for name, item in vars(module).items() if isinstance(item, Sql))
    for noun in vars(store).values():
        yield from _kept_by(noun, set())


def _kept_by(thing: object, seen: set[int]) -> Iterator[tuple[str, Sql]]:
    """Every `Sql` that an object of the storage, or one that it uses, keeps."""
    if id(thing) in seen or isinstance(thing, bool | type | enum.Enum | BoundEngine):
        return
    seen.add(id(thing))
    for name, value in {**vars(type(thing)), **vars(thing)}.items():
        if isinstance(value, Sql):
            yield f"{type(thing).__name__}.{name}", value
        elif isinstance(value, tuple):
            yield from ((f"{type(thing).__name__}.{name}", item) for item in value if isinstance(item, Sql))
        elif type(value).__module__.startswith("acmehub.storage"):
            yield from _kept_by(value, seen)


WANTED: dict[str, Any] = {
    "status": OrderStatus.INVALID,
    "stage": Stage.PUBLISHING,
    "account_id": "x",
    "principal_id": "x",
    "token_id": "x",
    "authority_id": "x",
    "challenge_id": "x",
    "name": "a.test",
    "since": datetime(2026, 11, 28, tzinfo=UTC),
    "failing": True,
    "ends_before": datetime(2026, 11, 28, tzinfo=UTC),
    "uncovered": True,
    "below": "a.test",
    "revoked": True,
    "thumbprint": "x",
    "principal_ids": frozenset({"x", "y"}),
}


def _wanted(noun: str, name: str) -> Any:
    return AccountStatus.REVOKED if (noun, name) == ("account", "status") else WANTED[name]


class Asked:
    """Keeps the statement that a list would run."""

    statement: Statement

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    async def read(self, verb: Any, *args: Any) -> Any:
        """A list that is read in another way where there is much of it is told that there is little."""
        unit = verb(*args)
        self.statement = next(unit)
        if self.statement.sql is list_statements.COUNT_BELOW:
            self.statement = unit.send([(0,)])
        return ()


def pages(dialect: Dialect, together: int = 2) -> Iterator[tuple[tuple[str, ...], Statement]]:
    """The statement of each list with up to so many filters, and of the page after it; the first word of its name is
    `order`, `certificate` or `account`."""
    driver = Asked(dialect)
    store = SqlStore(cast(SqlDriver, driver))
    for noun, filter, list_ in (
        ("order", OrderFilter, store.orders.list),
        ("certificate", CertificateFilter, store.certificates.list),
        ("account", AccountFilter, store.accounts.list),
    ):
        names = filter.__struct_fields__
        for count in range(together + 1):
            for chosen in combinations(names, count):
                for after in ("", "x"):
                    wanted: Any = filter(**{name: _wanted(noun, name) for name in chosen})
                    asyncio.run(list_(wanted, after=after))
                    yield (noun, *chosen, *(("after",) if after else ())), driver.statement


def page_of(dialect: Dialect, wanted: OrderFilter | CertificateFilter | AccountFilter) -> Statement:
    """The statement of one list."""
    driver = Asked(dialect)
    store = SqlStore(cast(SqlDriver, driver))
    noun = {OrderFilter: store.orders, CertificateFilter: store.certificates, AccountFilter: store.accounts}
    asyncio.run(cast(Any, noun[type(wanted)]).list(wanted))
    return driver.statement

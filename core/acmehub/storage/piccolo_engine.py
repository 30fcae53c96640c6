"""Piccolo's engine, reduced to what this storage uses Piccolo for: it says which SQL to write, and runs migrations.

What it is bound to is a context variable, so threads and tasks do not disturb each other; nothing else of Piccolo's
engines (connections, pools, transactions) is used.
"""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, NoReturn

from piccolo.columns import ForeignKey, OnDelete, OnUpdate, Text, Timestamptz
from piccolo.engine.base import Engine
from piccolo.query.base import Query
from piccolo.querystring import QueryString
from piccolo.table import Table

from acmehub.storage.driver import SchemaSession
from acmehub.storage.statements import Dialect, Sql, Statement

_PLACEHOLDER = re.compile(r"\?|\$\d+")
_PARAMETER = re.compile(r"@(\d+)")
_dialect: ContextVar[Dialect] = ContextVar("acmehub_dialect")
_session: ContextVar[SchemaSession] = ContextVar("acmehub_schema_session")


@asynccontextmanager
async def transaction(session: SchemaSession) -> AsyncIterator[None]:
    """BEGIN … COMMIT, or ROLLBACK, around a whole migration run."""
    await session.execute("BEGIN")
    try:
        yield
    except BaseException:
        await session.execute("ROLLBACK")
        raise
    await session.execute("COMMIT")


class BoundEngine(Engine[Any]):
    """The engine of `tables`; usable inside `speaking` and, for running anything, inside `bound`."""

    def __init__(self) -> None:
        self.query_id = 0
        self.log_queries = False
        self.log_responses = False
        self.min_version_number = 0

    @property
    def engine_type(self) -> str:  # type: ignore[override]
        """Piccolo's name of the dialect that is spoken here."""
        return _dialect.get().value

    async def get_version(self) -> float:
        """New enough for everything that Piccolo writes."""
        return self.get_version_sync()

    def get_version_sync(self) -> float:
        return 3.40 if _dialect.get() is Dialect.SQLITE else 15.0

    async def prep_database(self) -> None:
        """Nothing: no extension is needed."""

    async def batch(self, query: Query[Any, Any], batch_size: int = 100, node: str | None = None) -> NoReturn:
        """Not offered."""
        raise NotImplementedError

    def atomic(self) -> NoReturn:
        """Not offered."""
        raise NotImplementedError

    def transaction(self, *_: Any, **__: Any) -> Any:
        """Nothing of its own: the whole run is in one (see `transaction`)."""
        return nullcontext()

    async def run_querystring(
        self,
        querystring: QueryString,
        in_pool: bool = True,  # noqa: ARG002 - Piccolo's signature
    ) -> list[dict[str, Any]]:
        """Run a query on the bound session."""
        text, values = querystring.compile_string(engine_type=self.engine_type)
        return await _session.get().execute(text, tuple(values))

    async def run_ddl(self, ddl: str, in_pool: bool = True) -> list[dict[str, Any]]:  # noqa: ARG002
        """Run a piece of DDL on the bound session."""
        return await _session.get().execute(ddl)


DB = BoundEngine()
"""Has no state of its own."""


@contextmanager
def speaking(dialect: Dialect) -> Iterator[None]:
    """Inside, Piccolo writes SQL for `dialect`."""
    token = _dialect.set(dialect)
    try:
        yield
    finally:
        _dialect.reset(token)


@contextmanager
def bound(session: SchemaSession, dialect: Dialect) -> Iterator[None]:
    """Inside, Piccolo runs what it is told on `session`."""
    token = _session.set(session)
    try:
        with speaking(dialect):
            yield
    finally:
        _session.reset(token)


class Parameter(int):
    """The n-th value (from 1) of a `prepared` query, where the builder takes a value or a limit."""

    def __format__(self, format_spec: str) -> str:
        return f"@{int(self)}"  # how the builder writes a limit


class Prepared(Sql):
    """A Piccolo query whose text is built when it is first used: a process uses few of all queries."""

    __slots__ = ("_dialect", "_query")

    def __init__(self, query: Query[Any, Any], dialect: Dialect) -> None:
        self._query = query
        self._dialect = dialect

    def __getattr__(self, name: str) -> str:
        if name not in ("postgres", "sqlite"):
            raise AttributeError(name)
        text, values = _compiled(self._query, self._dialect)
        found = iter(values)
        text = _PLACEHOLDER.sub(lambda _match: _written(next(found)), text)
        mark = "?" if self._dialect is Dialect.SQLITE else "$"
        self.postgres = self.sqlite = _PARAMETER.sub(rf"{mark}\1", text)
        return self.sqlite


def prepared(query: Query[Any, Any], dialect: Dialect) -> Sql:
    """The text of a Piccolo query with `Parameter`s, to be kept and called with their values.

    Other values are written into the text: a partial index is used only for a condition that stands there.
    """
    return Prepared(query, dialect)


def built(query: Query[Any, Any], dialect: Dialect) -> Statement:
    """The statement that a Piccolo query stands for; its values must be in the dialect's form already."""
    text, values = _compiled(query, dialect)
    return Statement(Sql.ready(text), values)


def scalar(query: Query[Any, Any], dialect: Dialect) -> QueryString:
    """A query for one value, as a value in another query."""
    with speaking(dialect):
        (querystring,) = query.querystrings
    return QueryString("({})", querystring)


def _compiled(query: Query[Any, Any], dialect: Dialect) -> tuple[str, list[Any]]:
    with speaking(dialect):
        (querystring,) = query.querystrings
        return querystring.compile_string(engine_type=dialect.value)


def _written(value: object) -> str:
    """A value as it stands in a text; the code's own words and numbers only."""
    if isinstance(value, Parameter):
        return f"{value}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if value == "" or (isinstance(value, str) and value.isalnum()):
        return f"'{value}'"
    raise TypeError(f"{value!r} is not written into a query: use a Parameter")


# --------------------------------------------------------------------------------------------- columns


def key_column() -> Text:
    """The key of a table."""
    return Text(primary_key=True, default=None)


def text_column(default: str | None = None, *, null: bool = False) -> Text:
    """Text, with a default or null."""
    return Text(default=default, null=null)


def time_column(*, null: bool = False) -> Timestamptz:
    """A time, in UTC."""
    return Timestamptz(default=None, null=null)


def reference(table: type[Table]) -> ForeignKey[Any]:
    """A row of another table, which cannot be deleted while this one is there."""
    return ForeignKey(table, null=False, on_delete=OnDelete.no_action, on_update=OnUpdate.no_action)

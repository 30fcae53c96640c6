"""All rows of all tables, out of one database and into another one (`ports.copying`).

What is copied follows from `tables`, so that a new table or column goes with the others.
"""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from piccolo.columns import (
    BigInt,
    BigSerial,
    Boolean,
    Bytea,
    Column,
    DoublePrecision,
    ForeignKey,
    Integer,
    Text,
    Timestamptz,
)
from piccolo.query.base import Query
from piccolo.query.methods.select import Select
from piccolo.table import Table

from acmehub.models import AuditEntry
from acmehub.ports.copying import HasRows, Kind, OtherSchema, StoreSnapshot, TableColumn, TablePage, Value
from acmehub.storage import tables
from acmehub.storage.codec import Codec, time_value
from acmehub.storage.driver import SchemaSession, SqlDriver
from acmehub.storage.migrating import bring_up, has_table, known_migrations, migrations_of
from acmehub.storage.piccolo_engine import Parameter, built, prepared, transaction
from acmehub.storage.resources import COPY
from acmehub.storage.statements import Dialect

PAGE = 500
LEFT_OUT = {  # table, and why its rows stay behind
    tables.UsedNonce: "nonces are good for an hour, and not in another database (`copy_number`)",
    tables.RateLimit: "a bucket is full again after a day",
    tables.ZoneLease: "a zone is nobody's where no process has run yet",
    tables.Idempotency: "a request that is repeated goes to the hub that answered it, within a day",
}

_COPIED = {table._meta.tablename: table for table in tables.TABLES if table not in LEFT_OUT}
_OF_A_PROCESS = frozenset({"lease_owner", "lease_until"})  # of the former hub's processes: nobody else waits for them
_KINDS: dict[type[Column], Kind] = {
    BigInt: "integer",
    BigSerial: "integer",
    Boolean: "boolean",
    Bytea: "bytes",
    DoublePrecision: "number",
    ForeignKey: "text",
    Integer: "integer",
    Text: "text",
    Timestamptz: "time",
}
_COLUMNS = {
    Dialect.SQLITE: "SELECT name FROM pragma_table_info(?1)",
    Dialect.POSTGRES: "SELECT attname AS name FROM pg_attribute"
    " WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
}


class SqlSnapshot(StoreSnapshot):
    """What a driver's snapshot sees."""

    def __init__(self, session: SchemaSession, dialect: Dialect, schema: Sequence[str]) -> None:
        self._session = session
        self._dialect = dialect
        self.schema = schema

    async def pages(self) -> AsyncIterator[TablePage]:
        for name, table in _COPIED.items():
            columns = tuple(TableColumn(item._meta.name, _KINDS[type(item)]) for item in table._meta.columns)
            async for rows in self._rows(table, columns):
                yield TablePage(name, columns, rows)

    async def _rows(self, table: type[Table], columns: Sequence[TableColumn]) -> AsyncIterator[list[list[Value]]]:
        """Pages in the order of the primary key; one at least."""
        key = table._meta.primary_key
        cells = [table._meta.get_column_by_name(column.name) for column in columns]

        def page() -> Select[Any]:
            return table.select(*cells).order_by(key).limit(PAGE)

        further = prepared(page().where(key > Parameter(1)), self._dialect)
        found = await _asked(self._session, self._dialect, page())
        while True:
            yield [[self._neutral(row[column.name], column) for column in columns] for row in found]
            if len(found) < PAGE:
                break
            found = await self._session.execute(further.sqlite, (found[-1][key._meta.name],))

    def _neutral(self, value: Any, column: TableColumn) -> Value:
        if value is None or column.name in _OF_A_PROCESS:
            return None
        if self._dialect is Dialect.SQLITE:
            if column.kind == "time":
                return datetime.fromisoformat(value)
            if column.kind == "boolean":
                return bool(value)
        neutral: Value = value
        return neutral


@asynccontextmanager
async def snapshot(driver: SqlDriver) -> AsyncIterator[SqlSnapshot]:
    """`CopiesRows.snapshot`."""
    async with driver.snapshot() as session:
        yield SqlSnapshot(session, driver.dialect, await migrations_of(session, driver.dialect))


async def import_rows(
    driver: SqlDriver, schema: Sequence[str], pages: AsyncIterator[TablePage], audit: Sequence[AuditEntry]
) -> None:
    """`CopiesRows.import_rows`."""
    dialect = driver.dialect
    async with driver.schema() as session, transaction(session):
        if dialect is Dialect.POSTGRES:
            await session.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        await _make_tables(session, dialect, schema)
        await _refuse_rows(session, dialect)
        known: set[str] = set()
        async for page in pages:
            await _insert(session, dialect, page, known)
        if dialect is Dialect.POSTGRES:
            await _set_sequences(session)
        await bring_up(session, dialect)
        codec = Codec(AuditEntry, tables.Audit, dialect)
        if audit:
            await session.insert(codec.table, codec.fields, [codec.row(entry) for entry in audit])
        revision = tables.Revision
        await _asked(session, dialect, revision.delete().where(revision.name == COPY))
        await session.insert("revision", ("name", "value"), [(COPY, secrets.randbits(62) + 1)])


async def _make_tables(session: SchemaSession, dialect: Dialect, schema: Sequence[str]) -> None:
    """The tables as the rows had them: their later migrations then change the rows, too."""
    if not schema or not known_migrations().issuperset(schema):
        raise OtherSchema("the rows are of a newer schema than this acmehub knows: install the release that wrote them")
    if set(await migrations_of(session, dialect)) - set(schema):
        raise OtherSchema("the storage has a newer schema than the rows already: give an empty database")
    await bring_up(session, dialect, only=schema)


async def _refuse_rows(session: SchemaSession, dialect: Dialect) -> None:
    for table in tables.TABLES:
        name, key = table._meta.tablename, table._meta.primary_key
        if await has_table(session, dialect, name) and await _asked(session, dialect, table.select(key).limit(1)):
            raise HasRows("rows", f"it has rows already (table {name})")


async def _insert(session: SchemaSession, dialect: Dialect, page: TablePage, known: set[str]) -> None:
    names = [column.name for column in page.columns]
    if page.table not in known:  # its first page: names become part of a statement
        there = await session.execute(_COLUMNS[dialect], (page.table,)) if page.table in _COPIED else []
        if {row["name"] for row in there} != set(names):
            raise OtherSchema(f"the rows of table {page.table} have other columns than the schema that they name")
        known.add(page.table)
    times = [index for index, column in enumerate(page.columns) if column.kind == "time"]
    rows: list[list[Any]] = [list(row) for row in page.rows]
    for row in rows:
        for index in times:
            if row[index] is not None:
                row[index] = time_value(dialect, row[index])
    if rows:
        await session.insert(page.table, names, rows)


async def _set_sequences(session: SchemaSession) -> None:
    """PostgreSQL counts beside the tables."""
    for name, table in _COPIED.items():
        key = table._meta.primary_key
        if isinstance(key, BigSerial):
            column = key._meta.name
            await session.execute(
                f"SELECT setval(pg_get_serial_sequence('{name}', '{column}'), max(\"{column}\")) FROM \"{name}\""  # noqa: S608
            )


async def _asked(session: SchemaSession, dialect: Dialect, query: Query[Any, Any]) -> list[dict[str, Any]]:
    statement = built(query, dialect)
    return await session.execute(statement.sql.sqlite, tuple(statement.values))

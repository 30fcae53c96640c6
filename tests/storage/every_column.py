"""A database in which every column of every table has a value that another one has not."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
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
from piccolo.table import Table

from acmehub.ports.copying import TablePage
from acmehub.storage.codec import time_value
from acmehub.storage.driver import SqlDriver
from acmehub.storage.piccolo_engine import transaction
from acmehub.storage.statements import Dialect
from acmehub.storage.tables import TABLES
from acmehub.storage.transfer import snapshot

ROWS = 3  # the last one has no value wherever a column may have none
START = datetime(2026, 11, 28, 12, 0, 0, 123456, tzinfo=UTC)


VALUES: dict[type[Column], Callable[[str, int], Any]] = {
    BigInt: lambda where, number: (1 << 40) + len(where) + number,
    BigSerial: lambda _, number: number + 7,
    Boolean: lambda _, number: number % 2 == 0,
    Bytea: lambda where, number: bytes(range(256)) + where.encode() + bytes([number]),
    DoublePrecision: lambda _, number: 3.0 if number else 0.1 + 0.2,
    Integer: lambda where, number: len(where) + number,
    Text: lambda where, number: f"{where} {number} \u00fc\u2028\U0001f600 \\ \" '",
    Timestamptz: lambda where, number: START + timedelta(seconds=len(where), microseconds=number),
}


def value(table: type[Table], column: Column, number: int) -> Any:
    """What a row has in a column."""
    if isinstance(column, ForeignKey):
        other = column._foreign_key_meta.resolved_references
        return value(other, other._meta.primary_key, number)
    if number == ROWS - 1 and column._meta.null:
        return None
    return VALUES[type(column)](f"{table._meta.tablename}.{column._meta.name}", number)


async def fill(driver: SqlDriver, rows: int = ROWS) -> None:
    """Write `rows` rows into every table of a database that has its tables."""
    async with driver.schema() as session, transaction(session):
        for table in TABLES:
            columns = table._meta.columns
            values = [[value(table, column, number) for column in columns] for number in range(rows)]
            if driver.dialect is Dialect.SQLITE:
                values = [
                    [time_value(driver.dialect, cell) if isinstance(cell, datetime) else cell for cell in row]
                    for row in values
                ]
            await session.insert(table._meta.tablename, [column._meta.name for column in columns], values)


async def everything(driver: SqlDriver) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables as the engine itself gives them, without asking the code that copies them."""
    async with driver.snapshot() as session:
        return {
            name: await session.execute(f'SELECT * FROM "{name}" ORDER BY "{key}"')
            for name, key in [(table._meta.tablename, table._meta.primary_key._meta.name) for table in TABLES]
        }


async def exported(driver: SqlDriver) -> list[tuple[str, tuple[str, ...], Sequence[Any]]]:
    """All rows in their neutral form."""
    async with snapshot(driver) as found:
        return [
            (page.table, tuple(column.name for column in page.columns), tuple(row))
            async for page in found.pages()
            for row in page.rows
        ]


@asynccontextmanager
async def copied(source: SqlDriver) -> AsyncIterator[tuple[Sequence[str], AsyncIterator[TablePage]]]:
    """Schema and pages for an import."""
    async with snapshot(source) as found:
        yield found.schema, found.pages()

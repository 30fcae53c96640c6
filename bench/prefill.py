"""Many stored orders, quickly: finished orders are copied, with their certificates and events.

    python -m bench.prefill data/acmehub.db 1000000
    python -m bench.prefill postgresql://hub:password@127.0.0.1/hub 1000000

No process may serve the hub meanwhile.
"""

import asyncio
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import asyncpg

Columns = Mapping[str, str]  # the type of each column, in lower case

_CERTIFICATES = "SELECT id FROM certificate WHERE order_id IN ({orders})"
# table, and the condition for rows of given orders; `orders` first
_TABLES = {
    "orders": "id IN ({orders})",
    "authorization_": "order_id IN ({orders})",
    "certificate": "order_id IN ({orders})",
    "certificate_name": f"certificate_id IN ({_CERTIFICATES})",
    "event": "order_id IN ({orders})",
}
# columns with the id of a row that is copied, or with unique values
_RENAMED = frozenset({"id", "order_id", "authorization_id", "certificate_id", "serial", "spki_sha256", "token"})
_SUFFIX = 8  # hexadecimal digits at the end of a text that number the copy
_STORED = "SELECT count(*) FROM orders"
_FINISHED = "SELECT count(*) FROM orders WHERE status = 'valid'"
_SOURCE = "CREATE TEMP TABLE source AS SELECT id FROM orders WHERE status = 'valid'"
_COLUMNS = """
SELECT column_name, data_type FROM information_schema.columns
WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position
"""


def prefill(database: Path, wanted: int) -> float:
    """Copy until `wanted` orders are stored in this SQLite file; seconds it took."""
    begin = time.monotonic()
    with closing(sqlite3.connect(database)) as connection:
        with connection:
            stored, finished = (connection.execute(text).fetchone()[0] for text in (_STORED, _FINISHED))
            connection.execute(_SOURCE)
            columns = {table: _columns_in_sqlite(connection, table) for table in _TABLES}
            for statement in _statements(columns, stored, finished, wanted):
                connection.execute(statement)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return time.monotonic() - begin


async def prefill_postgres(dsn: str, wanted: int) -> float:
    """The same in PostgreSQL, with fresh statistics as autovacuum makes them."""
    begin = time.monotonic()
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            stored, finished = [await connection.fetchval(text) for text in (_STORED, _FINISHED)]
            await connection.execute(_SOURCE)
            columns = {table: dict(await connection.fetch(_COLUMNS, table)) for table in _TABLES}
            for statement in _statements(columns, stored, finished, wanted):
                await connection.execute(statement)
        await connection.execute(f"ANALYZE {', '.join(_TABLES)}")
    finally:
        await connection.close()
    return time.monotonic() - begin


def _columns_in_sqlite(connection: sqlite3.Connection, table: str) -> Columns:
    return {row[1]: row[2].lower() for row in connection.execute(f"PRAGMA table_info({table})")}


def _statements(columns: Mapping[str, Columns], stored: int, finished: int, wanted: int) -> Iterator[str]:
    """What copies the rows of `source`, in SQL that both databases speak."""
    if not finished:
        raise SystemExit("there is no finished order to copy")
    for number in range(1, -(-(wanted - stored) // finished) + 1):
        limit = min(finished, wanted - stored - (number - 1) * finished)
        orders = f"SELECT id FROM source ORDER BY id LIMIT {limit}"
        for table, condition in _TABLES.items():
            names = [name for name, kind in columns[table].items() if name != "id" or "int" not in kind]
            values = [_renamed(name, number) if name in _RENAMED else f'"{name}"' for name in names]
            into = ", ".join(f'"{name}"' for name in names)  # the database numbers rows whose id is a number
            yield (
                f"INSERT INTO {table} ({into}) SELECT {', '.join(values)} FROM {table} "
                f"WHERE {condition.format(orders=orders)}"
            )


def _renamed(column: str, number: int) -> str:
    kept = f'substr("{column}", 1, length("{column}") - {_SUFFIX})'
    return f"{kept} || '{number:0{_SUFFIX}x}'"  # NULL stays NULL


def main(arguments: Sequence[str]) -> int:
    """Copy, and say how long it took."""
    target, wanted = arguments[0], int(arguments[1])
    if target.startswith(("postgresql://", "postgres://")):
        seconds = asyncio.run(prefill_postgres(target, wanted))
    else:
        seconds = prefill(Path(target), wanted)
    print(f"{wanted} orders are stored, after {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

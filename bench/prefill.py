"""Many stored orders, quickly: finished orders are copied, with their certificates and events."""

import sqlite3
import time
from pathlib import Path

_CERTIFICATES = "SELECT id FROM certificate WHERE order_id IN ({orders})"
# table, and the condition for rows of given orders; `orders` first
_TABLES = (
    ("orders", "id IN ({orders})"),
    ("authorization_", "order_id IN ({orders})"),
    ("certificate", "order_id IN ({orders})"),
    ("certificate_name", f"certificate_id IN ({_CERTIFICATES})"),
    ("event", "order_id IN ({orders})"),
)
# columns with the id of a copied row, or with unique values
_RENAMED = frozenset({"order_id", "authorization_id", "certificate_id", "serial", "spki_sha256", "token"})
_SUFFIX = 8  # hexadecimal digits at the end of a text that number the copy


def prefill(database: Path, wanted: int) -> float:
    """Copy until `wanted` orders are stored in this SQLite file, which no process may serve; seconds it took."""
    begin = time.monotonic()
    connection = sqlite3.connect(database)
    with connection:
        source = connection.execute("SELECT count(*) FROM orders WHERE status = 'valid'").fetchone()[0]
        stored = connection.execute("SELECT count(*) FROM orders").fetchone()[0]
        if not source:
            raise SystemExit(f"{database} has no finished order to copy")
        connection.execute("CREATE TEMP TABLE source AS SELECT id FROM orders WHERE status = 'valid'")
        copies = -(-(wanted - stored) // source)
        for number in range(1, copies + 1):
            _copy(connection, number, min(source, wanted - stored - (number - 1) * source))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return time.monotonic() - begin


def _copy(connection: sqlite3.Connection, number: int, limit: int) -> None:
    orders = f"SELECT id FROM source LIMIT {limit}"
    for table, condition in _TABLES:
        columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
        names, values = [], []
        for _, name, kind, _, _, is_key in columns:
            if is_key and kind.upper() == "INTEGER":
                continue  # the database numbers these rows
            names.append(f'"{name}"')
            values.append(_renamed(name, number) if is_key or name in _RENAMED else f'"{name}"')
        connection.execute(
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)} FROM {table} "
            f"WHERE {condition.format(orders=orders)}"
        )


def _renamed(column: str, number: int) -> str:
    kept = f'substr("{column}", 1, length("{column}") - {_SUFFIX})'
    return f"{kept} || '{number:0{_SUFFIX}x}'"  # NULL stays NULL

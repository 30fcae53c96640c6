"""The part of the port for storage by which all rows move: into a backup, out of one, or into another storage.

A storage may leave it out; then `acmehub backup`, `restore` and `db copy` refuse it.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable

import msgspec

from acmehub.models import AuditEntry
from acmehub.ports.store import Conflict, StoreError

Kind = Literal["text", "integer", "number", "boolean", "bytes", "time"]
Value = str | int | float | bytes | datetime | None


class TableColumn(msgspec.Struct, frozen=True):
    """A column's name and the kind of its values; each may be None where the table allows it."""

    name: str
    kind: Kind


class TablePage(msgspec.Struct, frozen=True):
    """Some rows of a table, each with its values in the order of `columns`. A table's pages follow one another."""

    table: str
    columns: tuple[TableColumn, ...]
    rows: Sequence[Sequence[Value]]


class StoreSnapshot(Protocol):
    """All rows as they were at one moment, whatever other processes write meanwhile."""

    schema: Sequence[str]
    """The ids of the migrations that made the tables."""

    def pages(self) -> AsyncIterator[TablePage]:
        """Every table, those first that others refer to; without what belongs to a process (leases) or to the last
        day (used nonces, buckets of the limits, idempotency keys)."""
        ...


class HasRows(Conflict):
    """Rows are imported into a storage without rows only."""


class OtherSchema(StoreError):
    """The rows are of a schema that this storage does not know, or has left behind."""


@runtime_checkable
class CopiesRows(Protocol):
    """A `Store` that gives and takes all of its rows."""

    async def used_elsewhere(self) -> bool:
        """Whether another process has the storage open, as far as the engine can tell; asked before `open`."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[StoreSnapshot]:
        """One moment's rows, for reading; other processes go on. `StoreUnavailable`."""
        ...

    async def import_rows(
        self, schema: Sequence[str], pages: AsyncIterator[TablePage], audit: Sequence[AuditEntry] = ()
    ) -> None:
        """Make the tables of `schema`, write `pages` and `audit` into them, and bring the schema up to date: in one
        transaction, so that it is all there or nothing is. No page is asked for before it is known that there are no
        rows yet (`HasRows`) and that the schema is known (`OtherSchema`). The storage is not open."""
        ...

    async def copy_number(self) -> int:
        """A random number that the latest import chose; 0 without one. Nonces are bound to it, so that none that the
        former hub gave out is good in the storage that took its rows."""
        ...

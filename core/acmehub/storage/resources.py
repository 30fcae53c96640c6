"""What operators manage: one set of verbs for all kinds of resources."""

from collections.abc import Sequence
from typing import TypeVar

from msgspec import structs
from piccolo.table import Table

from acmehub.models import AuditEntry, Model
from acmehub.ports.revisions import Revisions
from acmehub.ports.store import Conflict, R, Resources
from acmehub.storage import hot_statements
from acmehub.storage.audit.entries import AuditRows
from acmehub.storage.codec import Codec
from acmehub.storage.driver import SqlDriver
from acmehub.storage.hot_statements import BUMP, READ_REVISIONS, SUM_REVISIONS
from acmehub.storage.listing import IdRange
from acmehub.storage.piccolo_engine import Parameter, prepared
from acmehub.storage.statements import Batch, Dialect, Sql, Unit

N = TypeVar("N", bound=Model)

_KINDS = {
    "principal": "principals",
    "token": "tokens",
    "managed_challenge": "managed_challenges",
    "authority": "authorities",
    "profile": "profiles",
    "campaign": "campaigns",
}


class SqlResources(Resources[R]):
    """Resources of one kind. A write moves the kind's revision in the same transaction."""

    def __init__(
        self, driver: SqlDriver, audit: AuditRows, model: type[R], table: type[Table], name_field: str = "name"
    ) -> None:
        self._driver = driver
        self._audit = audit
        self._codec: Codec[R] = Codec(model, table, driver.dialect)
        codec = self._codec
        self._table = codec.table
        everything = tuple(name for name in codec.fields if name not in ("id", "version"))
        self._fields = everything
        dialect, id = driver.dialect, codec.column("id")
        self._get = prepared(codec.select().where(id == Parameter(1)), dialect)
        self._ids = IdRange(table, dialect)
        oldest = codec.column("created"), id
        named = codec.select().where(codec.column(name_field) == Parameter(1))
        self._named = prepared(named.order_by(*oldest), dialect)
        self._list = prepared(codec.select().order_by(*oldest), dialect)
        removed = table.delete().where(id == Parameter(1), codec.column("version") == Parameter(2))
        self._delete = prepared(removed.returning(id), dialect)
        self._move = hot_statements.update(self._table, (), locked=False)

    async def get(self, id: str) -> R | None:
        found = await self._driver.point_read(self._select, self._get, id)
        return found[0] if found else None

    async def named(self, name: str) -> Sequence[R]:
        return await self._driver.point_read(self._select, self._named, name)

    def _select(self, sql: Sql, value: str) -> Unit[tuple[R, ...]]:
        rows = yield sql(value)
        return tuple(map(self._codec.read, rows))

    async def list(self) -> Sequence[R]:
        return await self._driver.read(self._all)

    async def ids(self, prefix: str, limit: int) -> Sequence[str]:
        return await self._driver.point_read(self._ids.read, prefix, limit)

    def _all(self) -> Unit[tuple[R, ...]]:
        rows = yield self._list()
        return tuple(map(self._codec.read, rows))

    async def add(self, item: R, audit: Sequence[AuditEntry] = ()) -> None:
        await self._driver.write(self._add, item, audit)

    def _add(self, item: R, audit: Sequence[AuditEntry]) -> Unit[None]:
        row = self._codec.insert(*self._codec.row(item))
        yield Batch((row, BUMP(self._table), *self._audit.insert(audit)), autocommit=True)

    async def replace(self, item: R, audit: Sequence[AuditEntry] = (), needed: Sequence[R] = ()) -> R:
        return await self._driver.write(self._replace, item, audit, needed)

    def _replace(self, item: R, audit: Sequence[AuditEntry], needed: Sequence[R]) -> Unit[R]:
        new = item
        for row in in_lock_order(item, needed):
            if row is item:
                new = yield from replace_row(self._codec, self._fields, item)
            else:
                yield from self._still(row, self._move)
        yield Batch((BUMP(self._table), *self._audit.insert(audit)))
        return new

    async def remove(self, item: R, audit: Sequence[AuditEntry] = (), needed: Sequence[R] = ()) -> None:
        await self._driver.write(self._remove, item, audit, needed)

    def _remove(self, item: R, audit: Sequence[AuditEntry], needed: Sequence[R]) -> Unit[None]:
        for row in in_lock_order(item, needed):
            yield from self._still(row, self._delete if row is item else self._move)
        yield Batch((BUMP(self._table), *self._audit.insert(audit)))

    def _still(self, item: R, sql: Sql) -> Unit[None]:
        """Run a statement that writes a row of this id and version, if it is there."""
        rows = yield sql(item.id, item.version)
        if not rows:
            raise Conflict("version", f"{self._table} {item.id} has changed or is gone")


def in_lock_order(item: N, others: Sequence[N]) -> Sequence[N]:
    """By id: two writes at once of the same rows wait for each other, and end in no deadlock."""
    return sorted((item, *others), key=lambda row: row.id)


class RevisionRows:
    """The revisions of all kinds of resources."""

    def __init__(self, driver: SqlDriver) -> None:
        self._driver = driver
        self._known: tuple[tuple[int, object], Revisions] = ((0, None), Revisions())

    def read(self) -> Unit[Revisions]:
        """The revisions; a database in this process is asked for their sum first, which takes half the time."""
        generation = self._driver.generation
        if self._driver.dialect is Dialect.SQLITE:
            ((total,),) = yield SUM_REVISIONS()
            if (known := self.known(total)) is not None:
                return known
        rows = yield READ_REVISIONS()
        total = sum(value for _, value in rows)
        if (known := self.known(total)) is not None:
            return known
        found = {_KINDS[name]: value for name, value in rows if name in _KINDS}
        revisions = Revisions(generation=generation, **found)
        self._known = (generation, total), revisions
        return revisions

    def known(self, total: int | None) -> Revisions | None:
        """The revisions that were read last, if their sum is `total` now: each of them only grows."""
        return self._known[1] if (self._driver.generation, total) == self._known[0] else None


COPY = "copied"
"""The row of `revision` with the number that the latest import of rows chose."""


def read_copy_number() -> Unit[int]:
    """That number; 0 without an import."""
    rows = yield READ_REVISIONS()
    return next((value for name, value in rows if name == COPY), 0)


def replace_row(codec: Codec[N], names: tuple[str, ...], item: N) -> Unit[N]:
    """Version-guarded UPDATE of these fields; gives the item with its next version."""
    rows = yield codec.update(names)(*codec.values(names, item), item.id, item.version)
    if not rows:
        raise Conflict("version", f"{codec.table} {item.id} has changed or is gone")
    return structs.replace(item, version=item.version + 1)

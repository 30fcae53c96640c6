"""Seals over the audit, and the keys of its chain."""

from collections.abc import Sequence
from datetime import datetime

from acmehub.models.audit import AuditRecord, Seal, SealKey
from acmehub.ports.seals import Seals
from acmehub.storage import tables
from acmehub.storage.audit.entries import AuditRows
from acmehub.storage.audit.statements import KEEP_KEY, WRITERS
from acmehub.storage.codec import Codec, time_value
from acmehub.storage.driver import SqlDriver
from acmehub.storage.jobs import AFTER_ALL
from acmehub.storage.piccolo_engine import Parameter, prepared
from acmehub.storage.statements import Batch, Dialect, Sql, Unit


class SqlSeals(Seals):
    """Seals as rows."""

    def __init__(self, driver: SqlDriver, audit: AuditRows) -> None:
        self._driver = driver
        self._audit = audit
        dialect = driver.dialect
        table, key, entry = tables.Seal, tables.SealKey, tables.Audit
        self._codec = codec = Codec(Seal, table, dialect)
        self._key = Codec(SealKey, key, dialect)
        self._newest = prepared(codec.select().order_by(table.id, ascending=False).limit(1), dialect)
        self._one = prepared(codec.select().where(table.id == Parameter(1)), dialect)
        self._page = prepared(
            codec.select().where(table.id > Parameter(1)).order_by(table.id).limit(Parameter(2)), dialect
        )
        kept = codec.select().where(table.pruned.is_null()).order_by(table.id).limit(1)
        self._oldest_kept = prepared(kept, dialect)
        settled = entry.select(entry.id).where(entry.id > Parameter(1), entry.at <= Parameter(2))
        self._settled = prepared(settled.order_by(entry.id, ascending=False).limit(1), dialect)
        self._forget = prepared(entry.delete().where(entry.id <= Parameter(1)), dialect)
        self._mark = prepared(table.update({table.pruned: Parameter(1)}).where(table.id == Parameter(2)), dialect)
        self._keys = prepared(self._key.select().order_by(key.id), dialect)
        self._replace_key = prepared(key.update({key.sealed_key: Parameter(1)}).where(key.id == Parameter(2)), dialect)

    async def newest(self) -> Seal | None:
        return await self._driver.point_read(self._find, self._newest)

    async def get(self, number: int) -> Seal | None:
        return await self._driver.point_read(self._find, self._one, number)

    async def oldest_kept(self) -> Seal | None:
        return await self._driver.point_read(self._find, self._oldest_kept)

    def _find(self, sql: Sql, *values: int) -> Unit[Seal | None]:
        rows = yield sql(*values)
        return self._codec.read(rows[0]) if rows else None

    async def list(self, *, after: int = 0, limit: int = 500) -> Sequence[Seal]:
        return await self._driver.read(self._list, after, limit)

    def _list(self, after: int, limit: int) -> Unit[tuple[Seal, ...]]:
        rows = yield self._page(after, limit)
        return tuple(map(self._codec.read, rows))

    async def settled(self, after: int, before: datetime | None = None) -> int | None:
        return await self._driver.point_read(self._last_settled, after, before)

    def _last_settled(self, after: int, before: datetime | None) -> Unit[int | None]:
        """A number is taken before its row can be seen. On PostgreSQL the numbers below the one that was just found
        are decided if nobody writes now: who had taken one by then has had the table's lock all along."""
        dialect = self._driver.dialect
        rows = yield self._settled(after, time_value(dialect, before or AFTER_ALL))
        if rows and dialect is Dialect.POSTGRES and (yield WRITERS()):
            return None
        return rows[0][0] if rows else None

    async def append(self, seal: Seal, key: SealKey) -> None:
        await self._driver.write(self._append, seal, key)

    def _append(self, seal: Seal, key: SealKey) -> Unit[None]:
        yield Batch((self._codec.insert(*self._codec.row(seal)), KEEP_KEY(key.id, key.sealed_key)), autocommit=True)

    async def prune(self, seal: Seal) -> None:
        await self._driver.write(self._prune, seal)

    def _prune(self, seal: Seal) -> Unit[None]:
        yield Batch((self._forget(seal.last), self._mark(seal.pruned, seal.id)), autocommit=True)

    async def keys(self) -> Sequence[SealKey]:
        return await self._driver.point_read(self._all_keys)

    def _all_keys(self) -> Unit[tuple[SealKey, ...]]:
        rows = yield self._keys()
        return tuple(map(self._key.read, rows))

    async def replace_key(self, key: SealKey) -> None:
        await self._driver.write(self._rewrite_key, key)

    def _rewrite_key(self, key: SealKey) -> Unit[None]:
        yield Batch((self._replace_key(key.sealed_key, key.id),), autocommit=True)

    async def withhold(self, entries: Sequence[AuditRecord], key: SealKey) -> None:
        if entries:
            await self._driver.write(self._withhold, entries, key)

    def _withhold(self, entries: Sequence[AuditRecord], key: SealKey) -> Unit[None]:
        yield Batch((self._audit.withhold(entries), KEEP_KEY(key.id, key.sealed_key)))

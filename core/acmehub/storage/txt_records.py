"""TXT records: what stands in DNS, the claims of their removals, and who writes into a zone."""

from collections.abc import Sequence
from datetime import datetime

from acmehub.models import Event, TxtRecord
from acmehub.ports.order_store import TxtRecords
from acmehub.ports.zone_leases import ZoneLeases
from acmehub.rules.orders import Lease
from acmehub.storage import hot_statements, tables
from acmehub.storage.codec import Codec, read_time, time_value
from acmehub.storage.driver import SqlDriver
from acmehub.storage.jobs import as_text
from acmehub.storage.listing import BEFORE_ALL
from acmehub.storage.piccolo_engine import Parameter, prepared
from acmehub.storage.records import EventRows
from acmehub.storage.resources import replace_row
from acmehub.storage.statements import Batch, Sql, Unit


class SqlTxtRecords(TxtRecords):
    """TXT records as rows and as jobs."""

    def __init__(self, driver: SqlDriver, events: EventRows) -> None:
        self._driver = driver
        self._events = events
        self._codec = codec = Codec(TxtRecord, tables.TxtRecord, driver.dialect)
        self._fields = tuple(name for name in codec.fields if name not in ("id", "version"))
        table, dialect = tables.TxtRecord, driver.dialect
        of_order = codec.select().where(table.order_id == Parameter(1)).order_by(table.created, table.id)
        self._of_order = prepared(of_order, dialect)
        self._list = prepared(codec.select().order_by(table.created, table.id), dialect)
        self._delete = prepared(table.delete().where(table.id == Parameter(1)), dialect)
        self._claim = hot_statements.claim_removals(codec.columns)

    async def of_order(self, order_id: str) -> Sequence[TxtRecord]:
        return await self._driver.point_read(self._select, self._of_order, order_id)

    async def list(self) -> Sequence[TxtRecord]:
        return await self._driver.read(self._select, self._list)

    def _select(self, sql: Sql, *values: str) -> Unit[tuple[TxtRecord, ...]]:
        rows = yield sql(*values)
        return tuple(map(self._codec.read, rows))

    async def replace(self, record: TxtRecord) -> TxtRecord:
        return await self._driver.write(replace_row, self._codec, self._fields, record)

    async def remove(self, record: TxtRecord, events: Sequence[Event] = ()) -> None:
        await self._driver.write(self._remove, record.id, events)

    def _remove(self, record_id: str, events: Sequence[Event]) -> Unit[None]:
        lines = (self._events.insert(events),) if events else ()
        yield Batch((self._delete(record_id), *lines), autocommit=True)

    async def needed(self, records: Sequence[TxtRecord]) -> frozenset[str]:
        return await self._driver.point_read(self._needed, records)

    def _needed(self, records: Sequence[TxtRecord]) -> Unit[frozenset[str]]:
        found: set[tuple[str, str, str]] = set()
        most = hot_statements.REMOVALS
        for start in range(0, len(records), most):
            values = [item.value for item in records[start : start + most]]
            padded = values + values[-1:] * (most - len(values))
            found.update((row[0], row[1], row[2]) for row in (yield hot_statements.NEEDED_RECORDS(*padded)))
        return frozenset(item.id for item in records if (item.zone, item.name, item.value) in found)

    async def claim(
        self, lease: Lease, now: datetime, limit: int, full: frozenset[str] = frozenset()
    ) -> Sequence[TxtRecord]:
        """Most overdue first."""
        return await self._driver.write(self._claim_due, lease, now, limit, full)

    def _claim_due(self, lease: Lease, now: datetime, limit: int, full: frozenset[str]) -> Unit[tuple[TxtRecord, ...]]:
        dialect = self._driver.dialect
        until, at = time_value(dialect, lease.until), time_value(dialect, now)
        claim = self._claim(lease.owner, until, at, limit, as_text(full))
        rows = yield Batch((claim,), autocommit=True)
        records = [self._codec.read(row) for row in rows]
        records.sort(key=lambda record: record.run_at or record.created)
        return tuple(records)

    async def next_due(self, after: datetime | None = None) -> datetime | None:
        """A row that is leased is due when its lease is over."""
        return await self._driver.point_read(self._due, after)

    def _due(self, after: datetime | None) -> Unit[datetime | None]:
        rows = yield hot_statements.NEXT_DUE_REMOVAL(time_value(self._driver.dialect, after or BEFORE_ALL))
        return read_time(self._driver.dialect, rows[0][0])


class SqlZoneLeases(ZoneLeases):
    """Zone leases as rows, which stay when a lease has ended, so that its fencing token goes on growing."""

    def __init__(self, driver: SqlDriver) -> None:
        self._driver = driver
        table = tables.ZoneLease
        self._over = prepared(table.delete().where(table.lease_until <= Parameter(1)), driver.dialect)

    async def take(self, managed_challenge_id: str, zone: str, lease: Lease, now: datetime) -> int | None:
        return await self._driver.write(self._take, f"{managed_challenge_id} {zone}", lease, now)

    def _take(self, place: str, lease: Lease, now: datetime) -> Unit[int | None]:
        dialect = self._driver.dialect
        until, at = time_value(dialect, lease.until), time_value(dialect, now)
        rows = yield Batch((hot_statements.TAKE_ZONE(place, lease.owner, until, at),), autocommit=True)
        return rows[0][0] if rows else None

    async def end(self, managed_challenge_id: str, zone: str, fence: int, until: datetime) -> bool:
        return await self._driver.write(self._end, f"{managed_challenge_id} {zone}", fence, until)

    def _end(self, place: str, fence: int, until: datetime) -> Unit[bool]:
        ends = hot_statements.END_ZONE(place, fence, time_value(self._driver.dialect, until))
        rows = yield Batch((ends,), autocommit=True)
        return bool(rows)

    async def prune(self, before: datetime) -> None:
        await self._driver.write(self._prune, before)

    def _prune(self, before: datetime) -> Unit[None]:
        yield Batch((self._over(time_value(self._driver.dialect, before)),), autocommit=True)

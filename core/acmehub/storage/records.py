"""What is only ever appended: timelines, the audit; and nonces that were used."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime

import msgspec

from acmehub.models import Actor, AuditEntry, AuditFilter, AuditRecord, Event, EventKind
from acmehub.ports.revisions import Revisions
from acmehub.ports.spending import NonceUse, UsedNonces
from acmehub.ports.store import Records
from acmehub.storage import hot_statements, tables
from acmehub.storage.codec import Codec, storable, time_value
from acmehub.storage.driver import SqlDriver
from acmehub.storage.hot_statements import AT_ONCE, NEXT_EVENTS, latest_events
from acmehub.storage.piccolo_engine import Parameter, built, prepared
from acmehub.storage.statements import Batch, Dialect, Statement, Unit


class EventRows:
    """Timelines as rows: shared by the verbs of orders, whose changes carry events."""

    def __init__(self, driver: SqlDriver) -> None:
        self._codec = Codec(Event, tables.Event, driver.dialect)
        table = tables.Event
        of_order = self._codec.select().where(table.order_id == Parameter(1)).order_by(table.id)
        self.timeline = prepared(of_order, driver.dialect)
        self._latest = latest_events(self._codec.prefixed("e"))
        self._delete = prepared(table.delete().where(table.id == Parameter(1)), driver.dialect)

    def insert(self, events: Sequence[Event]) -> Statement:
        """Append `events` (at least one)."""
        return self._codec.insert.many([self._codec.row(event) for event in events])

    def read(self, order_id: str) -> Unit[tuple[Event, ...]]:
        """An order's events, oldest first."""
        rows = yield self.timeline(order_id)
        return tuple(map(self._codec.read, rows))

    def latest(self, order_ids: Sequence[str], kinds: Sequence[str]) -> Unit[tuple[Event, ...]]:
        """`Records.latest`."""
        listed = "".join(f"|{kind}|" for kind in kinds)
        found: list[Event] = []
        for at in range(0, len(order_ids), AT_ONCE):
            ids = order_ids[at : at + AT_ONCE]
            rows = yield self._latest(listed, *ids, *[ids[-1]] * (AT_ONCE - len(ids)))
            found += map(self._codec.read, rows)
        return tuple(found)

    def old(self, before: object, after: int, limit: int) -> Unit[list[tuple[int, bool]]]:
        """The next `limit` lines by number, up to the first that was written later; whether each one's order has
        ended."""
        found: list[tuple[int, bool]] = []
        for number, at, stage in (yield NEXT_EVENTS(after, limit)):
            if at >= before:
                break
            found.append((number, stage in ("done", "failed")))
        return found

    def forget(self, numbers: Sequence[tuple[int]]) -> Unit[None]:
        """Delete lines."""
        yield Batch((self._delete.many(numbers),), autocommit=True)


class AuditRows:
    """The audit as rows: shared by every verb that writes a change together with its entries."""

    def __init__(self, driver: SqlDriver) -> None:
        self.codec = Codec(AuditEntry, tables.Audit, driver.dialect)

    def insert(self, entries: Sequence[AuditEntry]) -> tuple[Statement, ...]:
        """The statement that appends `entries`; none when there are none."""
        if not entries:
            return ()
        return (self.codec.insert.many([self.codec.row(item) for item in entries]),)


class SqlRecords(Records):
    """Timelines and the audit."""

    def __init__(self, driver: SqlDriver, events: EventRows, audit: AuditRows) -> None:
        self._driver = driver
        self._events = events
        self._audit = audit
        table = tables.Audit
        oldest = table.select(table.id, table.at).order_by(table.id).limit(Parameter(1))
        self._oldest = prepared(oldest, driver.dialect)
        self._forget_audit = prepared(table.delete().where(table.id == Parameter(1)), driver.dialect)

    async def note(self, events: Sequence[Event]) -> None:
        if events:
            await self._driver.write(self._note, events)

    def _note(self, events: Sequence[Event]) -> Unit[None]:
        yield Batch((self._events.insert(events),), autocommit=True)

    async def timeline(self, order_id: str) -> Sequence[Event]:
        return await self._driver.read(self._events.read, order_id)

    async def latest(self, order_ids: Sequence[str], kinds: Collection[EventKind]) -> Sequence[Event]:
        return await self._driver.read(self._events.latest, order_ids, [kind.value for kind in kinds])

    async def audit(self, entries: Sequence[AuditEntry]) -> None:
        if entries:
            await self._driver.write(self._append, entries)

    def _append(self, entries: Sequence[AuditEntry]) -> Unit[None]:
        yield Batch(self._audit.insert(entries), autocommit=True)

    async def prune_timelines(self, before: datetime, after: int, limit: int) -> int | None:
        time = time_value(self._driver.dialect, before)
        page = await self._driver.read(self._events.old, time, after, limit)
        over = [(number,) for number, is_over in page if is_over]
        if over:
            await self._driver.write(self._events.forget, over)
        return page[-1][0] if len(page) == limit else None

    async def prune_audit(self, before: datetime, limit: int) -> int:
        return await self._driver.write(self._prune_audit, time_value(self._driver.dialect, before), limit)

    def _prune_audit(self, before: object, limit: int) -> Unit[int]:
        rows = yield self._oldest(limit + 1)
        over: list[tuple[object]] = []
        for number, at in rows[:-1]:  # the newest stays: SQLite would give its number to the next one
            if at >= before:
                break
            over.append((number,))
        if over:
            yield Batch((self._forget_audit.many(over),))
        return len(over)

    async def audited(
        self,
        limit: int = 100,
        filter: AuditFilter = AuditFilter(),
        *,
        before: int | None = None,
        after: int | None = None,
    ) -> Sequence[AuditRecord]:
        return await self._driver.read(self._audited, limit, filter, before, after)

    def _audited(
        self, limit: int, filter: AuditFilter, before: int | None, after: int | None
    ) -> Unit[tuple[AuditRecord, ...]]:
        table = tables.Audit
        query = table.select(table.id, *self._audit.codec.columns_of_table)
        for column, text in ((table.actor, filter.actor), (table.object, filter.object)):
            if text:
                query = query.where(hot_statements.contains(column, storable(text)))
        if filter.action:
            query = query.where(hot_statements.is_or_begins(table.action, filter.action, "."))
        if filter.since is not None:
            query = query.where(table.at >= time_value(self._driver.dialect, filter.since))
        if filter.until is not None:
            query = query.where(table.at < time_value(self._driver.dialect, filter.until))
        if filter.refused:
            query = query.where(table.allowed == False)  # noqa: E712  a condition of the query builder
        if before is not None:
            query = query.where(table.id < before)
        if after is not None:
            query = query.where(table.id > after)
        rows = yield built(query.order_by(table.id, ascending=after is not None).limit(limit), self._driver.dialect)
        read = self._audit.codec.read
        return tuple([AuditRecord(id=row[0], **msgspec.structs.asdict(read(tuple(row)[1:]))) for row in rows])


class SqlUsedNonces(UsedNonces):
    """Used nonces. `known` gives the revisions whose sum this is, where they are known."""

    def __init__(self, driver: SqlDriver, known: Callable[[int | None], Revisions | None]) -> None:
        self._driver = driver
        self._known = known
        table = tables.UsedNonce
        self._one = prepared(table.select(table.nonce).where(table.nonce == Parameter(1)), driver.dialect)
        self._expired = prepared(table.delete().where(table.expires <= Parameter(1)), driver.dialect)

    async def use(self, nonce: str, expires: datetime) -> bool:
        return await self._driver.write(self._use, nonce, expires)

    def _use(self, nonce: str, expires: datetime) -> Unit[bool]:
        rows = yield Batch(
            (hot_statements.USE_NONCE(nonce, time_value(self._driver.dialect, expires)),), autocommit=True
        )
        return bool(rows)

    async def use_by(self, actor: Actor, nonce: str, expires: datetime) -> NonceUse | None:
        if self._driver.dialect is Dialect.SQLITE:
            return None
        return await self._driver.write(self._use_by, self._driver.generation, actor, nonce, expires)

    def _use_by(self, generation: int, actor: Actor, nonce: str, expires: datetime) -> Unit[NonceUse | None]:
        if generation != self._driver.generation:
            return None
        account_id, versions = actor.account.id, (actor.account.version, actor.token.version, actor.principal.version)
        rows = yield Batch((hot_statements.USE_NONCE_BY(account_id, nonce, expires, *versions),), autocommit=True)
        if not rows or not rows[0][0]:
            return None
        return NonceUse(is_first=rows[0][1], revisions=self._known(rows[0][2]))

    async def is_used(self, nonce: str) -> bool:
        return await self._driver.point_read(self._find, nonce)

    def _find(self, nonce: str) -> Unit[bool]:
        rows = yield self._one(nonce)
        return bool(rows)

    async def prune(self, now: datetime) -> None:
        await self._driver.write(self._prune, now)

    def _prune(self, now: datetime) -> Unit[None]:
        yield Batch((self._expired(time_value(self._driver.dialect, now)),), autocommit=True)

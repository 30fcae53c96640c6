"""What is only ever appended: timelines, the audit; and nonces that were used."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from acmehub.models import Actor, AuditEntry, AuditFilter, AuditRecord, Event, EventKind
from acmehub.ports.revisions import Revisions
from acmehub.ports.spending import NonceUse, UsedNonces
from acmehub.ports.store import Records
from acmehub.storage import hot_statements, tables
from acmehub.storage.audit.entries import AuditRows
from acmehub.storage.codec import Codec, time_value
from acmehub.storage.driver import SqlDriver
from acmehub.storage.hot_statements import AT_ONCE, NEXT_EVENTS, latest_events
from acmehub.storage.piccolo_engine import Parameter, prepared
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


class SqlRecords(Records):
    """Timelines and the audit."""

    def __init__(self, driver: SqlDriver, events: EventRows, audit: AuditRows) -> None:
        self._driver = driver
        self._events = events
        self._audit = audit

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
            await self._driver.write(self._audit.append, entries)

    async def prune_timelines(self, before: datetime, after: int, limit: int) -> int | None:
        time = time_value(self._driver.dialect, before)
        page = await self._driver.read(self._events.old, time, after, limit)
        over = [(number,) for number, is_over in page if is_over]
        if over:
            await self._driver.write(self._events.forget, over)
        return page[-1][0] if len(page) == limit else None

    async def audited(
        self,
        limit: int = 100,
        filter: AuditFilter = AuditFilter(),
        *,
        before: int | None = None,
        after: int | None = None,
    ) -> Sequence[AuditRecord]:
        return await self._driver.read(self._audit.page, limit, filter, before, after)


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

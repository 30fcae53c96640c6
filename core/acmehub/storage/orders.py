"""Orders and their authorizations: adding, reading, and changing one by a rule in one transaction.

An order's version moves with every write of its row *and* of its authorizations, so it stands for the whole bundle.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from msgspec import structs

from acmehub.models import Authorization, AuthorizationMode, Event, EventKind, Order, TxtRecord
from acmehub.ports.clock import Clock
from acmehub.ports.figures import FailureCause
from acmehub.ports.lists import ALL_ORDERS, OrderFilter
from acmehub.ports.order_store import Orders
from acmehub.ports.store import Conflict, Fenced, Missing
from acmehub.rules.orders import Change, Lease, OrderBundle
from acmehub.storage import hot_statements, tables
from acmehub.storage.audit.entries import AuditRows
from acmehub.storage.certificates import CertificateRows
from acmehub.storage.codec import Codec, time_value
from acmehub.storage.driver import SqlDriver
from acmehub.storage.jobs import JobRows
from acmehub.storage.listing import IdRange, OrderLists
from acmehub.storage.piccolo_engine import Parameter, prepared, speaking
from acmehub.storage.records import EventRows
from acmehub.storage.statements import Batch, Changed, Dialect, Statement, Unit
from acmehub.storage.versioned_cache import VersionedCache

Rule = Callable[[OrderBundle], Change]

_MOST_AT_ONCE = 16
_AT_ONCE = {"order", "authorizations", "certificate", "events", "audit", "schedule_removal"}
_SELDOM = tuple(name for name in Change.__struct_fields__ if name not in _AT_ONCE)
"""The parts of a change that one guarded statement does not write."""
_OF_PRESENT = ("state", "run_at")


class SqlOrders(Orders):
    """Orders with their authorizations."""

    def __init__(
        self, driver: SqlDriver, clock: Clock, events: EventRows, certificates: CertificateRows, audit: AuditRows
    ) -> None:
        self._driver = driver
        self._clock = clock
        self._events = events
        self._audit = audit
        self._certificates = certificates
        self._order = Codec(Order, tables.Order, driver.dialect)
        self._authorization = Codec(Authorization, tables.Authorization, driver.dialect)
        self._record = Codec(TxtRecord, tables.TxtRecord, driver.dialect)
        self._jobs = JobRows(driver.dialect, self._order, self._authorization)
        self._retention = Retention(driver.dialect)
        self._lists = OrderLists(driver.dialect, self._order, self._authorization)
        self._ids = IdRange(tables.Order, driver.dialect)
        order, authorization, dialect = self._order, self._authorization, driver.dialect
        self._cache: VersionedCache[tuple[int, int], OrderBundle] = VersionedCache()
        order_table, table = tables.Order, tables.Authorization
        self._version = prepared(order_table.select(order_table.version).where(order_table.id == Parameter(1)), dialect)
        self._row = prepared(order.select().where(order_table.id == Parameter(1)), dialect)
        self._authorizations = prepared(authorization.select().where(table.order_id == Parameter(1)), dialect)
        self._bundle = hot_statements.bundle(order.prefixed("o"), authorization.prefixed("a"))
        self._one = prepared(authorization.select().where(table.id == Parameter(1)), dialect)

    async def add(self, bundle: OrderBundle, events: Sequence[Event] = ()) -> None:
        generation = self._driver.generation
        await self._driver.write(self._add, bundle, events)
        self._put(bundle, generation)

    def _put(self, bundle: OrderBundle, generation: int) -> OrderBundle:
        self._cache.put(bundle.order.id, (generation, bundle.order.version), bundle)
        return bundle

    def _add(self, bundle: OrderBundle, events: Sequence[Event]) -> Unit[None]:
        yield Changed(((bundle.order.id, bundle.order.version),))
        steps = [self._order.insert(*self._order.row(bundle.order))]
        if bundle.authorizations:
            rows = [self._authorization.row(item) for item in bundle.authorizations]
            steps.append(self._authorization.insert.many(rows))
        if events:
            steps.append(self._events.insert(events))
        yield Batch(tuple(steps), autocommit=True)

    async def get(self, order_id: str, *, version: int = 0) -> OrderBundle | None:
        """One statement, so that order and authorizations are of one moment."""
        generation = self._driver.generation
        known = self._cache.get_since(order_id, (generation, version)) if version else None
        if known is not None and known[0][0] == generation:
            return known[1]
        bundle = await self._driver.point_read(self._read, order_id)
        return self._put(bundle, generation) if bundle is not None else None

    def _read(self, order_id: str) -> Unit[OrderBundle | None]:
        if order_id in self._cache:
            rows = yield self._version(order_id)
            cached = self._cache.get(order_id, (self._driver.generation, rows[0][0])) if rows else None
            if cached is not None:
                return cached
        rows = yield self._bundle(order_id)
        if not rows:
            return None
        count = len(self._order.fields)
        first = tuple(rows[0])
        order = self._order.read(first[:count])
        if first[count] is None:
            return OrderBundle(order)
        return OrderBundle(order, _in_order([self._authorization.read(tuple(row)[count:]) for row in rows]))

    async def authorization(self, authorization_id: str) -> Authorization | None:
        return await self._driver.point_read(self._read_one, authorization_id)

    def _read_one(self, authorization_id: str) -> Unit[Authorization | None]:
        rows = yield self._one(authorization_id)
        return self._authorization.read(rows[0]) if rows else None

    async def apply(self, order_id: str, rule: Rule, *, fence: int | None = None) -> OrderBundle:
        """The row is locked from reading to writing, so the fence that was checked holds."""
        generation = self._driver.generation
        bundle = await self._apply_to_cached(order_id, rule, fence)
        if bundle is None:
            bundle = await self._driver.write(self._apply, order_id, rule, fence)
        return self._put(bundle, generation)

    async def _apply_to_cached(self, order_id: str, rule: Rule, fence: int | None) -> OrderBundle | None:
        """`apply` in one statement, which writes if the cached order is still what is stored; None where that has
        decided nothing, and the stored order has to be asked.

        Only behind a network, where a transaction that locks, reads and writes is four round trips.
        """
        if self._driver.dialect is not Dialect.POSTGRES:
            return None
        cached = self._cache.kept(order_id)
        if cached is None or cached[0][0] != self._driver.generation or fence not in (None, cached[1].order.fence):
            return None
        before = cached[1]
        try:
            change = rule(before)
        except Exception:  # noqa: BLE001 - it runs again, and raises again if the stored order deserves it
            return None
        planned = self._plan(before, change)
        if planned is None:
            return None
        return await self._driver.write(self._write_guarded, self._driver.generation, *planned)

    def _plan(self, before: OrderBundle, change: Change) -> tuple[tuple[Statement, ...], OrderBundle] | None:
        """The statements of a change, the first of which is guarded by the order's version, and what is stored after
        them; None for a change that needs more than these."""
        order, new = before.order, change.order
        names = self._order.changed(order, new)
        if (
            (new.id, new.version) != (order.id, order.version)
            or any(getattr(change, name) for name in _SELDOM)
            or ("lock_key" in names and order.lock_key is not None)
        ):
            return None
        steps, authorizations = self._changes(before.authorizations, change.authorizations)
        steps += self._additions(change)
        if change.schedule_removal:
            steps.append(hot_statements.SCHEDULE_REMOVAL(order.id))
        if not (names or steps):
            return None
        values = self._order.values(names, new)
        guard = self._order.update(names)(*values, order.id, order.version)
        statements = (guard, *(single for step in steps for single in step.singly()))
        after = OrderBundle(structs.replace(new, version=order.version + 1), authorizations)
        return (statements, after) if len(statements) <= _MOST_AT_ONCE else None

    def _write_guarded(
        self, generation: int, statements: tuple[Statement, ...], after: OrderBundle
    ) -> Unit[OrderBundle | None]:
        if generation != self._driver.generation:
            return None
        if not (yield Batch(statements, autocommit=True, guarded=True)):
            return None
        yield Changed(((after.order.id, after.order.version),))
        return after

    def _apply(self, order_id: str, rule: Rule, fence: int | None) -> Unit[OrderBundle]:
        rows = yield hot_statements.LOCK_ORDER(order_id)
        if not rows:
            raise Missing(f"no order {order_id}")
        before = self._cache.get(order_id, (self._driver.generation, rows[0][0]))
        if before is None:
            order = self._order.read((yield self._row(order_id))[0])
            rows = yield self._authorizations(order_id)
            before = OrderBundle(order, _in_order(list(map(self._authorization.read, rows))))
        if fence is not None and fence != before.order.fence:
            raise Fenced(f"order {order_id}: fence {fence}, now {before.order.fence}")
        return (yield from self._write(before, rule(before)))

    def _write(self, before: OrderBundle, change: Change) -> Unit[OrderBundle]:
        order, new = before.order, change.order
        for record in change.present:
            values = self._record.values(_OF_PRESENT, record)
            if not (yield self._record.update(_OF_PRESENT)(*values, record.id, record.version)):
                raise Conflict("txt_record", f"TXT record {record.id} has changed or is gone")
        if (new.id, new.version) != (order.id, order.version):
            raise Conflict("version", f"order {order.id}: the change is for another version of it")
        steps, authorizations = self._changes(before.authorizations, change.authorizations)
        names = self._order.changed(order, new)
        if names or steps:  # the order's version stands for its authorizations, too
            steps.append(
                self._order.update(names, locked=True)(*self._order.values(names, new), order.id, order.version)
            )
            new = structs.replace(new, version=order.version + 1)
        steps += self._additions(change)
        if not steps and not change.schedule_removal:
            return before
        woken: tuple[tuple[str, int], ...] = ()
        if "lock_key" in names and order.lock_key is not None:
            woken = yield from self._wake_waiting(order)
        if change.schedule_removal and not change.records:
            steps.append(hot_statements.SCHEDULE_REMOVAL(order.id))
        yield Batch(tuple(steps))
        if change.schedule_removal and change.records:
            yield hot_statements.SCHEDULE_REMOVAL(order.id)
        yield Changed(((order.id, new.version), *woken))
        return OrderBundle(new, authorizations)

    def _changes(
        self, authorizations: tuple[Authorization, ...], changed: tuple[Authorization, ...]
    ) -> tuple[list[Statement], tuple[Authorization, ...]]:
        """The UPDATEs of the authorizations that differ, and all of them as they will be stored."""
        codec = self._authorization
        by_id = {item.id: item for item in authorizations}
        steps: list[Statement] = []
        for new in changed:
            old = by_id.get(new.id)
            if old is None or old.version != new.version:
                raise Conflict("version", f"authorization {new.id}: the change is for another version of it")
            names = codec.changed(old, new)
            if names:
                steps.append(codec.update(names, locked=True)(*codec.values(names, new), old.id, old.version))
                by_id[new.id] = structs.replace(new, version=old.version + 1)
        return steps, tuple(by_id.values())

    def _additions(self, change: Change) -> list[Statement]:
        steps: list[Statement] = []
        if change.records:
            steps.append(self._record.insert.many([self._record.row(item) for item in change.records]))
        if change.certificate is not None:
            steps += self._certificates.insert(change.certificate, change.order.replaces)
        if change.events:
            steps.append(self._events.insert(change.events))
        steps += self._audit.insert(change.audit)
        return steps

    def _wake_waiting(self, order: Order) -> Unit[tuple[tuple[str, int], ...]]:
        now = time_value(self._driver.dialect, self._clock.now())
        rows = yield hot_statements.WAKE_WAITING(now, order.name_set, order.authority_id, order.id)
        return tuple((row[0], row[1]) for row in rows)

    async def claim(
        self, lease: Lease, now: datetime, limit: int, full: frozenset[str] = frozenset()
    ) -> Sequence[OrderBundle]:
        """Subscribers do not hear of a claim or of a renewal: nothing they wait for changed."""
        generation = self._driver.generation
        claimed = await self._driver.write(self._jobs.claim, lease, now, limit, full)
        return tuple(self._put(bundle, generation) for bundle in claimed)

    async def wake(self, kinds: Collection[EventKind], *, authority_id: str = "", challenge_id: str = "") -> int:
        return await self._driver.write(self._wake, sorted(kind.value for kind in kinds), authority_id, challenge_id)

    def _wake(self, kinds: list[str], authority_id: str, challenge_id: str) -> Unit[int]:
        now = time_value(self._driver.dialect, self._clock.now())
        padded = [*kinds, *kinds[-1:] * (hot_statements.MOST_KINDS - len(kinds))]
        rows = yield hot_statements.WAKE_WAITING_AFTER(now, authority_id, challenge_id, *padded)
        yield Changed(tuple((row[0], row[1]) for row in rows))
        return len(rows)

    async def renew(self, order_id: str, fence: int, until: datetime) -> bool:
        return await self._driver.write(self._jobs.renew, order_id, fence, until)

    async def next_due(self, after: datetime | None = None) -> datetime | None:
        return await self._driver.point_read(self._jobs.next_due, after)

    async def lock_holders(self, order_id: str, *, lock_key: str = "", upstream_url: str = "") -> Sequence[Order]:
        return await self._driver.point_read(self._lists.lock_holders, order_id, lock_key, upstream_url)

    async def open_of(self, account_id: str, name_set: str) -> Sequence[OrderBundle]:
        found = [await self.get(id) for id in await self._driver.point_read(self._lists.open_of, account_id, name_set)]
        return tuple(item for item in found if item is not None)

    async def previous(self, account_id: str, name_set: str) -> Order | None:
        return await self._driver.point_read(self._lists.previous, account_id, name_set)

    async def same_csr(self, account_id: str, csr: bytes, since: datetime) -> Order | None:
        return await self._driver.point_read(self._lists.same_csr, account_id, csr, since)

    async def valid_authorizations(
        self, account_id: str, names: Sequence[str], since: datetime, limit: int = 4
    ) -> Sequence[tuple[Authorization, AuthorizationMode]]:
        return await self._driver.read(self._lists.held, account_id, tuple(dict.fromkeys(names)), since, limit)

    async def of_account(self, account_id: str, *, after: str = "", limit: int = 100) -> tuple[Sequence[str], str]:
        return await self._driver.read(self._lists.of_account, account_id, after, limit)

    async def open_count(self, account_id: str, limit: int) -> int:
        return await self._driver.point_read(self._lists.open_count, account_id, limit)

    async def list(self, wanted: OrderFilter = ALL_ORDERS, *, after: str = "", limit: int = 100) -> Sequence[Order]:
        return await self._driver.read(self._lists.page, wanted, after, limit)

    async def causes(
        self, since: datetime, opened_since: datetime, principal_ids: frozenset[str] | None = None
    ) -> Sequence[FailureCause]:
        return await self._driver.read(self._lists.causes, since, opened_since, principal_ids)

    async def waiting(self, principal_ids: frozenset[str] | None = None) -> Sequence[FailureCause]:
        return await self._driver.read(self._lists.waiting, principal_ids)

    async def ids(self, prefix: str, limit: int) -> Sequence[str]:
        return await self._driver.point_read(self._ids.read, prefix, limit)

    async def lapsed(self, now: datetime, limit: int) -> Sequence[str]:
        return await self._driver.read(self._lists.lapsed, now, limit)

    async def prune(self, before: datetime, limit: int) -> int:
        over = await self._driver.read(self._retention.over, before, limit)
        if over:
            await self._driver.write(self._retention.forget, over)
        return len(over)


class Retention:
    """Forgetting what is long over: an order and all that belongs to it, in one transaction per batch."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        certificate, name = tables.Certificate, tables.CertificateName
        with speaking(dialect):
            its = certificate.select(certificate.id).where(certificate.order_id == Parameter(1))
            parts = (  # in the order that the foreign keys allow
                name.delete().where(name.certificate_id.is_in(its)),
                certificate.delete().where(certificate.order_id == Parameter(1)),
                tables.Event.delete().where(tables.Event.order_id == Parameter(1)),
                tables.Authorization.delete().where(tables.Authorization.order_id == Parameter(1)),
                tables.Order.delete().where(tables.Order.id == Parameter(1)),
            )
        self._parts = tuple(prepared(part, dialect) for part in parts)

    def over(self, before: datetime, limit: int) -> Unit[tuple[str, ...]]:
        """Which orders can go; nothing that is over comes to life again, so that this needs no lock."""
        rows = yield hot_statements.OVER_ORDERS(time_value(self._dialect, before), limit)
        return tuple(row[0] for row in rows)

    def forget(self, order_ids: tuple[str, ...]) -> Unit[None]:
        """Delete them."""
        yield Batch(tuple(part.many([(id,) for id in order_ids]) for part in self._parts))


def _in_order(authorizations: list[Authorization]) -> tuple[Authorization, ...]:
    if len(authorizations) > 1:
        authorizations.sort(key=lambda item: item.position)
    return tuple(authorizations)

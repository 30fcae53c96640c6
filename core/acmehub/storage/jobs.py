"""Orders as jobs: claiming what is due, renewing leases, knowing when something is due next."""

from datetime import UTC, datetime, timedelta

from acmehub.models import Authorization, Order, Stage, TxtState
from acmehub.ports.figures import CertificateState, Counts
from acmehub.rules.orders import Lease, OrderBundle
from acmehub.storage import hot_statements, tables
from acmehub.storage.codec import Codec, read_time, time_value
from acmehub.storage.driver import SqlDriver
from acmehub.storage.list_statements import BACKLOG, CERTIFICATE_COUNTS, OPEN_ORDERS, STANDING_RECORDS
from acmehub.storage.listing import BEFORE_ALL
from acmehub.storage.piccolo_engine import Parameter, prepared
from acmehub.storage.statements import Batch, Dialect, Unit

_GROUP = 16
IN_FLIGHT = timedelta(seconds=5)  # what a process sent to a DNS provider before it died may still arrive
AFTER_ALL = datetime(9999, 1, 1, tzinfo=UTC)


class JobRows:
    """The claims of orders. A job is due when its `run_at` has come and its lease is free or over."""

    def __init__(self, dialect: Dialect, order: Codec[Order], authorization: Codec[Authorization]) -> None:
        self._dialect = dialect
        self._order = order
        self._authorization = authorization
        table = tables.Authorization
        self._claim = hot_statements.claim_orders(order.columns)
        of_orders = authorization.select().where(table.order_id.is_in([Parameter(n) for n in range(1, _GROUP + 1)]))
        self._authorizations = prepared(of_orders, dialect)

    def claim(self, lease: Lease, now: datetime, limit: int, full: frozenset[str]) -> Unit[tuple[OrderBundle, ...]]:
        """Up to `limit` due orders, oldest first and of no group in `full`, now owned by `lease`."""
        until = time_value(self._dialect, lease.until)
        rows = yield self._claim(lease.owner, until, time_value(self._dialect, now), limit, as_text(full))
        orders = [self._order.read(row) for row in rows]
        orders.sort(key=lambda order: order.created)
        found: dict[str, list[Authorization]] = {order.id: [] for order in orders}
        ids = list(found)
        for start in range(0, len(ids), _GROUP):
            group = ids[start : start + _GROUP]
            padded = group + group[-1:] * (_GROUP - len(group))
            for row in (yield self._authorizations(*padded)):
                item = self._authorization.read(row)
                found[item.order_id].append(item)
        return tuple(
            OrderBundle(order, tuple(sorted(found[order.id], key=lambda item: item.position))) for order in orders
        )

    def renew(self, order_id: str, fence: int, until: datetime) -> Unit[bool]:
        """Whether the lease was still held with this fence, and is now until `until`."""
        rows = yield Batch(
            (hot_statements.RENEW_LEASE(time_value(self._dialect, until), order_id, fence),), autocommit=True
        )
        return bool(rows)

    def next_due(self, after: datetime | None) -> Unit[datetime | None]:
        """The earliest moment at which a claim would find something: the head of an index, and the few leased rows."""
        times = (time_value(self._dialect, moment) for moment in (after or BEFORE_ALL, BEFORE_ALL, AFTER_ALL))
        rows = yield hot_statements.NEXT_DUE_ORDER(*times)
        return read_time(self._dialect, rows[0][0])


class Leases:
    """The leases of all kinds: orders, removals of TXT records, questions for renewal windows, writing into zones."""

    def __init__(self, driver: SqlDriver) -> None:
        self._driver = driver

    def end_those_of_the_dead(self, now: datetime) -> Unit[None]:
        """Make due what processes have claimed that are known to be dead.

        No other process claims during this transaction: one that claimed before it has its lock since before the claim.
        """
        at, soon = (time_value(self._driver.dialect, moment) for moment in (now, now + IN_FLIGHT))
        for (owner,) in (yield hot_statements.LEASE_OWNERS(at)):
            if self._driver.is_dead(owner):
                ends = [end(owner) for end in (hot_statements.END_ORDER_LEASES, hot_statements.END_REMOVAL_LEASES)]
                ends.append(hot_statements.END_WINDOW_LEASES(at, owner))
                ends.append(hot_statements.END_ZONE_LEASES(soon, owner))
                yield Batch(tuple(ends))


def read_counts(dialect: Dialect, now: datetime) -> Unit[Counts]:
    """`Store.counts`."""
    at = time_value(dialect, now)
    stages = yield OPEN_ORDERS()
    ((lasting, ended, revoked),) = yield CERTIFICATE_COUNTS(at)
    records = yield STANDING_RECORDS()
    ((due, claimed),) = yield BACKLOG(at)
    certificates = {
        CertificateState.VALID: lasting - revoked,
        CertificateState.REVOKED: revoked,
        CertificateState.EXPIRED: ended,
    }
    return Counts(
        open_orders={Stage(stage): count for stage, count in stages},
        certificates={state: count for state, count in certificates.items() if count},
        txt_records={TxtState(state): count for state, count in records},
        due_since=read_time(dialect, due),
        claimed=claimed,
    )


def as_text(groups: frozenset[str]) -> str:
    """Groups as the statements of claims take them."""
    return "".join(f"|{group}|" for group in sorted(groups))

"""Lists of orders, a page at a time, by Piccolo's query builder where the filters vary."""

from datetime import datetime
from typing import Any

from piccolo.query.methods.select import Select

from acmehub.models import Authorization, AuthorizationMode, Order, OrderStatus
from acmehub.models.identifiers import canonical
from acmehub.storage import tables
from acmehub.storage.codec import Codec, time_value
from acmehub.storage.piccolo_engine import built
from acmehub.storage.statements import Dialect, Sql, Unit

_OPEN = "stage NOT IN ('done', 'failed')"


class OrderLists:
    """The lists of `ports.store.Orders`."""

    def __init__(self, dialect: Dialect, order: Codec[Order], authorization: Codec[Authorization]) -> None:
        self._dialect = dialect
        self._order = order
        self._authorization = authorization
        newest = "ORDER BY created DESC, id DESC LIMIT"
        beyond = "AND (created, id) < (SELECT created, id FROM orders WHERE id = $3)"
        mine = "SELECT id FROM orders WHERE account_id = $1 AND status <> 'invalid' AND NOT preauthorization"
        self._of_account = Sql("{mine} {newest} $2", mine=mine, newest=newest)
        self._of_account_beyond = Sql("{mine} {beyond} {newest} $2", mine=mine, beyond=beyond, newest=newest)
        self._lapsed = Sql(
            "SELECT id FROM orders WHERE status IN ('pending', 'ready') AND expires <= $1 ORDER BY expires LIMIT $2"
        )
        self._of_flight = Sql(
            "SELECT {columns} FROM orders WHERE flight = $1 AND id <> $2 AND {open}", columns=order.columns, open=_OPEN
        )
        self._of_upstream = Sql(
            "SELECT {columns} FROM orders WHERE upstream_url = $1 AND id <> $2 AND {open} ORDER BY created, id",
            columns=order.columns,
            open=_OPEN,
        )
        self._open_of = Sql(  # unsorted: else SQLite goes through all orders of the account, which are sorted already
            "SELECT created, id FROM orders WHERE account_id = $1 AND name_set = $2 AND status IN ('pending', 'ready')"
        )
        self._latest = Sql(
            "SELECT id, name_set FROM orders WHERE account_id = $1 AND NOT preauthorization {newest} 32", newest=newest
        )
        self._one = Sql("SELECT {columns} FROM orders WHERE id = $1", columns=order.columns)
        self._same_csr = Sql(
            "SELECT {columns} FROM orders WHERE account_id = $1 AND created >= $2 AND status = 'valid' AND csr = $3"
            " ORDER BY created DESC, id DESC LIMIT 1",
            columns=order.columns,
        )
        self._held = Sql(
            "SELECT {columns}, o.mode FROM authorization_ AS a JOIN orders AS o ON o.id = a.order_id"
            " WHERE o.account_id = $1 AND o.created >= $2 AND a.status = 'valid' ORDER BY o.created DESC, o.id DESC",
            columns=authorization.prefixed("a"),
        )
        self._columns = [tables.Order._meta.get_column_by_name(name) for name in order.fields]
        self._place = Sql("SELECT created FROM orders WHERE id = $1")

    def rivals(self, order_id: str, flight: str, upstream_url: str) -> Unit[tuple[Order, ...]]:
        """See `Orders.rivals`; an order that is both appears once."""
        found: dict[str, Order] = {}
        for sql, value in ((self._of_flight, flight), (self._of_upstream, upstream_url)):
            if value:
                for row in (yield sql(value, order_id)):
                    order = self._order.read(row)
                    found[order.id] = order
        return tuple(found.values())

    def of_account(self, account_id: str, after: str, limit: int) -> Unit[tuple[str, ...]]:
        """See `Orders.of_account`."""
        if after:
            rows = yield self._of_account_beyond(account_id, limit, after)
        else:
            rows = yield self._of_account(account_id, limit)
        return tuple(row[0] for row in rows)

    def open_of(self, account_id: str, name_set: str) -> Unit[tuple[str, ...]]:
        """The ids for `Orders.open_of`."""
        rows = yield self._open_of(account_id, name_set)
        return tuple(id for _, id in sorted((tuple(row) for row in rows), reverse=True))

    def previous(self, account_id: str, name_set: str) -> Unit[Order | None]:
        """See `Orders.previous`."""
        for row in (yield self._latest(account_id)):
            if row[1] == name_set:
                rows = yield self._one(row[0])
                return self._order.read(rows[0]) if rows else None
        return None

    def same_csr(self, account_id: str, csr: bytes, since: datetime) -> Unit[Order | None]:
        """See `Orders.same_csr`."""
        rows = yield self._same_csr(account_id, time_value(self._dialect, since), csr)
        return self._order.read(rows[0]) if rows else None

    def held(
        self, account_id: str, names: frozenset[str], since: datetime
    ) -> Unit[tuple[tuple[Authorization, AuthorizationMode], ...]]:
        """See `Orders.held`."""
        rows = yield self._held(account_id, time_value(self._dialect, since))
        found = [(self._authorization.read(tuple(row)[:-1]), AuthorizationMode(row[-1])) for row in rows]
        return tuple(item for item in found if canonical(item[0].identifier.value) in names)

    def lapsed(self, now: datetime, limit: int) -> Unit[tuple[str, ...]]:
        """See `Orders.lapsed`."""
        rows = yield self._lapsed(time_value(self._dialect, now), limit)
        return tuple(row[0] for row in rows)

    def page(self, status: OrderStatus | None, account_id: str, after: str, limit: int) -> Unit[tuple[Order, ...]]:
        """See `Orders.list`."""
        order = tables.Order
        query: Select[Any] = order.select(*self._columns).order_by(order.created, order.id, ascending=False)
        if status is not None:
            query = query.where(order.status == status.value)
        if account_id:
            query = query.where(order.account_id == account_id)
        if after:
            place = yield self._place(after)
            if not place:
                return ()
            created = place[0][0]
            beyond = (order.created < created) | ((order.created == created) & (order.id < after))
            query = query.where(order.created <= created).where(beyond)  # the first is what an index can use
        rows = yield built(query.limit(limit), self._dialect)
        return tuple(map(self._order.read, rows))

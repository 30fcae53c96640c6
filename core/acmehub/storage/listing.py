"""Lists of orders and certificates, ids by how they begin, and the look-ups of newOrder and finalize."""

from datetime import datetime
from typing import Any

import msgspec
from piccolo.query.methods.select import Select
from piccolo.table import Table

from acmehub.models import Authorization, AuthorizationMode, EventKind, Order, OrderStatus, Stage
from acmehub.models.identifiers import base_name, identifier_of, is_wildcard
from acmehub.ports.lists import CertificateFilter, OrderFilter
from acmehub.storage import hot_statements, tables
from acmehub.storage.codec import Codec, time_value
from acmehub.storage.hot_statements import lasting_authorizations, page_of_orders, same_csr
from acmehub.storage.piccolo_engine import Parameter, prepared, scalar
from acmehub.storage.statements import Dialect, Unit

hot_statements._ORDERS["principal_ids"] = "{} LIKE '%' || o.principal_id || '%'"
hot_statements._CERTIFICATES["principal_ids"] = (
    "{} LIKE '%' || (SELECT a.principal_id FROM account AS a WHERE a.id = c.account_id) || '%'"
)
_LATEST = 32
_OPEN = (OrderStatus.PENDING, OrderStatus.READY, OrderStatus.PROCESSING)


class OrderLists:
    """The lists of `ports.store.Orders`."""

    def __init__(self, dialect: Dialect, order: Codec[Order], authorization: Codec[Authorization]) -> None:
        self._dialect = dialect
        self._order = order
        self._authorization = authorization
        table = tables.Order
        mine, its_rows = table.account_id == Parameter(1), (table.id, table.status, table.preauthorization)
        first = newest_first(table.select(*its_rows).where(mine), table, dialect, Parameter(2))
        self._of_account = prepared(first, dialect)
        beyond = newest_first(table.select(*its_rows).where(mine), table, dialect, Parameter(2), Parameter(3))
        self._of_account_beyond = prepared(beyond, dialect)
        unfinished = table.stage.not_in(["done", "failed"]) & (table.id != Parameter(2))
        self._of_lock_key = prepared(order.select().where(table.lock_key == Parameter(1), unfinished), dialect)
        of_upstream = order.select().where(table.upstream_url == Parameter(1), table.lock_key.is_not_null(), unfinished)
        self._of_upstream = prepared(of_upstream, dialect)
        is_open = table.status.is_in(["pending", "ready"])
        lapsed = table.select(table.id).where(is_open, table.expires <= Parameter(1))
        self._lapsed = prepared(lapsed.order_by(table.expires).limit(Parameter(2)), dialect)
        # unsorted: else SQLite goes through all orders of the account, which are sorted already
        open_of = table.select(table.created, table.id).where(
            table.account_id == Parameter(1), table.name_set == Parameter(2), is_open
        )
        self._open_of = prepared(open_of, dialect)
        open_rows = table.select(table.account_id).where(table.account_id == Parameter(1), is_open)
        self._open_rows = prepared(open_rows.limit(Parameter(2)), dialect)
        latest = table.select(table.id, table.name_set, table.preauthorization).where(table.account_id == Parameter(1))
        self._latest = prepared(latest.order_by(table.created, table.id, ascending=False).limit(_LATEST), dialect)
        self._one = prepared(order.select().where(table.id == Parameter(1)), dialect)
        self._same_csr = same_csr(order.columns)
        self._held = lasting_authorizations(authorization.prefixed("held"))

    def lock_holders(self, order_id: str, lock_key: str, upstream_url: str) -> Unit[tuple[Order, ...]]:
        """`Orders.lock_holders`; an order that is both appears once."""
        found: dict[str, Order] = {}
        for sql, value in ((self._of_lock_key, lock_key), (self._of_upstream, upstream_url)):
            if value:
                for row in (yield sql(value, order_id)):
                    order = self._order.read(row)
                    found[order.id] = order
        return tuple(found.values())

    def of_account(self, account_id: str, after: str, limit: int) -> Unit[tuple[tuple[str, ...], str]]:
        """`Orders.of_account`."""
        if after:
            rows = yield self._of_account_beyond(account_id, limit + 1, after)
        else:
            rows = yield self._of_account(account_id, limit + 1)
        page = rows[:limit]
        ids = tuple(id for id, status, hidden in page if status != "invalid" and not hidden)
        return ids, page[-1][0] if len(rows) > limit else ""

    def open_count(self, account_id: str, limit: int) -> Unit[int]:
        """`Orders.open_count`."""
        rows = yield self._open_rows(account_id, limit)
        return len(rows)

    def open_of(self, account_id: str, name_set: str) -> Unit[tuple[str, ...]]:
        """The ids for `Orders.open_of`."""
        rows = yield self._open_of(account_id, name_set)
        return tuple(id for _, id in sorted((tuple(row) for row in rows), reverse=True))

    def previous(self, account_id: str, name_set: str) -> Unit[Order | None]:
        """`Orders.previous`."""
        for row in (yield self._latest(account_id)):
            if row[1] == name_set and not row[2]:
                rows = yield self._one(row[0])
                return self._order.read(rows[0]) if rows else None
        return None

    def same_csr(self, account_id: str, csr: bytes, since: datetime) -> Unit[Order | None]:
        """`Orders.same_csr`."""
        rows = yield self._same_csr(account_id, csr, time_value(self._dialect, since))
        return self._order.read(rows[0]) if rows else None

    def held(
        self, account_id: str, names: tuple[str, ...], since: datetime, limit: int
    ) -> Unit[tuple[tuple[Authorization, AuthorizationMode], ...]]:
        """`Orders.valid_authorizations`."""
        found: list[tuple[Authorization, AuthorizationMode]] = []
        opened = time_value(self._dialect, since)
        for name in names:
            identifier = msgspec.json.encode(identifier_of(name)).decode()
            for wildcard in (False, True):
                rows = yield self._held(account_id, identifier, wildcard, limit, opened)
                found += [(self._authorization.read(tuple(row)[:-1]), AuthorizationMode(row[-1])) for row in rows]
        return tuple(found)

    def lapsed(self, now: datetime, limit: int) -> Unit[tuple[str, ...]]:
        """Ids for `Orders.lapsed`."""
        rows = yield self._lapsed(time_value(self._dialect, now), limit)
        return tuple(row[0] for row in rows)

    def page(self, wanted: OrderFilter, after: str, limit: int) -> Unit[tuple[Order, ...]]:
        """A page of `Orders.list`."""
        given = given_of(wanted, self._dialect)
        if wanted.name:
            identifier = msgspec.json.encode(identifier_of(base_name(wanted.name))).decode()
            given["name"] = (identifier, is_wildcard(wanted.name))
        over = (Stage.DONE, Stage.FAILED)
        if wanted.failing or wanted.status in _OPEN or (wanted.stage is not None and wanted.stage not in over):
            given["unfinished"] = ()
        if wanted.failing:
            given["failing"] = (EventKind.WAITS_FOR_LOCK.value,)
        if after:
            given["after"] = (after,) * 3
        values = [value for values in given.values() for value in values]
        rows = yield page_of_orders(self._order.prefixed("page"), tuple(given))(*values, limit)
        return tuple(map(self._order.read, rows))


def given_of(wanted: OrderFilter | CertificateFilter, dialect: Dialect) -> dict[str, tuple[Any, ...]]:
    """The fields of a filter that narrow something, with the values of their conditions."""
    given: dict[str, tuple[Any, ...]] = {}
    for name, value in msgspec.structs.asdict(wanted).items():
        if isinstance(value, frozenset):
            given[name] = (" ".join(sorted(value)),)
        elif isinstance(value, datetime):
            given[name] = (time_value(dialect, value),)
        elif value:
            given[name] = (str(value),)
    return given


class IdRange:
    """The ids of a table by how they begin: a range of its key."""

    def __init__(self, table: type[Table], dialect: Dialect) -> None:
        id = table._meta.get_column_by_name("id")
        found = table.select(id).where(id >= Parameter(1), id < Parameter(2)).order_by(id)
        self._range = prepared(found.limit(Parameter(3)), dialect)

    def read(self, prefix: str, limit: int) -> Unit[tuple[str, ...]]:
        """`Resources.ids`."""
        beyond = prefix[:-1] + _NEXT_DIGIT[prefix[-1]]
        rows = yield self._range(prefix, beyond, limit)
        return tuple(row[0] for row in rows)


_NEXT_DIGIT = dict(zip("0123456789abcdef", "123456789abcdefg", strict=True))


def newest_first(
    query: Select[Any], table: type[Table], dialect: Dialect, limit: int, after: str | Parameter = ""
) -> Select[Any]:
    """The query's rows by `created` and `id`; with `after`, from beyond the row of that id (none without it)."""
    created, id = (table._meta.get_column_by_name(name) for name in ("created", "id"))
    if after:
        at = scalar(table.select(created).where(id == after), dialect)
        query = query.where(created <= at)  # what an index can use
        query = query.where((created < at) | ((created == at) & (id < after)))
    return query.order_by(created, id, ascending=False).limit(limit)

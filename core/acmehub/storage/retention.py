"""Forgetting what is long over: an order and all that belongs to it, in one transaction per batch."""

from datetime import datetime

from acmehub.storage.codec import time_value
from acmehub.storage.statements import Batch, Dialect, Sql, Unit

_PARTS = (  # in the order that the foreign keys allow
    "DELETE FROM certificate_name WHERE certificate_id IN (SELECT id FROM certificate WHERE order_id = $1)",
    "DELETE FROM certificate WHERE order_id = $1",
    "DELETE FROM event WHERE order_id = $1",
    "DELETE FROM authorization_ WHERE order_id = $1",
    "DELETE FROM orders WHERE id = $1",
)


class Retention:
    """The statements of `Orders.prune`."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._over = Sql(
            "SELECT o.id FROM orders AS o WHERE o.created < $1 AND o.stage IN ('done', 'failed')"
            " AND NOT EXISTS (SELECT 1 FROM certificate AS c WHERE c.order_id = o.id AND c.not_after >= $1)"
            " AND NOT EXISTS (SELECT 1 FROM txt_record AS t WHERE t.order_id = o.id)"
            " ORDER BY o.created, o.id LIMIT $2"
        )
        self._parts = tuple(map(Sql, _PARTS))

    def over(self, before: datetime, limit: int) -> Unit[tuple[str, ...]]:
        """Which orders can go; nothing that is over comes to life again, so that this needs no lock."""
        rows = yield self._over(time_value(self._dialect, before), limit)
        return tuple(row[0] for row in rows)

    def forget(self, order_ids: tuple[str, ...]) -> Unit[None]:
        """Delete them."""
        yield Batch(tuple(part.many([(id,) for id in order_ids]) for part in self._parts))

"""Forgetting what is long over: an order and all that belongs to it, in one transaction per batch."""

from datetime import datetime

from acmehub.storage import tables
from acmehub.storage.codec import time_value
from acmehub.storage.hot_statements import OVER_ORDERS
from acmehub.storage.piccolo_engine import Parameter, prepared, speaking
from acmehub.storage.statements import Batch, Dialect, Unit


class Retention:
    """The statements of `Orders.prune`."""

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
        rows = yield OVER_ORDERS(time_value(self._dialect, before), limit)
        return tuple(row[0] for row in rows)

    def forget(self, order_ids: tuple[str, ...]) -> Unit[None]:
        """Delete them."""
        yield Batch(tuple(part.many([(id,) for id in order_ids]) for part in self._parts))

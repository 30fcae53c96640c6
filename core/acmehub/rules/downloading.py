"""An order whose certificate exists at the CA: from upstream `valid` on, and after a deadline that passed meanwhile."""

from datetime import datetime, timedelta

from msgspec.structs import replace

from acmehub.models import Order, OrderStatus, Stage
from acmehub.rules.orders import with_stage


def to_downloading(order: Order, certificate_url: str | None, now: datetime) -> Order:
    """The upstream order is valid: only time may end this one now. An empty URL: the CA has not given it yet."""
    return replace(with_stage(order, Stage.DOWNLOADING), upstream_certificate=certificate_url or "", run_at=now)


def may_be_taken_up(order: Order) -> bool:
    """Whether an invalid order has a certificate at the CA that was not fetched in time."""
    return order.status is OrderStatus.INVALID and order.upstream_certificate is not None


def taken_up(order: Order, now: datetime, issuance_timeout: timedelta) -> Order:
    """An operator has the certificate of such an order fetched after all, from the same upstream order.

    The one move that the tables do not have: for clients an invalid order is final (RFC 8555 section 7.1.6), and none
    does more than read it; it may read `processing` again, and then `valid`.
    """
    return replace(
        order,
        status=OrderStatus.PROCESSING,
        stage=Stage.DOWNLOADING,
        error=None,
        run_at=now,
        attempts=0,
        deadline=now + issuance_timeout,
    )

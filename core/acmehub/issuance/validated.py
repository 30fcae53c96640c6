"""The CA has validated an order: its client may finalize, and a CSR that is there is sent at once."""

from datetime import datetime, timedelta

from msgspec.structs import replace

from acmehub.issuance.job import changed
from acmehub.models import Event, Order, Stage
from acmehub.ports.authority import UpstreamOrder
from acmehub.rules import orders
from acmehub.rules.orders import Change, OrderBundle


def authorized(
    current: OrderBundle, upstream: UpstreamOrder, now: datetime, issuance_timeout: timedelta, *events: Event
) -> Change:
    """The rule: the upstream order takes a CSR, so the TXT records are no longer needed."""
    authorizations = tuple(
        replace(item, upstream_status="valid") if item.upstream_url is not None else item
        for item in current.authorizations
    )
    order = replace(orders.with_stage(current.order, Stage.AUTHORIZED), upstream_finalize=upstream.finalize)
    after = orders.with_client_status(OrderBundle(order, authorizations), now)
    order = after.order
    order = to_finalizing(order, now, issuance_timeout) if order.csr is not None else replace(order, run_at=None)
    return Change(
        order=order,
        authorizations=changed(current.authorizations, after.authorizations),
        events=events,
        withdraw=True,
    )


def to_finalizing(order: Order, now: datetime, issuance_timeout: timedelta) -> Order:
    """Stage `finalizing`; the issuance timeout starts again, because the client may have taken its time."""
    return replace(
        orders.with_stage(order, Stage.FINALIZING), run_at=now, deadline=max(order.deadline, now + issuance_timeout)
    )

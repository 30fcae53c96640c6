"""The client's CSR is taken (RFC 8555 section 7.4), and the way from it to the upstream's finalize."""

from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from acmehub.models import Event, EventKind, Order, OrderStatus, Stage
from acmehub.models.problems import Problem, ProblemType
from acmehub.rules.orders import Change, Lease, OrderBundle, with_stage, with_status


class Ready(msgspec.Struct, frozen=True):
    """The upstream order at `url` was read `ready` lately, by the process that wrote the order with `fence`."""

    url: str
    fence: int
    issuance_timeout: timedelta


class Handover(msgspec.Struct, frozen=True):
    """The lease with which an order is claimed in the write that makes it due; with `ready`, its CSR can be sent
    without another look."""

    lease: Lease
    ready: Ready | None = None


def claimed(bundle: OrderBundle, handover: Handover, lock_key: str | None = None) -> OrderBundle:
    """A new order as it is stored by the process that goes on with it at once; with `lock_key`, it has that lock."""
    lease = handover.lease
    order = replace(
        bundle.order, lock_key=lock_key, lease_owner=lease.owner, lease_until=lease.until, fence=bundle.order.fence + 1
    )
    return OrderBundle(order, bundle.authorizations)


def finalize(bundle: OrderBundle, csr: bytes, now: datetime, handover: Handover | None = None) -> Change:
    """The client's CSR (DER, already checked) is taken; the same CSR again changes nothing.

    docs/client-rules.md rules 4, 5.

    With `handover`, an order that only waited for its CSR is claimed in the same write, so that the process that
    answers can go on without another one; at stage `finalizing` if the upstream order is known to take a CSR, else at
    `authorized`, where that is looked at. Raises `orderNotReady` (RFC 8555 section 7.4).
    """
    order = bundle.order
    if order.status in (OrderStatus.PROCESSING, OrderStatus.VALID) and order.csr == csr:
        return Change(order=order)
    if order.status is not OrderStatus.READY or order.expires <= now:
        raise Problem(ProblemType.ORDER_NOT_READY, _why_not_ready(order, now))
    order = replace(with_status(order, OrderStatus.PROCESSING), csr=csr)
    if order.stage is Stage.AUTHORIZED:
        order = _due(order, now, handover)
    return Change(order=order, events=(Event(order_id=order.id, at=now, kind=EventKind.FINALIZE_REQUESTED),))


def _due(order: Order, now: datetime, handover: Handover | None) -> Order:
    if handover is None or (order.lease_until is not None and order.lease_until > now):
        return replace(order, run_at=now)
    ready, lease = handover.ready, handover.lease
    if ready is not None and (ready.url, ready.fence) == (order.upstream_url, order.fence):
        order = to_finalizing(order, now, ready.issuance_timeout)
    return replace(order, run_at=now, lease_owner=lease.owner, lease_until=lease.until, fence=order.fence + 1)


def to_finalizing(order: Order, now: datetime, issuance_timeout: timedelta) -> Order:
    """Stage `finalizing`; the issuance timeout starts again, because the client may have taken its time."""
    return replace(
        with_stage(order, Stage.FINALIZING), run_at=now, deadline=max(order.deadline, now + issuance_timeout)
    )


def _why_not_ready(order: Order, now: datetime) -> str:
    if order.status is OrderStatus.INVALID and order.error is not None:
        return f"the order is invalid: {order.error.detail}"
    if order.expires <= now:
        return "the order has expired"
    if order.status is OrderStatus.PENDING:
        return "the order's authorizations are not all valid yet"
    return f"the order is {order.status.value} and was finalized with another CSR"

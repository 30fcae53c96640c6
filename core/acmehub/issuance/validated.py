"""The CA has validated an order: its client may finalize, and a CSR that is there is sent at once."""

from datetime import datetime, timedelta

from msgspec.structs import replace

from acmehub.issuance.job import changed
from acmehub.models import AuthorizationMode, Event, Order, Stage
from acmehub.ports.authority import UpstreamOrder
from acmehub.ports.store import Store
from acmehub.rules import orders
from acmehub.rules.finalizing import to_finalizing
from acmehub.rules.orders import Change, OrderBundle


async def is_approved(store: Store, order: Order, now: datetime) -> bool:
    """Whether the order turns ready now without a response of its client: mode `auto` chose `accept`, and the client
    has not had the time to respond (docs/client-rules.md section 4.4)."""
    if order.mode is not AuthorizationMode.ACCEPT or now > order.created + orders.TIME_TO_ANSWER:
        return False
    token = await store.tokens.get(order.token_id)
    return token is not None and token.authorization is AuthorizationMode.AUTO


def authorized(
    current: OrderBundle,
    upstream: UpstreamOrder,
    now: datetime,
    issuance_timeout: timedelta,
    *events: Event,
    approved: bool,
) -> Change:
    """The rule: the upstream order takes a CSR, so the removal of its TXT records is scheduled; `approved` is what
    `is_approved` says."""
    authorizations = tuple(
        replace(item, upstream_status="valid") if item.upstream_url is not None else item
        for item in current.authorizations
    )
    order = replace(orders.with_stage(current.order, Stage.AUTHORIZED), upstream_finalize=upstream.finalize)
    after = orders.with_client_status(OrderBundle(order, authorizations), now)
    if approved:
        after, more = approve(after, now)
        events += more
    order = after.order
    order = to_finalizing(order, now, issuance_timeout) if order.csr is not None else replace(order, run_at=None)
    return Change(
        order=order,
        authorizations=changed(current.authorizations, after.authorizations),
        events=events,
        schedule_removal=True,
    )


def approve(bundle: OrderBundle, now: datetime) -> tuple[OrderBundle, tuple[Event, ...]]:
    """The order as `orders.approve` changes it, with the events of that."""
    change = orders.approve(bundle, now)
    new = {item.id: item for item in change.authorizations}
    authorizations = tuple(new.get(item.id, item) for item in bundle.authorizations)
    return OrderBundle(change.order, authorizations), change.events

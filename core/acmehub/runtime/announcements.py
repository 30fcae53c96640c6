"""Tells plugins that an order is finished (hook `order_finished`)."""

from datetime import datetime

from acmehub.models import Order
from acmehub.ports.plugins import OrderFinished
from acmehub.ports.store import Store
from acmehub.runtime.plugins import Registry


async def announce(store: Store, registry: Registry, order: Order, now: datetime) -> None:
    """Call the hook; reads nothing while no plugin has it."""
    if not registry.hook.order_finished.get_hookimpls():
        return
    principal = await store.principals.get(order.principal_id)
    authority = await store.authorities.get(order.authority_id)
    registry.news(
        "order_finished",
        OrderFinished(
            order_id=order.id,
            principal=principal.name if principal else "",
            names=tuple(item.value for item in order.identifiers),
            status=order.status.value,
            authority=authority.name if authority else "",
            at=now,
            error=order.error.detail if order.error else "",
        ),
    )

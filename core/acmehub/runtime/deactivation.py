"""Cancels the open orders of an account that its client or an operator deactivates (RFC 8555 section 7.3.6)."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from msgspec.structs import replace

from acmehub.models import Order, OrderStatus
from acmehub.models.problems import Problem, ProblemType
from acmehub.ports.lists import OrderFilter
from acmehub.ports.store import Store
from acmehub.rules.orders import Change, OrderBundle, failed
from acmehub.runtime.announcements import apply_end

_OPEN = (OrderStatus.PENDING, OrderStatus.READY)
_AT_ONCE = 100


async def cancel_open_orders(
    store: Store, account_id: str, now: datetime, announce: Callable[[Order], Awaitable[None]] | None = None
) -> None:
    """Fail the account's pending and ready orders; certificates stay valid. `announce` is told of each one.

    Orders in issuance are ended by their next step, unless their authority may have the CSR (`rules/rights.py`).
    """
    reason = Problem(ProblemType.UNAUTHORIZED, "the account was deactivated").document()

    def rule(bundle: OrderBundle) -> Change:
        if bundle.order.status not in _OPEN:
            return Change(order=bundle.order)
        fenced = replace(bundle.order, fence=bundle.order.fence + 1)  # a worker's late write is void
        return failed(OrderBundle(fenced, bundle.authorizations), reason, now)

    for status in _OPEN:
        while found := await store.orders.list(OrderFilter(status=status, account_id=account_id), limit=_AT_ONCE):
            for order in found:
                bundle, ended = await apply_end(store, order.id, rule)
                if ended and announce is not None:
                    await announce(bundle.order)

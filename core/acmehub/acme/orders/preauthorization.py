"""Pre-authorization (RFC 8555 section 7.4.1): an authorization without an order that the client could see.

What is stored is an order all the same, hidden from its client: it went through the checks of newOrder, its mode
decides how the authorization turns valid, and with it the authorization lapses.
"""

from datetime import datetime

from msgspec.structs import replace

from acmehub.models import AuthorizationStatus, OrderStatus
from acmehub.models.identifiers import Identifier, is_wildcard
from acmehub.models.problems import Problem, ProblemType
from acmehub.ports.store import Store
from acmehub.rules.orders import OrderBundle, as_of


def check_preauthorized(identifier: Identifier) -> None:
    """Refuse a wildcard: an authorization of its own can only be for the very identifier (RFC 8555 section 7.4.1)."""
    if is_wildcard(identifier.value):
        raise Problem(
            ProblemType.REJECTED_IDENTIFIER, "a wildcard cannot be authorized in advance: name it in a newOrder"
        )


def hidden(bundle: OrderBundle) -> OrderBundle:
    """A new order as the carrier of a pre-authorization. Where that is valid at once, nothing is ordered upstream: the
    upstream is not asked before somebody wants a certificate."""
    order = bundle.order
    idle = order.status is OrderStatus.READY
    return OrderBundle(
        replace(order, preauthorization=True, run_at=None if idle else order.run_at), bundle.authorizations
    )


async def earlier(store: Store, fresh: OrderBundle, now: datetime) -> OrderBundle | None:
    """The account's newest pre-authorization of the same name that holds, or waits for its client in the same mode."""
    for bundle in await store.orders.open_of(fresh.order.account_id, fresh.order.name_set):
        if bundle.order.preauthorization and bundle.order.expires > now:
            status = as_of(bundle.authorizations[0], now, bundle.order.status).status
            waits = status is AuthorizationStatus.PENDING and bundle.order.mode is fresh.order.mode
            if waits or status is AuthorizationStatus.VALID:
                return bundle
    return None

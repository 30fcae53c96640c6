"""Authorization reuse (mode `verify`): an account's earlier proofs serve its new orders, until it deactivates them."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from acmehub.models import Authorization, AuthorizationMode, Event
from acmehub.models.identifiers import canonical
from acmehub.ports.store import Store
from acmehub.rules.authorization_reuse import names_of, with_earlier_proofs
from acmehub.rules.orders import Lifetimes, OrderBundle

_AT_ONCE = 100


async def reuse_authorizations(
    store: Store, bundle: OrderBundle, lifetimes: Lifetimes, now: datetime
) -> tuple[OrderBundle, tuple[Event, ...]]:
    """A new order with what its account has proven before already valid, and a line of its timeline for each.

    Reads the store only in mode `verify` and where proofs are reused (`[verify] remember_days`).
    """
    if bundle.order.mode is not AuthorizationMode.VERIFY or not lifetimes.remember:
        return bundle, ()
    earlier = await store.orders.valid_authorizations(bundle.order.account_id, names_of(bundle), _since(lifetimes, now))
    return with_earlier_proofs(bundle, earlier, lifetimes.remember, now)


async def deactivate_reusable(
    store: Store,
    given_up: Authorization,
    lifetimes: Lifetimes,
    now: datetime,
    deactivate: Callable[[Authorization], Awaitable[object]],
) -> None:
    """Deactivate what else the account has proven of a name that it gives up, so that no proof of it is reused."""
    if not lifetimes.remember:
        return
    name = canonical(given_up.identifier.value)
    while True:
        found = await store.orders.valid_authorizations(given_up.account_id, (name,), _since(lifetimes, now), _AT_ONCE)
        left = [item for item, mode in found if mode is AuthorizationMode.VERIFY and _same_type(item, given_up)]
        for item in left:
            await deactivate(item)
        if not left:
            return


def _same_type(one: Authorization, other: Authorization) -> bool:
    return one.identifier.type == other.identifier.type


def _since(lifetimes: Lifetimes, now: datetime) -> datetime:
    """When the oldest order was opened whose proof may be reused."""
    return now - lifetimes.remember - lifetimes.order

"""Remembered proofs of an account (mode `verify`): looked up for a new order, forgotten with a deactivation."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from acmehub.models import Authorization, AuthorizationMode, Event
from acmehub.models.identifiers import canonical
from acmehub.ports.store import Store
from acmehub.rules.authorization_reuse import names_of, recalled
from acmehub.rules.orders import Lifetimes, OrderBundle


async def recall(
    store: Store, bundle: OrderBundle, lifetimes: Lifetimes, now: datetime
) -> tuple[OrderBundle, tuple[Event, ...]]:
    """A new order with what its account has proven before, see `remembering`.

    The store is asked only if that may count.
    """
    if bundle.order.mode is not AuthorizationMode.VERIFY or not lifetimes.remember:
        return bundle, ()
    held = await store.orders.held(bundle.order.account_id, names_of(bundle), _since(lifetimes, now))
    return recalled(bundle, held, lifetimes.remember, now)


async def forget(
    store: Store,
    given_up: Authorization,
    lifetimes: Lifetimes,
    now: datetime,
    deactivate: Callable[[Authorization], Awaitable[object]],
) -> None:
    """Deactivate what else the account has proven of a name that it gives up, so that nothing is remembered of it."""
    if not lifetimes.remember:
        return
    name = canonical(given_up.identifier.value)
    for item, mode in await store.orders.held(given_up.account_id, (name,), _since(lifetimes, now)):
        if mode is AuthorizationMode.VERIFY and item.identifier.type == given_up.identifier.type:
            await deactivate(item)


def _since(lifetimes: Lifetimes, now: datetime) -> datetime:
    """When the oldest order was opened that a remembered proof may be of."""
    return now - lifetimes.remember - lifetimes.order

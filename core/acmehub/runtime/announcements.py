"""Tells the log, and plugins (hook `order_finished`), that an order is finished."""

import logging
import shlex
from collections.abc import Callable

from acmehub.models import EventKind, Order, OrderStatus
from acmehub.models.problems import URN
from acmehub.ports.clock import Clock
from acmehub.ports.plugins import OrderFinished
from acmehub.ports.store import Store, StoreUnavailable
from acmehub.rules.orders import Change, OrderBundle
from acmehub.runtime.advice import advice
from acmehub.runtime.plugins import Registry
from acmehub.runtime.snapshot import Snapshots

_ENDED = (OrderStatus.VALID, OrderStatus.INVALID)
_FRESH = 60.0  # seconds: how old an authority's name may be
_log = logging.getLogger(__name__)


async def apply_end(store: Store, order_id: str, rule: Callable[[OrderBundle], Change]) -> tuple[OrderBundle, bool]:
    """Apply a rule that may end an order (`Orders.apply`); whether it was this write that ended it, so that it is
    announced once. The hidden order of a pre-authorization is none that ends."""
    ends = False

    def watched(stored: OrderBundle) -> Change:
        nonlocal ends
        change = rule(stored)
        before, after = stored.order, change.order
        ends = after.status in _ENDED and before.status not in _ENDED and not after.preauthorization
        return change

    bundle = await store.orders.apply(order_id, watched)
    return bundle, ends


class Announcements:
    """Called once with each order that has become valid or invalid, by the process that wrote it."""

    def __init__(self, store: Store, registry: Registry, snapshots: Snapshots, clock: Clock) -> None:
        self._store = store
        self._registry = registry
        self._snapshots = snapshots
        self._clock = clock

    async def __call__(self, order: Order, trouble: EventKind | None = None) -> None:
        """`trouble` is what ended it. Of plugins, only those that have the hook cost a read."""
        names = tuple([item.value for item in order.identifiers])
        now = self._clock.now()
        authority = await self._authority(order.authority_id)
        extra: dict[str, object] = {
            "order": order.id,
            "names": names,
            "account": order.account_id,
            "authority": authority,
            "seconds": round((now - order.created).total_seconds(), 3),
        }
        if order.status is OrderStatus.VALID:
            _log.info("order finished", extra=extra)
        else:
            if order.error is not None:
                extra |= {"problem": order.error.type.removeprefix(URN), "reason": order.error.detail}
            todo = advice(trouble, order=order.id, authority=shlex.quote(authority), failed=True)
            _log.warning("order failed", extra={**extra, "todo": todo} if todo else extra)
        if not self._registry.hook.order_finished.get_hookimpls():
            return
        principal = await self._store.principals.get(order.principal_id)
        row = await self._store.authorities.get(order.authority_id)
        self._registry.news(
            "order_finished",
            OrderFinished(
                order_id=order.id,
                principal=principal.name if principal else "",
                names=names,
                status=order.status.value,
                authority=row.name if row else "",
                at=now,
                error=order.error.detail if order.error else "",
            ),
        )

    async def _authority(self, id: str) -> str:
        """The name of an authority; its id when it is gone or cannot be read."""
        try:
            await (await self._snapshots.recent(_FRESH)).authorities()
        except StoreUnavailable:
            return id
        return self._snapshots.name_of(id)

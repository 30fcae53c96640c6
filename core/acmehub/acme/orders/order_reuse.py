"""Order reuse and CSR idempotency: looks up what a client that asks again has already (`rules/order_reuse.py`)."""

from datetime import datetime, timedelta

import msgspec

from acmehub.models import AuthorizationMode, Certificate, Event, EventKind, Order, Stage
from acmehub.ports.store import Store
from acmehub.rules.order_reuse import is_as_new, same_certificate, serves, takes_earlier_certificate
from acmehub.rules.orders import OrderBundle
from acmehub.runtime.lru import Lru
from acmehub.runtime.snapshot import Snapshots

NOTED_EVERY = timedelta(minutes=10)
_MOST_NOTED = 10_000


class OrderReuse(msgspec.Struct, frozen=True):
    """What is reused: `[acme] join_orders`, and `[acme] same_csr_seconds` (zero: no certificate is)."""

    store: Store
    snapshots: Snapshots
    join: bool = True
    same_csr: timedelta = timedelta(hours=1)
    noted: Lru[str, datetime] = msgspec.field(default_factory=lambda: Lru(_MOST_NOTED))

    async def find_open(self, fresh: OrderBundle, asked: AuthorizationMode, now: datetime) -> OrderBundle | None:
        """The newest open order that serves its client as well as `fresh`, which is not stored; its timeline says so.

        `asked` is the token's mode. Costs one read where there is none, and nothing with an authority that signs by
        itself: an order is cheap there, and clients that share an account do not get into each other's way.
        """
        if not self.join or fresh.order.stage is Stage.AUTHORIZED:
            return None
        order = fresh.order
        for bundle in await self.store.orders.open_of(order.account_id, order.name_set):
            if serves(bundle, fresh, asked, now):
                await self._note(bundle.order.id, now)
                return bundle
        return None

    async def _note(self, order_id: str, now: datetime) -> None:
        """A line of the timeline, at most one in ten minutes: a client in a loop does not make it long."""
        last = self.noted.get(order_id)
        if last is None or now - last >= NOTED_EVERY:
            self.noted.put(order_id, now)
            event = Event(order_id=order_id, at=now, kind=EventKind.ORDER_REUSED, detail="the client joined it")
            await self.store.records.note([event])

    async def certificate_for(self, order: Order, csr: bytes, now: datetime) -> Certificate | None:
        """The certificate that the account's earlier order got lately for the very same CSR (DER), if it is as good as
        a new one. None at an authority that signs by itself, where a new one costs nothing."""
        if not self.same_csr or not takes_earlier_certificate(order):
            return None
        since = now - self.same_csr
        earlier = await self.store.orders.same_csr(order.account_id, csr, since)
        if earlier is None or earlier.certificate_id is None or not same_certificate(earlier, order):
            return None
        certificate = await self.store.certificates.get(earlier.certificate_id)
        if certificate is None:
            return None
        campaigns = await (await self.snapshots.current()).campaigns()
        return certificate if is_as_new(certificate, order, campaigns.rows, since, now) else None

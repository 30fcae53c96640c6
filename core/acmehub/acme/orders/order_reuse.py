"""Clients that ask again for what they have: the open order is joined, a CSR gets its certificate a second time.

docs/reliability.md 2.14; docs/adr/0012-who-asks-again.md.
"""

from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from acmehub.models import (
    AuthorizationMode,
    AuthorizationStatus,
    Certificate,
    Event,
    EventKind,
    Order,
    OrderStatus,
    Stage,
)
from acmehub.ports.store import Store
from acmehub.rules import orders
from acmehub.rules.orders import UPSTREAM_VALIDATED, Change, OrderBundle
from acmehub.runtime.snapshot import Snapshots

ENOUGH_TIME = timedelta(hours=1)
"""What an order must have left to be joined: its client is about to begin."""

_GOOD = frozenset({AuthorizationStatus.PENDING, AuthorizationStatus.VALID})


class OrderReuse(msgspec.Struct, frozen=True):
    """How much is made of repetition: `[acme] join_orders` and `[acme] same_csr_seconds` (nothing: never)."""

    store: Store
    snapshots: Snapshots
    join: bool = True
    same_csr: timedelta = timedelta(hours=1)

    async def find_open(self, fresh: OrderBundle, asked: AuthorizationMode, now: datetime) -> OrderBundle | None:
        """The newest open order that serves its client as well as `fresh`, which is not stored, would; its timeline
        says so. `asked` is the token's mode. Costs one read where there is none, and nothing with an authority that
        signs by itself: an order is cheap there, and clients that share an account do not get into each other's way."""
        if not self.join or fresh.order.stage is Stage.AUTHORIZED:
            return None
        order = fresh.order
        for bundle in await self.store.orders.open_of(order.account_id, order.name_set):
            if serves(bundle, fresh, asked, now):
                event = Event(
                    order_id=bundle.order.id, at=now, kind=EventKind.ORDER_REUSED, detail="the client joined it"
                )
                await self.store.records.note([event])
                return bundle
        return None

    async def issued_for(self, order: Order, csr: bytes, now: datetime) -> Certificate | None:
        """The certificate that the account's own earlier order got lately for the very same CSR (DER), if it is as good
        as a new one. None at an authority that signs by itself, where a new one costs nothing."""
        if not self.same_csr or order.status is not OrderStatus.READY or not _relayed(order):
            return None
        earlier = await self.store.orders.same_csr(order.account_id, csr, now - self.same_csr)
        if earlier is None or earlier.certificate_id is None or not _same_wish(earlier, order):
            return None
        certificate = await self.store.certificates.get(earlier.certificate_id)
        if certificate is None or certificate.created < now - self.same_csr or not _as_new(certificate, order, now):
            return None
        campaigns = await (await self.snapshots.current()).campaigns()
        if any(item.ended is None and item.created > certificate.created for item in campaigns.rows):
            return None  # it may be one of those that are to be replaced
        return certificate


def serves(bundle: OrderBundle, fresh: OrderBundle, asked: AuthorizationMode, now: datetime) -> bool:
    """Whether an open order is what its client would get with the new one, `fresh`."""
    order, new = bundle.order, fresh.order
    if order.preauthorization or order.identifiers != new.identifiers or not _same_wish(order, new):
        return False
    if order.replaces != new.replaces or not _lasts(order, now):
        return False
    if any(item.status not in _GOOD or item.expires <= now for item in bundle.authorizations):
        return False
    if order.status is OrderStatus.PENDING:
        return order.mode is new.mode and new.status is OrderStatus.PENDING
    approved = asked is AuthorizationMode.AUTO and order.stage in UPSTREAM_VALIDATED  # whatever mode it began in
    return order.status is OrderStatus.READY and (order.mode is new.mode or approved)


def _lasts(order: Order, now: datetime) -> bool:
    issuance_timeout = order.stage is Stage.AUTHORIZED or order.deadline > now + ENOUGH_TIME
    return issuance_timeout and order.expires > now + ENOUGH_TIME


def _same_wish(one: Order, other: Order) -> bool:
    return (
        one.name_set == other.name_set
        and one.authority_id == other.authority_id
        and one.client_profile == other.client_profile
        and one.profile == other.profile
        and one.not_before == other.not_before
        and one.not_after == other.not_after
    )


def _relayed(order: Order) -> bool:
    """Whether a relaying authority works on the order: else it stands at `authorized` from the beginning. (One that
    gave its upstream order away cannot be told from those; it is ordered anew.)"""
    return order.stage is not Stage.AUTHORIZED or order.upstream_url is not None


def _as_new(certificate: Certificate, order: Order, now: datetime) -> bool:
    """Whether a certificate is the account's own, good, not to be replaced, and has most of its life before it."""
    wanted = order.replaces is None and certificate.replaced_by is None and certificate.revoked is None
    left, life = certificate.not_after - now, certificate.not_after - certificate.not_before
    return wanted and certificate.account_id == order.account_id and left * 2 > life


def hand_out_again(bundle: OrderBundle, csr: bytes, certificate: Certificate, now: datetime) -> Change:
    """The rule: the order turns valid with `certificate`, which was issued for this CSR (DER), at no cost upstream.

    Whoever works on the order is fenced off; its flight and its records are given up, and its upstream order, which
    another order may go on with, is nobody's. An order that is not ready goes the way of every CSR (`orders.finalize`).
    """
    order = bundle.order
    if order.status is not OrderStatus.READY or order.expires <= now:
        return orders.finalize(bundle, csr, now)
    valid = orders.with_status(orders.with_status(order, OrderStatus.PROCESSING), OrderStatus.VALID)
    done = replace(
        orders.with_stage(valid, Stage.DONE),
        csr=csr,
        certificate_id=certificate.id,
        flight=None,
        run_at=None,
        lease_owner=None,
        lease_until=None,
        fence=order.fence + 1,
    )
    words = f"the one of order {certificate.order_id}, whose CSR was the same"
    event = Event(order_id=order.id, at=now, kind=EventKind.CERTIFICATE_REUSED, detail=words)
    return Change(order=done, events=(event,), schedule_removal=True)

"""Order reuse and CSR idempotency: when an open order, or a certificate, is what a client asks for once more.

docs/reliability.md 2.14; docs/adr/0012-who-asks-again.md. Which fields of an order say what its client wants is said on
the fields themselves (`models.Wish`).
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from operator import attrgetter
from typing import get_type_hints

from msgspec.structs import replace

from acmehub.models import (
    AuthorizationMode,
    AuthorizationStatus,
    Campaign,
    Certificate,
    Event,
    EventKind,
    Model,
    Order,
    OrderStatus,
    Stage,
    Wish,
)
from acmehub.rules import orders
from acmehub.rules.finalizing import finalize
from acmehub.rules.orders import UPSTREAM_VALIDATED, Change, OrderBundle

ENOUGH_TIME = timedelta(hours=1)
"""What an order must have left to be reused: its client is about to begin."""

_GOOD = frozenset({AuthorizationStatus.PENDING, AuthorizationStatus.VALID})


def wishes_of(model: type[Model]) -> dict[str, Wish]:
    """What each field of a kind of order says of its client's wish; `TypeError` for a field that does not say it."""
    wishes = {}
    for name, hint in get_type_hints(model, include_extras=True).items():
        if name in Model.__struct_fields__:
            continue
        said = [meta.extra["wish"] for meta in getattr(hint, "__metadata__", ()) if meta.extra and "wish" in meta.extra]
        if len(said) != 1:
            raise TypeError(f"{model.__name__}.{name} does not say whether it counts for order reuse (models.Wish)")
        wishes[name] = Wish(said[0])
    return wishes


WISHES = wishes_of(Order)
_certificate_wish = attrgetter(*(name for name, wish in WISHES.items() if wish is Wish.CERTIFICATE))
_order_wish = attrgetter(*(name for name, wish in WISHES.items() if wish is not Wish.NONE))


def serves(bundle: OrderBundle, fresh: OrderBundle, asked: AuthorizationMode, now: datetime) -> bool:
    """Whether an open order is what its client would get with the new one, `fresh`; `asked` is the token's mode."""
    order, new = bundle.order, fresh.order
    if _order_wish(order) != _order_wish(new) or not _lasts(order, now):
        return False
    if any(item.status not in _GOOD or item.expires <= now for item in bundle.authorizations):
        return False
    if order.status is OrderStatus.PENDING:
        return order.mode is new.mode and new.status is OrderStatus.PENDING
    approved = asked is AuthorizationMode.AUTO and order.stage in UPSTREAM_VALIDATED  # whatever mode it began in
    return order.status is OrderStatus.READY and (order.mode is new.mode or approved)


def _lasts(order: Order, now: datetime) -> bool:
    in_time = order.stage is Stage.AUTHORIZED or order.deadline > now + ENOUGH_TIME
    return in_time and order.expires > now + ENOUGH_TIME


def takes_earlier_certificate(order: Order) -> bool:
    """Whether an order that gets its CSR may be given an earlier certificate: a relaying authority works on it.

    One that signs by itself leaves its orders at `authorized` from the beginning, and a new certificate costs nothing
    there. An order that gave its upstream order away cannot be told from those; its upstream order is restarted.
    """
    relayed = order.stage is not Stage.AUTHORIZED or order.upstream_url is not None
    return order.status is OrderStatus.READY and order.replaces is None and relayed


def same_certificate(earlier: Order, order: Order) -> bool:
    """Whether two orders of an account ask for the same certificate."""
    return bool(_certificate_wish(earlier) == _certificate_wish(order))


def is_as_new(
    certificate: Certificate, order: Order, campaigns: Iterable[Campaign], since: datetime, now: datetime
) -> bool:
    """Whether a certificate serves as well as a new one: issued since then, the account's own, neither revoked nor
    replaced nor to be replaced by a campaign, with most of its life before it."""
    if certificate.account_id != order.account_id or certificate.created < since:
        return False
    if certificate.replaced_by is not None or certificate.revoked is not None:
        return False
    if any(item.ended is None and item.created > certificate.created for item in campaigns):
        return False
    left, life = certificate.not_after - now, certificate.not_after - certificate.not_before
    return left * 2 > life


def reuse_certificate(bundle: OrderBundle, csr: bytes, certificate: Certificate, now: datetime) -> Change:
    """The order turns valid with `certificate`, which was issued for this CSR (DER), at no cost upstream.

    The worker that has the order is fenced off; its single-flight lock and its records are given up, and another order
    may take its upstream order. An order that is not ready goes the way of every CSR (`finalizing.finalize`).
    """
    order = bundle.order
    if order.status is not OrderStatus.READY or order.expires <= now:
        return finalize(bundle, csr, now)
    valid = orders.with_status(orders.with_status(order, OrderStatus.PROCESSING), OrderStatus.VALID)
    done = replace(
        orders.with_stage(valid, Stage.DONE),
        csr=csr,
        certificate_id=certificate.id,
        lock_key=None,
        run_at=None,
        lease_owner=None,
        lease_until=None,
        fence=order.fence + 1,
    )
    detail = f"the one of order {certificate.order_id}, whose CSR was the same"
    event = Event(order_id=order.id, at=now, kind=EventKind.CERTIFICATE_REUSED, detail=detail)
    return Change(order=done, events=(event,), schedule_removal=True)

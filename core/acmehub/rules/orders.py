"""The state machine of an order and its authorizations (RFC 8555 section 7.1.6), and of its issuance.

Pure functions that take `now`; the tables `ORDER_MOVES`, `AUTHORIZATION_MOVES` and `STAGE_MOVES` are the only moves
there are, but for `downloading.taken_up`. A rule takes an `OrderBundle` as it is stored and returns a `Change`; the
store runs rule and write in one transaction, so no two of them ever overlap on one order.
"""

import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from acmehub.models import (
    Actor,
    AuditEntry,
    Authorization,
    AuthorizationMode,
    AuthorizationStatus,
    Certificate,
    ChallengeType,
    Event,
    EventKind,
    Order,
    OrderStatus,
    Stage,
    TxtRecord,
)
from acmehub.models.identifiers import Identifier, base_name, canonical, is_wildcard, name_set
from acmehub.models.problems import Problem, ProblemDocument, ProblemType
from acmehub.rules.challenges import challenges_of

ORDER_MOVES: dict[OrderStatus, frozenset[OrderStatus]] = {
    OrderStatus.PENDING: frozenset({OrderStatus.READY, OrderStatus.INVALID}),
    OrderStatus.READY: frozenset({OrderStatus.PROCESSING, OrderStatus.INVALID}),
    OrderStatus.PROCESSING: frozenset({OrderStatus.VALID, OrderStatus.INVALID}),
    OrderStatus.VALID: frozenset(),
    OrderStatus.INVALID: frozenset(),
}

AUTHORIZATION_MOVES: dict[AuthorizationStatus, frozenset[AuthorizationStatus]] = {
    AuthorizationStatus.PENDING: frozenset(
        {AuthorizationStatus.VALID, AuthorizationStatus.INVALID, AuthorizationStatus.DEACTIVATED}
    ),
    AuthorizationStatus.VALID: frozenset(
        {AuthorizationStatus.EXPIRED, AuthorizationStatus.DEACTIVATED, AuthorizationStatus.REVOKED}
    ),
    AuthorizationStatus.INVALID: frozenset(),
    AuthorizationStatus.DEACTIVATED: frozenset(),
    AuthorizationStatus.EXPIRED: frozenset(),
    AuthorizationStatus.REVOKED: frozenset(),
}

_AGAIN = frozenset({Stage.ORDERING, Stage.FAILED})  # the upstream order is unusable: from anywhere before `done`
_EARLY = _AGAIN | {Stage.DONE}  # or it is not needed: the client gets an earlier certificate

STAGE_MOVES: dict[Stage, frozenset[Stage]] = {
    Stage.ORDERING: frozenset({Stage.AUTHORIZING, Stage.AUTHORIZED, Stage.FAILED, Stage.DONE}),  # it may be ready
    Stage.AUTHORIZING: frozenset({Stage.PUBLISHING, Stage.VALIDATING, Stage.AUTHORIZED, Stage.DOWNLOADING}) | _EARLY,
    Stage.PUBLISHING: frozenset({Stage.PROPAGATING}) | _EARLY,
    Stage.PROPAGATING: frozenset({Stage.RESPONDING}) | _EARLY,
    Stage.RESPONDING: frozenset({Stage.VALIDATING}) | _EARLY,
    Stage.VALIDATING: frozenset({Stage.AUTHORIZED}) | _EARLY,
    Stage.AUTHORIZED: frozenset({Stage.FINALIZING}) | _EARLY,  # a signing authority goes straight to done
    Stage.FINALIZING: frozenset({Stage.ISSUING, Stage.DOWNLOADING}) | _AGAIN,
    Stage.ISSUING: frozenset({Stage.FINALIZING, Stage.DOWNLOADING}) | _AGAIN,
    Stage.DOWNLOADING: frozenset({Stage.DONE}) | _AGAIN,
    Stage.DONE: frozenset(),
    Stage.FAILED: frozenset(),
}

UPSTREAM_VALIDATED = frozenset({Stage.AUTHORIZED, Stage.FINALIZING, Stage.ISSUING, Stage.DOWNLOADING, Stage.DONE})

TIME_TO_ANSWER = timedelta(seconds=60)  # since newOrder, before the silence of a client in mode `accept` counts


class IllegalMove(Exception):
    """A move that the tables do not have: a defect of the hub, never the client's fault."""


class Lifetimes(msgspec.Struct, frozen=True):
    """Lifetimes: of the client's order, of issuance for it, of what the hub has validated itself (0: none)."""

    order: timedelta = timedelta(days=7)
    issuance_timeout: timedelta = timedelta(hours=24)
    remember: timedelta = timedelta()


class Lease(msgspec.Struct, frozen=True):
    """Which process works on an order, and until when."""

    owner: str
    until: datetime


class OrderBundle(msgspec.Struct, frozen=True):
    """An order with its authorizations in the order's own sequence."""

    order: Order
    authorizations: tuple[Authorization, ...] = ()


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule wants written in one transaction.

    `authorizations` are those that changed, `records` new TXT records, `present` those that stand in DNS now, as
    they are to be stored; `certificate` is the issued one;
    `schedule_removal` turns every TXT record of the order to `remove`, its `run_at` as it is; `audit` are entries
    for the audit.
    """

    order: Order
    authorizations: tuple[Authorization, ...] = ()
    records: tuple[TxtRecord, ...] = ()
    present: tuple[TxtRecord, ...] = ()
    certificate: Certificate | None = None
    events: tuple[Event, ...] = ()
    schedule_removal: bool = False
    audit: tuple[AuditEntry, ...] = ()


def with_status(order: Order, status: OrderStatus) -> Order:
    """The order in another status; `IllegalMove` unless the table has it."""
    if status not in ORDER_MOVES[order.status]:
        raise IllegalMove(f"order {order.id}: {order.status} to {status}")
    return replace(order, status=status)


def with_authorization_status(
    authorization: Authorization, status: AuthorizationStatus, now: datetime
) -> Authorization:
    """The authorization in another status; sets `validated` when it turns valid."""
    if status not in AUTHORIZATION_MOVES[authorization.status]:
        raise IllegalMove(f"authorization {authorization.id}: {authorization.status} to {status}")
    validated = now if status is AuthorizationStatus.VALID else authorization.validated
    return replace(authorization, status=status, validated=validated)


def with_stage(order: Order, stage: Stage) -> Order:
    """The order at another stage of its issuance, with `attempts` reset."""
    if stage not in STAGE_MOVES[order.stage]:
        raise IllegalMove(f"order {order.id}: stage {order.stage} to {stage}")
    return replace(order, stage=stage, attempts=0)


def open_order(
    actor: Actor,
    identifiers: Iterable[Identifier],
    *,
    mode: AuthorizationMode,
    authority_id: str,
    signing: bool,
    now: datetime,
    lifetimes: Lifetimes = Lifetimes(),
    **asked: Any,
) -> OrderBundle:
    """A new order and its authorizations, one per identifier, in the state its mode asks for.

    `mode` is not `auto`. With `signing`, the authority signs by itself and asks for no challenge: issuance begins at
    stage `authorized`. Of names that are equal in DNS the first is kept. `asked` are further fields of `Order`, as the
    client asks for them: they change nothing here.
    """
    first: dict[tuple[str, str], Identifier] = {}
    for item in identifiers:
        first.setdefault((item.type, canonical(item.value)), item)
    unique = tuple(first.values())
    approved = mode is AuthorizationMode.PREAPPROVED
    expires = now + lifetimes.order
    waits = signing or mode is AuthorizationMode.VERIFY  # for the CSR, or for the client to respond
    order = Order(
        account_id=actor.account.id,
        token_id=actor.token.id,
        principal_id=actor.principal.id,
        status=OrderStatus.READY if approved else OrderStatus.PENDING,
        identifiers=unique,
        name_set=name_set(unique),
        mode=mode,
        expires=expires,
        created=now,
        authority_id=authority_id,
        stage=Stage.AUTHORIZED if signing else Stage.ORDERING,
        run_at=None if waits else now,
        deadline=min(expires, now + lifetimes.issuance_timeout),
        **asked,
    )
    authorizations = tuple(
        Authorization(
            order_id=order.id,
            account_id=order.account_id,
            position=position,
            identifier=Identifier(item.type, base_name(item.value)),
            wildcard=is_wildcard(item.value),
            status=AuthorizationStatus.VALID if approved else AuthorizationStatus.PENDING,
            expires=expires,
            token=secrets.token_urlsafe(32),
            validated=now if approved else None,
        )
        for position, item in enumerate(unique)
    )
    return OrderBundle(order, authorizations)


def with_client_status(bundle: OrderBundle, now: datetime) -> OrderBundle:
    """Set the statuses that clients see: in mode `accept`, an answered authorization is valid once it is so upstream.

    The order turns ready together with its last authorization, in the same change (docs/client-rules.md rule 2).
    """
    order = bundle.order
    authorizations = bundle.authorizations
    if order.status is not OrderStatus.PENDING:
        return bundle
    if order.mode is AuthorizationMode.ACCEPT:
        authorizations = tuple(
            with_authorization_status(item, AuthorizationStatus.VALID, now) if _accepted(order, item) else item
            for item in authorizations
        )
    if all(item.status is AuthorizationStatus.VALID for item in authorizations):
        order = with_status(order, OrderStatus.READY)
        if order.mode is AuthorizationMode.VERIFY and order.stage is Stage.ORDERING:
            order = replace(order, run_at=None if order.preauthorization else now)
    return OrderBundle(order, authorizations)


def approve(bundle: OrderBundle, now: datetime) -> Change:
    """The upstream has validated before the client responded: pending authorizations of mode `accept` turn valid.

    Only where the hub itself chose `accept` (`auto`): the client may then finalize at once (docs/client-rules.md
    section 4.4).
    """
    order = bundle.order
    if (
        order.status is not OrderStatus.PENDING
        or order.mode is not AuthorizationMode.ACCEPT
        or order.stage not in UPSTREAM_VALIDATED
    ):
        return Change(order=order)
    approved = tuple(
        with_authorization_status(item, AuthorizationStatus.VALID, now)
        for item in bundle.authorizations
        if item.status is AuthorizationStatus.PENDING
    )
    order = replace(with_status(order, OrderStatus.READY), mode=AuthorizationMode.PREAPPROVED)
    event = Event(
        order_id=order.id, at=now, kind=EventKind.APPROVED, detail="the upstream validated before the client answered"
    )
    return Change(order=order, authorizations=approved, events=(event,))


def _accepted(order: Order, authorization: Authorization) -> bool:
    upstream = authorization.upstream_status == "valid" or order.stage in UPSTREAM_VALIDATED
    return authorization.status is AuthorizationStatus.PENDING and authorization.answered is not None and upstream


def answer(bundle: OrderBundle, authorization_id: str, challenge: ChallengeType, now: datetime) -> Change:
    """The client responds to a challenge; idempotent in every state (docs/client-rules.md rule 5)."""
    target = next(item for item in bundle.authorizations if item.id == authorization_id)
    is_over = bundle.order.status is not OrderStatus.PENDING  # nobody looks for a proof any more
    if is_over or target.status is not AuthorizationStatus.PENDING or target.answered is not None:
        return Change(order=bundle.order)
    if challenge not in (possible := challenges_of(target, bundle.order.mode)):
        kinds = ", ".join(item.value for item in possible)
        raise Problem(ProblemType.MALFORMED, f"this authorization can be answered by {kinds}, not by {challenge.value}")
    answered = replace(target, answered=challenge)
    order = bundle.order
    if order.mode is AuthorizationMode.VERIFY:
        order = replace(order, run_at=now, attempts=0)
    after = with_client_status(OrderBundle(order, _swap(bundle.authorizations, answered)), now)
    event = Event(
        order_id=order.id,
        at=now,
        kind=EventKind.CHALLENGE_ANSWERED,
        detail=f"{challenge.value} for {target.identifier.value}",
    )
    return Change(order=after.order, authorizations=_changed(bundle, after), events=(event,))


def verified(bundle: OrderBundle, authorization_id: str, now: datetime, remember: timedelta = timedelta()) -> Change:
    """The hub itself has validated an authorization (mode `verify`); it is valid for `remember`, if that is longer."""
    target = next(item for item in bundle.authorizations if item.id == authorization_id)
    if target.status is not AuthorizationStatus.PENDING:
        return Change(order=bundle.order)
    proven = with_authorization_status(target, AuthorizationStatus.VALID, now)
    proven = replace(proven, expires=max(proven.expires, now + remember))
    after = with_client_status(OrderBundle(bundle.order, _swap(bundle.authorizations, proven)), now)
    event = Event(order_id=bundle.order.id, at=now, kind=EventKind.VALIDATED, detail=target.identifier.value)
    return Change(order=after.order, authorizations=_changed(bundle, after), events=(event,))


def issued(order: Order, certificate: Certificate, now: datetime) -> Change:
    """The chain is there: order valid, job done, lease released, TXT records scheduled for removal, in one write."""
    done = replace(
        with_stage(with_status(order, OrderStatus.VALID), Stage.DONE),
        certificate_id=certificate.id,
        lock_key=None,
        run_at=None,
        lease_owner=None,
        lease_until=None,
    )
    event = Event(order_id=order.id, at=now, kind=EventKind.CERTIFICATE_ISSUED, detail=f"serial {certificate.serial}")
    return Change(order=done, certificate=certificate, events=(event,), schedule_removal=True)


def failed(bundle: OrderBundle, problem: ProblemDocument, now: datetime) -> Change:
    """Nothing can be issued: the order is invalid with a reason, and so are its pending authorizations.

    docs/client-rules.md rule 6.
    """
    order = replace(
        with_stage(with_status(bundle.order, OrderStatus.INVALID), Stage.FAILED),
        error=problem,
        lock_key=None,
        run_at=None,
        lease_owner=None,
        lease_until=None,
    )
    authorizations = tuple(
        replace(with_authorization_status(item, AuthorizationStatus.INVALID, now), error=problem)
        for item in bundle.authorizations
        if item.status is AuthorizationStatus.PENDING
    )
    event = Event(order_id=order.id, at=now, kind=EventKind.ORDER_FAILED, detail=problem.detail)
    return Change(order=order, authorizations=authorizations, events=(event,), schedule_removal=True)


def deactivate(bundle: OrderBundle, authorization_id: str, now: datetime) -> Change:
    """The client deactivates an authorization (RFC 8555 section 7.5.2); an order that still needed it is invalid.

    Its other authorizations stay as they are (section 7.1.6), and so does one that is over (rule 10).
    """
    target = next(item for item in bundle.authorizations if item.id == authorization_id)
    if AuthorizationStatus.DEACTIVATED not in AUTHORIZATION_MOVES[as_of(target, now, bundle.order.status).status]:
        return Change(order=bundle.order)
    given_up = with_authorization_status(target, AuthorizationStatus.DEACTIVATED, now)
    if bundle.order.status not in (OrderStatus.PENDING, OrderStatus.READY):
        return Change(order=bundle.order, authorizations=(given_up,))
    reason = Problem(ProblemType.UNAUTHORIZED, f"the authorization for {target.identifier.value} was deactivated")
    return replace(failed(OrderBundle(bundle.order), reason.document(), now), authorizations=(given_up,))


def expired(bundle: OrderBundle, now: datetime) -> Change:
    """The client let the order lapse, or the pre-authorization: what was valid has expired, what was pending failed."""
    what = "pre-authorization expired" if bundle.order.preauthorization else "order expired before it was finalized"
    change = failed(bundle, Problem(ProblemType.MALFORMED, f"the {what}").document(), now)
    after = tuple(as_of(item, now, bundle.order.status) for item in bundle.authorizations)
    return replace(change, authorizations=(*change.authorizations, *_changed(bundle, OrderBundle(bundle.order, after))))


def as_of(authorization: Authorization, now: datetime, order: OrderStatus) -> Authorization:
    """The authorization at a moment, `order` being its order's status (RFC 8555 section 7.1.6): past its time, a valid
    one has expired, and a pending one of an invalid order is invalid."""
    if authorization.expires > now:
        return authorization
    if authorization.status is AuthorizationStatus.VALID:
        return with_authorization_status(authorization, AuthorizationStatus.EXPIRED, now)
    if authorization.status is AuthorizationStatus.PENDING and order is OrderStatus.INVALID:
        over = Problem(ProblemType.MALFORMED, "the authorization expired before it was validated").document()
        return replace(with_authorization_status(authorization, AuthorizationStatus.INVALID, now), error=over)
    return authorization


def _swap(authorizations: tuple[Authorization, ...], new: Authorization) -> tuple[Authorization, ...]:
    return tuple(new if item.id == new.id else item for item in authorizations)


def _changed(before: OrderBundle, after: OrderBundle) -> tuple[Authorization, ...]:
    pairs = zip(before.authorizations, after.authorizations, strict=True)
    return tuple(new for old, new in pairs if new is not old)

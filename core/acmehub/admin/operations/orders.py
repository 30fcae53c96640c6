"""Orders: how far the hub is with them; retry and cancel."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from acmehub.admin.access.errors import NotFound, Refused
from acmehub.admin.access.gate import Gate, Passage
from acmehub.admin.access.names import Names, whole_id
from acmehub.admin.operations.queries import OrderQuery, Queries
from acmehub.admin.resources.fields import view_of
from acmehub.models import (
    AuthorizationMode,
    AuthorizationStatus,
    Event,
    EventKind,
    Order,
    OrderStatus,
    Stage,
    TxtRecord,
    TxtState,
)
from acmehub.models.events import TROUBLES
from acmehub.models.problems import Problem, ProblemDocument, ProblemType
from acmehub.ports.clock import Clock
from acmehub.ports.store import Missing, Store
from acmehub.rules.downloading import may_be_taken_up, taken_up
from acmehub.rules.orders import Change, OrderBundle, failed
from acmehub.rules.permissions import Acting


class OrderSummary(msgspec.Struct, frozen=True, kw_only=True):
    """An order in a list; with `preauthorization` its client does not see it as one (RFC 8555 section 7.4.1).

    `attempts`: the failures of its present step, the next try of which is at `run_at`. `last_words`: the latest trouble
    of an order that waits after a failure, or that has failed.
    """

    id: str
    status: OrderStatus
    stage: Stage
    names: tuple[str, ...]
    principal: str
    token: str
    authority: str
    created: datetime
    attempts: int
    run_at: datetime | None
    last_words: str = ""
    error: str = ""
    preauthorization: bool = False


class AuthorizationLine(msgspec.Struct, frozen=True, kw_only=True):
    """An authorization of an order; `name` has no wildcard label, `upstream_status` is what the CA said last."""

    name: str
    wildcard: bool
    status: AuthorizationStatus
    upstream_status: str
    error: ProblemDocument | None


class RecordLine(msgspec.Struct, frozen=True, kw_only=True):
    """A TXT record of an order that is not removed yet; `attempts` are those that failed."""

    name: str
    zone: str
    state: TxtState
    attempts: int
    last_error: str


class OrderDetail(msgspec.Struct, frozen=True, kw_only=True):
    """An order with all that operators may know of it; `timeline` oldest first, `records` are TXT records not yet
    removed.

    `profile`: the one that the client named, `upstream_profile` the one that is asked for at the authority. `account`,
    `certificate`: ids. `version` grows with every change.
    """

    id: str
    version: int
    status: OrderStatus
    stage: Stage
    names: tuple[str, ...]
    principal: str
    token: str
    account: str
    authority: str
    profile: str | None
    upstream_profile: str | None
    mode: AuthorizationMode
    created: datetime
    expires: datetime
    run_at: datetime | None
    attempts: int
    deadline: datetime
    upstream_order: str | None
    certificate: str | None
    error: ProblemDocument | None
    authorizations: tuple[AuthorizationLine, ...]
    records: tuple[RecordLine, ...]
    timeline: tuple[Event, ...]


class OrderState(msgspec.Struct, frozen=True, kw_only=True):
    """Where an order is after a verb has changed it."""

    id: str
    status: OrderStatus
    stage: Stage
    run_at: datetime | None


class OrdersAdmin:
    """Orders are named by their id; verbs raise `ServiceError`s and `Forbidden`."""

    noun = "order"

    def __init__(self, store: Store, clock: Clock, issuance_timeout: timedelta) -> None:
        self._store = store
        self._clock = clock
        self._issuance_timeout = issuance_timeout
        self._gate = Gate(store, clock)
        self._queries = Queries(store, clock)

    async def list(
        self, acting: Acting, *, filter: OrderQuery = OrderQuery(), after: str = "", limit: int = 100
    ) -> Sequence[OrderSummary]:
        """Orders that are looked for, newest first; `after` is the id of the last one of the page before."""
        async with self._gate(acting, "order.list"):
            names = await Names.read(self._store)
            after = await whole_id(self._store.orders, after, "after")
            found = await self._store.orders.list(await self._queries.orders(filter), after=after, limit=limit)
            troubled = [order.id for order in found if order.attempts or order.status is OrderStatus.INVALID]
            events = await self._store.records.latest(troubled, TROUBLES)
            last_words = {event.order_id: f"{event.kind}: {event.detail}" for event in events}
            return [_summary(order, names, last_words.get(order.id, "")) for order in found]

    async def show(self, order_id: str, acting: Acting) -> OrderDetail:
        """One order with its timeline."""
        async with self._gate(acting, "order.show", f"order {order_id}"):
            order_id = await whole_id(self._store.orders, order_id, "order")
            bundle = await self._store.orders.get(order_id)
            if bundle is None:
                raise NotFound(f"there is no order {order_id}")
            names = await Names.read(self._store)
            timeline = await self._store.records.timeline(order_id)
            return _detail(bundle, names, timeline, await self._store.txt_records.of_order(order_id))

    async def retry(self, order_id: str, acting: Acting) -> OrderState:
        """Have an unfinished order worked on at once: its failures are forgotten, its issuance timeout starts again.

        One that is `invalid` stays so (RFC 8555 section 7.1.6), and its client must order again; only a certificate
        that the CA has issued and that could not be fetched in time is fetched after all.
        """
        now = self._clock.now()

        def rule(bundle: OrderBundle) -> Change:
            order = bundle.order
            if may_be_taken_up(order):
                again = taken_up(order, now, self._issuance_timeout)
            else:
                _refuse_finished(order, "retried")
                if order.run_at is None:
                    raise Refused("there is nothing to retry: the order waits for its client")
                end = now + self._issuance_timeout
                if order.status is not OrderStatus.PROCESSING:
                    end = min(order.expires, end)
                again = replace(order, attempts=0, run_at=now, deadline=end)
            event = Event(order_id=order.id, at=now, kind=EventKind.RETRIED, detail=acting.name)
            return Change(order=again, events=(event,))

        async with self._gate(acting, "order.retry", f"order {order_id}") as passage:
            return await self._apply(order_id, rule, passage)

    async def cancel(self, order_id: str, acting: Acting) -> OrderState:
        """End an unfinished order: it turns `invalid`, its TXT records are removed."""
        now = self._clock.now()
        reason = Problem(ProblemType.UNAUTHORIZED, "the order was cancelled by the operator of this server")

        def rule(bundle: OrderBundle) -> Change:
            _refuse_finished(bundle.order, "cancelled")
            fenced = replace(bundle.order, fence=bundle.order.fence + 1)  # a worker's late write is void
            return failed(OrderBundle(fenced, bundle.authorizations), reason.document(), now)

        async with self._gate(acting, "order.cancel", f"order {order_id}") as passage:
            return await self._apply(order_id, rule, passage)

    async def _apply(self, order_id: str, rule: Callable[[OrderBundle], Change], passage: Passage) -> OrderState:
        def audited(bundle: OrderBundle) -> Change:
            return replace(rule(bundle), audit=(passage.entry(),))

        order_id = await whole_id(self._store.orders, order_id, "order")
        passage.resolved(f"order {order_id}")
        try:
            bundle = await self._store.orders.apply(order_id, audited)
        except Missing:
            raise NotFound(f"there is no order {order_id}") from None
        order = bundle.order
        return OrderState(id=order.id, status=order.status, stage=order.stage, run_at=order.run_at)


def _detail(bundle: OrderBundle, names: Names, timeline: Sequence[Event], records: Sequence[TxtRecord]) -> OrderDetail:
    order = bundle.order
    return OrderDetail(
        id=order.id,
        version=order.version,
        status=order.status,
        stage=order.stage,
        names=tuple(item.value for item in order.identifiers),
        principal=names.principal(order.principal_id),
        token=names.token(order.token_id),
        account=order.account_id,
        authority=names.authority(order.authority_id),
        profile=order.client_profile,
        upstream_profile=order.profile,
        mode=order.mode,
        created=order.created,
        expires=order.expires,
        run_at=order.run_at,
        attempts=order.attempts,
        deadline=order.deadline,
        upstream_order=order.upstream_url,
        certificate=order.certificate_id,
        error=order.error,
        authorizations=tuple(
            AuthorizationLine(
                name=item.identifier.value,
                wildcard=item.wildcard,
                status=item.status,
                upstream_status=item.upstream_status,
                error=item.error,
            )
            for item in bundle.authorizations
        ),
        records=tuple(view_of(RecordLine, item) for item in records),
        timeline=tuple(timeline),
    )


def _summary(order: Order, names: Names, last_words: str) -> OrderSummary:
    return OrderSummary(
        id=order.id,
        status=order.status,
        stage=order.stage,
        names=tuple(item.value for item in order.identifiers),
        principal=names.principal(order.principal_id),
        token=names.token(order.token_id),
        authority=names.authority(order.authority_id),
        created=order.created,
        attempts=order.attempts,
        run_at=order.run_at,
        last_words=last_words,
        error=order.error.detail if order.error else "",
        preauthorization=order.preauthorization,
    )


def _refuse_finished(order: Order, what: str) -> None:
    if order.status is OrderStatus.VALID:
        raise Refused(f"the order is valid: it cannot be {what}")
    if order.status is OrderStatus.INVALID:
        raise Refused(
            f"the order is invalid, which is final (RFC 8555 section 7.1.6): it cannot be {what}, "
            "its client must order again"
        )

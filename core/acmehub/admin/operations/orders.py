"""Orders: how far the hub is with them; retry and cancel."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from acmehub.admin.access.errors import NotFound, Refused
from acmehub.admin.access.gate import Gate, Passage
from acmehub.admin.access.names import Names
from acmehub.admin.access.reach import SEARCHED, Reach
from acmehub.admin.operations.queries import OrderQuery, Queries
from acmehub.models import Event, EventKind, Order, OrderStatus, Stage, TxtRecord
from acmehub.models.events import TROUBLES
from acmehub.models.problems import Problem, ProblemType
from acmehub.ports.clock import Clock
from acmehub.ports.lists import OrderFilter
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


class OrderDetail(msgspec.Struct, frozen=True, kw_only=True):
    """An order with all that is known of it; `timeline` oldest first, `records` are TXT records not yet removed."""

    bundle: OrderBundle
    principal: str
    token: str
    authority: str
    timeline: tuple[Event, ...]
    records: tuple[TxtRecord, ...]


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
        self, acting: Acting, query: OrderQuery = OrderQuery(), *, after: str = "", limit: int = 100
    ) -> Sequence[OrderSummary]:
        """Orders that are looked for, newest first; `after` is the id of the last one of the page before."""
        async with self._gate(acting, "order.list") as passage:
            reach = passage.reach
            names = await Names.read(self._store)
            after = await reach.whole_id(after, "after", self._store.orders, self._newest)
            wanted = await self._queries.orders(query, reach)
            if wanted.principal_ids == frozenset() or (after and not await self._is_reached(after, reach)):
                return ()
            found = await reach.owned(await self._store.orders.list(wanted, after=after, limit=limit))
            troubled = [order.id for order in found if order.attempts or order.status is OrderStatus.INVALID]
            events = await self._store.records.latest(troubled, TROUBLES)
            last_words = {event.order_id: f"{event.kind}: {event.detail}" for event in events}
            return [_summary(order, names, last_words.get(order.id, "")) for order in found]

    async def show(self, order_id: str, acting: Acting) -> OrderDetail:
        """One order with its timeline."""
        async with self._gate(acting, "order.show", f"order {order_id}") as passage:
            order_id = await passage.reach.whole_id(order_id, "order", self._store.orders, self._newest)
            bundle = await self._store.orders.get(order_id)
            if bundle is None or not await passage.reach.owns(bundle.order):
                raise _not_found(order_id)
            names = await Names.read(self._store)
            return OrderDetail(
                bundle=bundle,
                principal=names.principal(bundle.order.principal_id),
                token=names.token(bundle.order.token_id),
                authority=names.authority(bundle.order.authority_id),
                timeline=tuple(await self._store.records.timeline(order_id)),
                records=tuple(await self._store.txt_records.of_order(order_id)),
            )

    async def retry(self, order_id: str, acting: Acting) -> Order:
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

    async def cancel(self, order_id: str, acting: Acting) -> Order:
        """End an unfinished order: it turns `invalid`, its TXT records are removed."""
        now = self._clock.now()
        reason = Problem(ProblemType.UNAUTHORIZED, "the order was cancelled by the operator of this server")

        def rule(bundle: OrderBundle) -> Change:
            _refuse_finished(bundle.order, "cancelled")
            fenced = replace(bundle.order, fence=bundle.order.fence + 1)  # a worker's late write is void
            return failed(OrderBundle(fenced, bundle.authorizations), reason.document(), now)

        async with self._gate(acting, "order.cancel", f"order {order_id}") as passage:
            return await self._apply(order_id, rule, passage)

    async def _apply(self, order_id: str, rule: Callable[[OrderBundle], Change], passage: Passage) -> Order:
        def audited(bundle: OrderBundle) -> Change:
            return replace(rule(bundle), audit=(passage.entry(),))

        order_id = await passage.reach.whole_id(order_id, "order", self._store.orders, self._newest)
        passage.resolved(f"order {order_id}")
        if not await self._is_reached(order_id, passage.reach):
            raise _not_found(order_id)
        try:
            bundle = await self._store.orders.apply(order_id, audited)
        except Missing:
            raise _not_found(order_id) from None
        return bundle.order

    async def _is_reached(self, order_id: str, reach: Reach) -> bool:
        """Whether it is there for a role that tags narrow; for any other nothing is read."""
        if reach.everything:
            return True
        bundle = await self._store.orders.get(order_id)
        return bundle is not None and await reach.owns(bundle.order)

    async def _newest(self, principal_ids: frozenset[str]) -> Sequence[Order]:
        return await self._store.orders.list(OrderFilter(principal_ids=principal_ids), limit=SEARCHED)


def _not_found(order_id: str) -> NotFound:
    return NotFound(f"there is no order {order_id}")


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

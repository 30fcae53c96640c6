"""Stage `ordering`: one upstream order at a time per account, names and profile, then the upstream's newOrder."""

import hashlib

from msgspec.structs import replace

from acmehub.issuance.job import Job
from acmehub.issuance.replacement import upstream_request
from acmehub.issuance.validated import authorized, is_approved
from acmehub.models import Event, EventKind, Order, Stage
from acmehub.ports.authority import RelayAuthority, UpstreamAccount, UpstreamRateLimited
from acmehub.ports.store import Conflict
from acmehub.rules import orders
from acmehub.rules.orders import Change, OrderBundle
from acmehub.runtime.crash_points import CrashPoint

WAIT_SECONDS = 2.0  # the storage makes waiters due when the flight is given up, but not when its holder is idle


def flight_key(relay: RelayAuthority, account: UpstreamAccount, order: Order) -> str:
    """What only one order at a time may work on upstream."""
    parts = (relay.server, account.url, order.name_set, order.profile or "")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


async def order_upstream(job: Job, relay: RelayAuthority) -> None:
    """Take the flight; then, as a step of its own, make the upstream order (or find the one there is)."""
    context, order = job.context, job.order
    account = await job.account(relay.server)
    key = flight_key(relay, account, order)
    if order.flight != key:
        await _take_flight(job, key)
        return
    if order.upstream_url is not None:
        await _resume(job, relay, account, order.upstream_url)
        return
    context.limits.check(account.url, order.name_set)
    request = await upstream_request(job, account)
    context.crash_points.hit(CrashPoint.BEFORE_UPSTREAM_NEW_ORDER)
    try:
        upstream = await job.exchange(relay.new_order(account, request), relay.server)
    except UpstreamRateLimited as error:
        context.limits.note(account.url, order.name_set, error)
        raise
    context.crash_points.hit(CrashPoint.AFTER_UPSTREAM_NEW_ORDER)
    event = job.event(EventKind.UPSTREAM_ORDER_CREATED, upstream.url)
    ready = job.event(EventKind.UPSTREAM_ORDER_READY, "ready from the beginning", exchange=False)
    rivals = await context.store.orders.rivals(order.id, upstream_url=upstream.url)
    for rival in rivals:
        if await _hand_over(job, rival) is None:
            await _wait(job, f"the CA gave the upstream order that order {rival.id} works on")
            return

    now, issuance_timeout = job.now, context.issuance_timeout
    is_ready = upstream.status == "ready"  # all of its authorizations are valid since an earlier order
    approved = is_ready and await is_approved(context.store, order, now)

    def rule(current: OrderBundle) -> Change:
        order = replace(
            current.order, upstream_url=upstream.url, upstream_finalize=upstream.finalize, upstream_certificate=None
        )
        if is_ready:
            before = OrderBundle(order, current.authorizations)
            return authorized(before, upstream, now, issuance_timeout, event, ready, approved=approved)
        return Change(order=orders.with_stage(order, Stage.AUTHORIZING), events=(event,))

    await job.commit(rule)
    job.remember(upstream)


async def _take_flight(job: Job, key: str) -> None:
    def rule(current: OrderBundle) -> Change:
        order = replace(current.order, flight=key, attempts=0)
        if current.order.flight is not None:  # another account than before: its orders are out of reach
            order = replace(order, upstream_url=None, upstream_finalize=None, upstream_certificate=None)
        return Change(order=order)

    try:
        await job.commit(rule)
    except Conflict as conflict:
        if conflict.field != "flight":
            raise
    else:
        return
    rivals = await job.context.store.orders.rivals(job.order.id, flight=key)
    for rival in rivals:
        taken = await _hand_over(job, rival)
        if taken is not None:
            await _continue_for(job, key, rival, taken)
            return
    await _wait(job, ", ".join(f"order {rival.id}" for rival in rivals))


async def _hand_over(job: Job, rival: Order) -> Order | None:
    """Have an order that only waits for its client's CSR give up its upstream order, which it can make anew quickly.

    None when it does not wait any more. The client of the older order may be gone for good, and must not keep others
    from the same names until that order expires.
    """
    now = job.now

    def rule(current: OrderBundle) -> Change:
        if not _idle(current.order) or current.order.upstream_url != rival.upstream_url:
            return Change(order=current.order)
        event = Event(
            order_id=rival.id,
            at=now,
            kind=EventKind.UPSTREAM_ORDER_GIVEN,
            detail=f"to order {job.order.id}, same names",
        )
        given = replace(current.order, flight=None, upstream_url=None, upstream_finalize=None)
        return Change(order=given, events=(event,))

    if not _idle(rival):
        return None
    after = await job.context.store.orders.apply(rival.id, rule)
    return rival if after.order.upstream_url is None and _idle(after.order) else None


def _idle(order: Order) -> bool:
    return order.stage is Stage.AUTHORIZED and order.csr is None


async def _continue_for(job: Job, key: str, rival: Order, taken: Order) -> None:
    """Go on with the upstream order that another one has given up, where it is the same that this one would ask for."""
    asked = (rival.not_before, rival.not_after, rival.replaces)
    same = asked == (job.order.not_before, job.order.not_after, job.order.replaces)
    event = job.event(EventKind.UPSTREAM_ORDER_TAKEN, f"from order {rival.id}", exchange=False)

    def rule(current: OrderBundle) -> Change:
        order = replace(current.order, flight=key)
        if same and taken.upstream_url is not None:
            order = replace(
                orders.with_stage(order, Stage.AUTHORIZING),
                upstream_url=taken.upstream_url,
                upstream_finalize=taken.upstream_finalize,
                upstream_certificate=None,
            )
        return Change(order=order, events=(event,) if order.upstream_url else ())

    try:
        await job.commit(rule)
    except Conflict as conflict:  # a third one was quicker; the order taken over is left to lapse
        if conflict.field != "flight":
            raise
        await _wait(job, "a third order")


async def _wait(job: Job, whom: str) -> None:
    first = job.order.attempts == 0
    event = job.event(EventKind.WAITS_FOR_LOCK, whom, exchange=False)
    await job.put_off(WAIT_SECONDS, *((event,) if first else ()), attempts=1)


async def _resume(job: Job, relay: RelayAuthority, account: UpstreamAccount, url: str) -> None:
    """There was an upstream order: go on with it unless it is dead."""
    upstream = await job.exchange(relay.order(account, url), relay.server)
    dead = upstream.status == "invalid"
    event = job.event(EventKind.UPSTREAM_ORDER_READ, upstream.status)

    def rule(current: OrderBundle) -> Change:
        if dead:
            order = replace(current.order, upstream_url=None, upstream_finalize=None, upstream_certificate=None)
        else:
            order = replace(orders.with_stage(current.order, Stage.AUTHORIZING), upstream_finalize=upstream.finalize)
        return Change(order=order, events=(event,))

    await job.commit(rule)


async def restart_upstream_order(
    job: Job, kind: EventKind, detail: str, *, keep: bool = False, pause: float = 0.0
) -> None:
    """End the step: back to `ordering`, without the upstream order (or, with `keep`, to look at it there)."""
    event = job.event(kind, detail)
    now = job.now
    run_at = job.after(pause) if pause else now

    def rule(current: OrderBundle) -> Change:
        order = current.order
        if order.stage is Stage.AUTHORIZED:  # its client has taken its time: efforts begin anew
            order = replace(order, deadline=max(order.deadline, now + job.context.issuance_timeout))
        if order.stage is not Stage.ORDERING:
            order = orders.with_stage(order, Stage.ORDERING)
        if not keep:
            order = replace(order, upstream_url=None, upstream_finalize=None, upstream_certificate=None)
        order = replace(order, run_at=run_at, attempts=current.order.attempts + 1)
        authorizations = tuple(
            replace(item, upstream_url=None, upstream_challenge=None, upstream_status="", responded=False)
            for item in current.authorizations
        )
        return Change(order=order, authorizations=authorizations, events=(event,), schedule_removal=True)

    await job.commit(rule)

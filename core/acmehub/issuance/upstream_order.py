"""Stage `ordering`: take the single-flight lock of account, names and profile, then send the upstream newOrder."""

from collections.abc import Sequence

from msgspec.structs import replace

from acmehub.issuance.job import Job
from acmehub.issuance.validated import authorized, is_approved
from acmehub.models import Certificate, Event, EventKind, Order, Pause, Stage
from acmehub.ports.authority import IssueRequest, RelayAuthority, UpstreamAccount, UpstreamRateLimited
from acmehub.ports.store import Conflict
from acmehub.rules import orders
from acmehub.rules.orders import Change, OrderBundle
from acmehub.rules.pauses import pause_of
from acmehub.rules.renewal import identifier, serial_or_none
from acmehub.rules.single_flight import lock_key
from acmehub.runtime.crash_points import CrashPoint

WAIT_SECONDS = 2.0  # the storage makes waiters due when the lock is released, not when its holder waits for a CSR


async def order_upstream(job: Job, relay: RelayAuthority, pauses: Sequence[Pause]) -> None:
    """Take the lock; in a step of its own, create the upstream order, or go on with the one there is.

    What the CA has paused is not asked for: the pause is raised as it came.
    """
    context, order = job.context, job.order
    account = await job.account(relay.server)
    if order.upstream_url is None:
        await job.require_rights()
    key = lock_key(relay.server, account.url, order)
    if order.lock_key != key:
        await _take_lock(job, key)
        return
    if order.upstream_url is not None:
        await _resume(job, relay, account, order.upstream_url)
        return
    pause = pause_of(pauses, order.identifiers)
    if pause is not None:
        raise UpstreamRateLimited(pause.detail, server=relay.server, paused=True)
    context.limits.check(account.url, order.name_set)
    request = await _request(job, account)
    context.crash_points.hit(CrashPoint.BEFORE_UPSTREAM_NEW_ORDER)
    try:
        upstream = await job.exchange(relay.new_order(account, request), relay.server)
    except UpstreamRateLimited as error:
        context.limits.note(account.url, order.name_set, error)
        raise
    context.crash_points.hit(CrashPoint.AFTER_UPSTREAM_NEW_ORDER)
    event = job.event(EventKind.UPSTREAM_ORDER_CREATED, upstream.url)
    ready = job.event(EventKind.UPSTREAM_ORDER_READY, "ready from the beginning", exchange=False)
    holders = await context.store.orders.lock_holders(order.id, upstream_url=upstream.url)
    for holder in holders:
        if await _transfer(job, holder) is None:
            await _wait(job, f"the CA returned the upstream order that order {holder.id} works on")
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

    try:
        await job.commit(rule)
    except Conflict as conflict:
        if conflict.field != "upstream_url":
            raise
        await _wait(job, "another order works on the upstream order that the CA returned")
        return
    job.remember(upstream)


async def _request(job: Job, account: UpstreamAccount) -> IssueRequest:
    """The upstream newOrder; with `replaces` if the certificate comes from the same CA and upstream account."""
    cert_id = job.order.replaces
    job.sent_replaces = False
    if cert_id is None:
        return job.request
    why = _why_not_replaces(await _certificate(job, cert_id), job, account)
    if not why:
        job.sent_replaces = True
        return job.request
    if job.order.attempts == 0:
        job.noted.append(job.event(EventKind.REPLACES_NOT_SENT, why, exchange=False))
    return replace(job.request, replaces=None)


async def _certificate(job: Job, cert_id: str) -> Certificate | None:
    same = await job.context.store.certificates.by_serial(serial_or_none(cert_id) or "")
    return next((item for item in same if identifier(item) == cert_id), None)


def _why_not_replaces(certificate: Certificate | None, job: Job, account: UpstreamAccount) -> str:
    if certificate is None:
        return "the certificate is not stored any more"
    if certificate.authority_id != job.order.authority_id:
        return "the certificate is another authority's"
    if certificate.account_url != account.url:
        return "the certificate is another upstream account's"
    return ""


async def _take_lock(job: Job, key: str) -> None:
    def rule(current: OrderBundle) -> Change:
        # an upstream order that there is was under another lock: another account cannot read the old account's orders
        fresh = replace(current.order, upstream_url=None, upstream_finalize=None, upstream_certificate=None)
        return Change(order=replace(fresh, lock_key=key, attempts=0))

    try:
        await job.commit(rule)
    except Conflict as conflict:
        if conflict.field != "lock_key":
            raise
    else:
        return
    holders = await job.context.store.orders.lock_holders(job.order.id, lock_key=key)
    for holder in holders:
        taken = await _transfer(job, holder)
        if taken is not None:
            await _continue_with(job, key, holder, taken)
            return
    await _wait(job, ", ".join(f"order {holder.id}" for holder in holders))


async def _transfer(job: Job, holder: Order) -> Order | None:
    """Take the lock and the upstream order from a holder that only waits for its client's CSR; None if it does not.

    Its client may never come back, and must not block the names until that order expires. If it does come back, its
    new upstream order is quick, because the authorizations are valid.
    """
    now = job.now

    def rule(current: OrderBundle) -> Change:
        if not _idle(current.order) or current.order.upstream_url != holder.upstream_url:
            return Change(order=current.order)
        event = Event(
            order_id=holder.id,
            at=now,
            kind=EventKind.UPSTREAM_ORDER_GIVEN,
            detail=f"to order {job.order.id}, same names",
        )
        given = replace(current.order, lock_key=None, upstream_url=None, upstream_finalize=None)
        return Change(order=given, events=(event,))

    if not _idle(holder):
        return None
    after = await job.context.store.orders.apply(holder.id, rule)
    return holder if after.order.upstream_url is None and _idle(after.order) else None


def _idle(order: Order) -> bool:
    return order.stage is Stage.AUTHORIZED and order.csr is None


async def _continue_with(job: Job, key: str, holder: Order, taken: Order) -> None:
    """Take the lock, and the upstream order of its holder if this order would ask the CA for the same."""
    asked = (holder.not_before, holder.not_after, holder.replaces)
    same = asked == (job.order.not_before, job.order.not_after, job.order.replaces)
    event = job.event(EventKind.UPSTREAM_ORDER_TAKEN, f"from order {holder.id}", exchange=False)

    def rule(current: OrderBundle) -> Change:
        order = replace(current.order, lock_key=key)
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
    except Conflict as conflict:  # a third order was first; the upstream order is its, or left to expire
        if conflict.field not in ("lock_key", "upstream_url"):
            raise
        await _wait(job, "a third order")


async def _wait(job: Job, whom: str) -> None:
    first = job.order.attempts == 0
    event = job.event(EventKind.WAITS_FOR_LOCK, whom, exchange=False)
    await job.reschedule(WAIT_SECONDS, *((event,) if first else ()), attempts=1)


async def _resume(job: Job, relay: RelayAuthority, account: UpstreamAccount, url: str) -> None:
    """Go on with the upstream order that there is, unless it is invalid."""
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
    """End the step: back to `ordering`, without the upstream order, or with `keep` to read it again there."""
    event = job.event(kind, detail)
    now = job.now
    run_at = job.after(pause) if pause else now

    def rule(current: OrderBundle) -> Change:
        order = current.order
        if order.stage is Stage.AUTHORIZED:  # its client took its time: the issuance timeout starts again
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

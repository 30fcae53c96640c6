"""Stages `authorizing`, `responding`, `validating`: the worker reads, answers and polls the CA's authorizations."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from acmehub.dns01 import DnsUnclear, Wanted
from acmehub.issuance.job import Job, changed
from acmehub.issuance.retry_policy import MOST_FAILED_VALIDATIONS, UpstreamOrderUnusable
from acmehub.issuance.validated import authorized, is_approved
from acmehub.models import Authorization, AuthorizationMode, EventKind, Order, Stage, TxtRecord
from acmehub.models.identifiers import base_name, canonical
from acmehub.models.problems import Problem, ProblemDocument, ProblemType, Subproblem, gathered
from acmehub.ports.authority import (
    RelayAuthority,
    UpstreamAccount,
    UpstreamAuthorization,
    UpstreamOrder,
    UpstreamRefused,
    UpstreamUnavailable,
    poll_first,
)
from acmehub.rules import orders
from acmehub.rules.downloading import to_downloading
from acmehub.rules.orders import Change, OrderBundle
from acmehub.runtime.backoff import poll_in
from acmehub.runtime.concurrency import gather_limited
from acmehub.runtime.crash_points import CrashPoint

READS_AT_ONCE = 4
LOOK_CLOSELY_EVERY = 4  # polls: else the upstream order says enough, which turns invalid with an authorization
UNDECIDED = frozenset({"pending", "processing"})
FINALIZED = frozenset({"processing", "valid"})
# Problems with which a CA says that it could not look, not what it has seen.
TRANSIENT = frozenset({ProblemType.DNS.urn, ProblemType.CONNECTION.urn, ProblemType.SERVER_INTERNAL.urn})


async def read_authorizations(job: Job, relay: RelayAuthority) -> None:
    """Stage `authorizing`: read what the CA wants validated, and plan the TXT records for it."""
    order = job.order
    account = await job.account(relay.server)
    upstream = await job.upstream_order(relay, account, _url(order))
    match upstream.status:
        case "pending":
            await _read_pending(job, relay, account, upstream)
        case "ready":  # its authorizations were valid already
            await move_to_authorized(job, upstream)
        case "processing" if order.csr is not None:  # this order was finalized before
            await move_to_authorized(job, upstream)
        case "valid" if order.csr is not None:
            await _move_to_downloading(job, upstream)
        case "processing" | "valid":
            raise UpstreamOrderUnusable(EventKind.UPSTREAM_ORDER_USED_UP, upstream.url)
        case _:
            raise await _stillborn(job, relay, account, upstream)


async def _stillborn(
    job: Job,
    relay: RelayAuthority,
    account: UpstreamAccount,
    upstream: UpstreamOrder,
    seen: Sequence[UpstreamAuthorization] = (),
) -> UpstreamOrderUnusable:
    """An upstream order that is invalid before anything was done for it: an earlier order has left it."""
    problem = await _reason(job, relay, account, upstream, seen)
    final = upstream.error is not None
    return UpstreamOrderUnusable(EventKind.UPSTREAM_ORDER_STILLBORN, upstream.url, problem, final=final)


async def _read_pending(job: Job, relay: RelayAuthority, account: UpstreamAccount, upstream: UpstreamOrder) -> None:
    names = len(job.order.identifiers)
    if len(upstream.authorizations) > names:
        count = f"{len(upstream.authorizations)} authorizations for {names} names"
        raise UpstreamUnavailable(f"{upstream.url}: an order with {count}", server=relay.server)
    seen = await job.exchange(
        gather_limited(lambda url: relay.authorization(account, url), upstream.authorizations, READS_AT_ONCE),
        relay.server,
    )
    event = job.event(EventKind.AUTHORIZATIONS_READ, _statuses(seen))
    if any(item.status not in UNDECIDED | {"valid"} for item in seen):
        raise await _stillborn(job, relay, account, upstream, seen)
    matched = _match(job.bundle, seen)
    if isinstance(matched, Problem):
        await job.fail(matched.document(), event)
        return
    wanted = [
        Wanted(authorization, item.txt_value)
        for authorization, item in matched
        if item.status == "pending"
        and item.dns01_status in UNDECIDED  # an earlier order may have responded: the CA still validates
    ]
    records: Sequence[TxtRecord] = ()
    if wanted:
        scope = await job.require_rights()
        records = await job.timed(job.context.solver.plan(job.order, wanted, scope), late=DnsUnclear)
    now = job.now
    stage = Stage.PUBLISHING if records else Stage.VALIDATING
    fields = {authorization.id: item for authorization, item in matched}

    def rule(current: OrderBundle) -> Change:
        authorizations = with_seen(current.authorizations, fields)
        order = replace(orders.with_stage(current.order, stage), upstream_finalize=upstream.finalize, run_at=now)
        after = orders.with_client_status(OrderBundle(order, authorizations), now)
        return Change(
            order=after.order,
            authorizations=changed(current.authorizations, after.authorizations),
            records=tuple(records),
            events=(event,),
        )

    await job.commit(rule)
    job.records = tuple(records)
    job.authorizations = {item.url: item for item in seen}


def _match(
    bundle: OrderBundle, seen: Sequence[UpstreamAuthorization]
) -> Sequence[tuple[Authorization, UpstreamAuthorization]] | Problem:
    """The hub's authorization for each of the CA's; a Problem when a pending one is not expected or has no dns-01.

    The CA need not say which is the wildcard's: one that fits no name exactly takes what is still open of its name. The
    TXT record of both has the same name.
    """
    found: dict[str, Authorization] = {}
    for exactly in (True, False):
        for item in seen:
            mine = None if item.url in found else _open(bundle.authorizations, found, item, exactly=exactly)
            if mine is not None:
                found[item.url] = mine
    for item in seen:
        name = item.identifier.value
        if item.status == "pending" and item.url not in found:
            return Problem(ProblemType.UNAUTHORIZED, f"the CA wants control of {name} proven as well")
        if item.status == "pending" and item.dns01_url is None:
            return Problem(ProblemType.UNAUTHORIZED, f"the CA offers no dns-01 challenge for {name}")
    theirs = {item.url: item for item in seen}
    return [(mine, theirs[url]) for url, mine in found.items()]


def _open(
    own: Sequence[Authorization], found: Mapping[str, Authorization], item: UpstreamAuthorization, *, exactly: bool
) -> Authorization | None:
    """An authorization of the hub's for the name of the CA's `item` that is not found yet."""
    taken = {mine.id for mine in found.values()}
    name = canonical(item.identifier.value)
    for mine in own:
        same = mine.wildcard == item.wildcard or not exactly
        if mine.id not in taken and same and canonical(mine.identifier.value) == name:
            return mine
    return None


def with_seen(
    authorizations: Sequence[Authorization], seen: Mapping[str, UpstreamAuthorization]
) -> tuple[Authorization, ...]:
    """Authorizations with what was read of their counterparts at the CA; `seen` is by the hub's ids."""
    return tuple(
        replace(
            item,
            upstream_url=seen[item.id].url,
            upstream_challenge=seen[item.id].dns01_url,
            upstream_status=seen[item.id].status,
        )
        if item.id in seen
        else item
        for item in authorizations
    )


async def respond(job: Job, relay: RelayAuthority) -> None:
    """Stage `responding`: respond to one challenge, if it is still pending; the next one is a step of its own."""
    account = await job.account(relay.server)
    target = next_challenge(job)
    if target is None:
        now = job.now
        await job.commit(
            lambda current: Change(order=replace(orders.with_stage(current.order, Stage.VALIDATING), run_at=now))
        )
        return
    url = target.upstream_url
    assert url is not None
    seen = job.authorizations.pop(url, None)
    is_fresh = seen is None
    if seen is None:
        seen = await job.exchange(relay.authorization(account, url), relay.server)
    responded = False
    if _is_open(seen):
        await job.require_rights()
        job.context.crash_points.hit(CrashPoint.BEFORE_CHALLENGE_RESPONSE)
        try:
            await job.exchange(relay.answer(account, seen.dns01_url or ""), relay.server)
        except UpstreamRefused:
            if is_fresh:
                raise
            seen = await job.exchange(relay.authorization(account, url), relay.server)
            if _is_open(seen):
                raise
        else:
            responded = True
            job.context.crash_points.hit(CrashPoint.AFTER_CHALLENGE_RESPONSE)
    if responded:
        event = job.event(EventKind.CHALLENGE_RESPONDED, target.identifier.value)
    else:  # an earlier order has responded
        event = job.event(EventKind.CHALLENGE_WAS_ANSWERED, f"{target.identifier.value}: {seen.dns01_status}")
    upstream = seen
    run_at = job.after(poll_in(1, first=poll_first(relay)))

    def rule(current: OrderBundle) -> Change:
        authorizations = tuple(
            replace(item, responded=True) if item.id == target.id else item
            for item in with_seen(current.authorizations, {target.id: upstream})
        )
        order = current.order
        if order.stage is Stage.PROPAGATING:
            order = orders.with_stage(order, Stage.RESPONDING)
        if not any(map(_to_respond, authorizations)):
            order = replace(orders.with_stage(order, Stage.VALIDATING), run_at=run_at)
        return Change(order=order, authorizations=changed(current.authorizations, authorizations), events=(event,))

    await job.commit(rule)


def next_challenge(job: Job) -> Authorization | None:
    """The authorization whose challenge is to be responded to next."""
    return next(filter(_to_respond, job.bundle.authorizations), None)


def _is_open(upstream: UpstreamAuthorization) -> bool:
    """Whether the CA waits for a response."""
    return upstream.status == "pending" and upstream.dns01_status == "pending" and upstream.dns01_url is not None


def _to_respond(item: Authorization) -> bool:
    return item.upstream_status == "pending" and item.upstream_challenge is not None and not item.responded


async def watch_validation(job: Job, relay: RelayAuthority) -> None:
    """Stage `validating`: poll until the upstream order is ready, or has failed."""
    account = await job.account(relay.server)
    upstream = await job.exchange(relay.order(account, _url(job.order)), relay.server)
    if upstream.status == "ready" or (upstream.status in FINALIZED and job.order.csr is not None):
        await move_to_authorized(job, upstream)
        return
    if upstream.status in FINALIZED:
        raise UpstreamOrderUnusable(EventKind.UPSTREAM_ORDER_USED_UP, upstream.url)
    if upstream.status != "pending":
        await fail_upstream(job, relay, account, upstream)
        return
    await job.require_rights()
    polls = job.count_poll("validation")
    undecided: Sequence[Authorization] = ()
    if job.order.mode is AuthorizationMode.ACCEPT or polls % LOOK_CLOSELY_EVERY == 0:
        undecided = [
            item
            for item in job.bundle.authorizations
            if item.upstream_url is not None and item.upstream_status != "valid"
        ]
    read: Sequence[UpstreamAuthorization] = ()
    if undecided:
        read = await job.exchange(
            gather_limited(
                lambda item: relay.authorization(account, item.upstream_url or ""), undecided, READS_AT_ONCE
            ),
            relay.server,
        )
    if any(item.status not in UNDECIDED | {"valid"} for item in read):
        await fail_upstream(job, relay, account, upstream, read)
        return
    seen = {item.id: theirs for item, theirs in zip(undecided, read, strict=True)}
    await _keep_watching(job, seen, poll_in(polls + 1, _asked(upstream, read), first=poll_first(relay)))


def _asked(upstream: UpstreamOrder, read: Sequence[UpstreamAuthorization]) -> float | None:
    """The longest pause that the CA asks for, in seconds."""
    asked = [upstream.retry_after, *(item.retry_after for item in read)]
    return max((seconds for seconds in asked if seconds is not None), default=None)


async def _keep_watching(job: Job, seen: Mapping[str, UpstreamAuthorization], pause: float) -> None:
    now = job.now
    run_at = job.after(pause)
    done = [item for item in seen.values() if item.status == "valid"]
    events = (job.event(EventKind.AUTHORIZATIONS_VALID, _statuses(done)),) if done else ()

    def rule(current: OrderBundle) -> Change:
        authorizations = with_seen(current.authorizations, seen)
        order = replace(current.order, run_at=run_at, attempts=0)
        after = orders.with_client_status(OrderBundle(order, authorizations), now)
        return Change(
            order=after.order, authorizations=changed(current.authorizations, after.authorizations), events=events
        )

    await job.commit(rule)


async def move_to_authorized(job: Job, upstream: UpstreamOrder) -> None:
    """The CA has validated everything: TXT records can go, clients may finalize, and a CSR that is there is sent."""
    event = job.event(EventKind.UPSTREAM_ORDER_READY, upstream.status)
    now, issuance_timeout = job.now, job.context.issuance_timeout
    approved = await is_approved(job.context.store, job.order, now)
    await job.commit(lambda current: authorized(current, upstream, now, issuance_timeout, event, approved=approved))
    job.remember(upstream)


async def _move_to_downloading(job: Job, upstream: UpstreamOrder) -> None:
    event = job.event(EventKind.UPSTREAM_ORDER_VALID, upstream.url)
    now = job.now

    def rule(current: OrderBundle) -> Change:
        order = to_downloading(current.order, upstream.certificate, now)
        return Change(order=order, events=(event,), schedule_removal=True)

    await job.commit(rule)


async def fail_upstream(
    job: Job,
    relay: RelayAuthority,
    account: UpstreamAccount,
    upstream: UpstreamOrder,
    seen: Sequence[UpstreamAuthorization] = (),
) -> None:
    """End the order, whose upstream order is invalid or will be, with the CA's own problem.

    What may pass by itself is for the retry policy, which may have the upstream order restarted.
    """
    problem = await _reason(job, relay, account, upstream, seen)
    final = False
    if job.order.stage is Stage.VALIDATING:
        failed = {part.identifier.value for part in problem.subproblems if part.identifier is not None}
        names = failed or {base_name(item.value) for item in job.order.identifiers}
        final = job.context.limits.count_failed(account.url, names) >= MOST_FAILED_VALIDATIONS
    if {part.type for part in problem.subproblems or (problem,)} <= TRANSIENT:
        raise UpstreamOrderUnusable(EventKind.UPSTREAM_VALIDATION_FAILED, problem.detail, problem, final=final)
    await job.fail(problem, job.event(EventKind.UPSTREAM_ORDER_FAILED, upstream.status))


async def _reason(
    job: Job,
    relay: RelayAuthority,
    account: UpstreamAccount,
    upstream: UpstreamOrder,
    seen: Sequence[UpstreamAuthorization],
) -> ProblemDocument:
    """Why an upstream order is invalid: its own error, else those of its authorizations, which are read if need be."""
    if upstream.error is not None:
        return upstream.error
    if not seen:
        urls = upstream.authorizations[: len(job.order.identifiers)]
        seen = await job.exchange(
            gather_limited(lambda url: relay.authorization(account, url), urls, READS_AT_ONCE),
            relay.server,
        )
    return _problem_of(seen, upstream)


def _problem_of(seen: Sequence[UpstreamAuthorization], upstream: UpstreamOrder) -> ProblemDocument:
    bad = [item for item in seen if item.status not in UNDECIDED | {"valid"}]
    parts = [
        Subproblem(
            type=item.error.type if item.error else ProblemType.UNAUTHORIZED.urn,
            detail=item.error.detail if item.error else f"the CA's authorization is {item.status}",
            identifier=item.identifier,
        )
        for item in bad
    ]
    if not parts:
        message = f"the CA's order is {upstream.status} and does not say why"
        return Problem(ProblemType.UNAUTHORIZED, message).document()
    first = next((item.error for item in bad if item.error), None)
    if len(parts) == 1 and first is not None:
        return replace(first, identifier=None, subproblems=first.subproblems or tuple(parts))
    names = ", ".join(item.identifier.value for item in bad)
    document = gathered(f"the CA could not validate {names}", parts).document()
    types = {part.type for part in parts}
    return replace(document, type=types.pop()) if len(types) == 1 else document


def _statuses(seen: Sequence[UpstreamAuthorization]) -> str:
    return ", ".join(f"{'*.' if item.wildcard else ''}{item.identifier.value} {item.status}" for item in seen)


def _url(order: Order) -> str:
    assert order.upstream_url is not None, f"order {order.id} at stage {order.stage} has no upstream order"
    return order.upstream_url

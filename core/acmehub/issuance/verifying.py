"""Mode `verify`: the hub validates challenges itself, as a CA does."""

import msgspec
from msgspec.structs import replace

from acmehub.issuance.job import Job, changed
from acmehub.models import (
    Authorization,
    AuthorizationMode,
    AuthorizationStatus,
    ChallengeType,
    EventKind,
    OrderStatus,
    Stage,
)
from acmehub.models.problems import Subproblem, gathered, subproblem
from acmehub.rules import orders
from acmehub.rules.orders import Change, OrderBundle
from acmehub.runtime.concurrency import gather_limited
from acmehub.validation import ValidationFailed

PAUSES = (0.5, 1.0, 2.0, 3.0, 4.0)  # seconds between attempts: about ten in all, as clients publish late
SLOW = 4.0  # seconds: a slower attempt counts for several, so that no client keeps a worker busy
NAMES_AT_ONCE = 16


class Attempt(msgspec.Struct, frozen=True):
    """The outcome for one authorization: `error` goes to the client (None: validated), `message` to the timeline."""

    authorization: Authorization
    error: Subproblem | None
    message: str


def to_verify(bundle: OrderBundle) -> list[Authorization]:
    """The pending authorizations whose challenge the client has responded to."""
    if bundle.order.mode is not AuthorizationMode.VERIFY or bundle.order.status is not OrderStatus.PENDING:
        return []
    return [
        item
        for item in bundle.authorizations
        if item.status is AuthorizationStatus.PENDING and item.answered is not None
    ]


async def verify(job: Job) -> None:
    """Validate every answered challenge; in the end one that fails makes the order invalid."""
    targets = to_verify(job.bundle)
    await job.require_rights()
    actor = await job.context.store.accounts.actor(job.order.account_id)
    assert actor is not None, f"there is no account {job.order.account_id}"
    thumbprint = actor.account.thumbprint
    dns = all(item.answered is ChallengeType.DNS_01 for item in targets)
    attempt = gather_limited(lambda item: _attempt(job, item, thumbprint), targets, NAMES_AT_ONCE)
    attempts = await job.timed(attempt, "DNS" if dns else "the client's servers")
    missing = [item for item in attempts if item.error is not None]
    count = job.order.attempts + 1 + int((job.seconds or 0.0) / SLOW)
    last = count > len(PAUSES)
    if missing and last:
        await _fail(job, missing)
        return
    seen = {item.authorization.id: item.message for item in attempts if item.error is None}
    events = tuple(job.event(EventKind.VALIDATION_FAILED, item.message) for item in missing)
    now, issuance_timeout, remember = job.now, job.context.issuance_timeout, job.context.remember
    later = job.after(PAUSES[min(job.order.attempts, len(PAUSES) - 1)])

    def rule(current: OrderBundle) -> Change:
        after = current
        proven = []
        for authorization_id, message in seen.items():
            change = orders.verified(after, authorization_id, now, remember)
            kept = {item.id: item for item in change.authorizations}
            after = OrderBundle(change.order, tuple(kept.get(item.id, item) for item in after.authorizations))
            proven += [
                replace(event, detail=f"{event.detail}: {message}", server=job.server, seconds=job.seconds)
                for event in change.events
            ]
        order = after.order
        if to_verify(after):
            fresh = len(to_verify(after)) > len(missing)  # another one was answered meanwhile
            order = replace(order, run_at=now if fresh else later, attempts=count)
        elif order.status is OrderStatus.READY and order.stage is Stage.ORDERING and not order.preauthorization:
            order = replace(order, run_at=now, attempts=0, deadline=max(order.deadline, now + issuance_timeout))
        else:
            order = replace(order, run_at=None, attempts=0)
        return Change(
            order=order,
            authorizations=changed(current.authorizations, after.authorizations),
            events=(*proven, *events),
        )

    await job.commit(rule)


async def wait_for_responses(job: Job) -> None:
    """The client has not responded to a challenge yet: nothing is due until it does."""
    now = job.now

    def rule(current: OrderBundle) -> Change:
        return Change(order=replace(current.order, run_at=now if to_verify(current) else None))

    await job.commit(rule)


async def _attempt(job: Job, authorization: Authorization, thumbprint: str) -> Attempt:
    try:
        message = await job.context.validator.validate(authorization, thumbprint)
    except ValidationFailed as error:
        problem = subproblem(error.type, error.detail, authorization.identifier)
        return Attempt(authorization, problem, error.detail)
    return Attempt(authorization, None, message)


async def _fail(job: Job, missing: list[Attempt]) -> None:
    """The order is invalid, and each authorization bears its own reason."""
    parts = [item.error for item in missing if item.error is not None]
    names = ", ".join(item.authorization.identifier.value for item in missing)
    document = gathered(f"no proof was found for {names}", parts).document()
    own = {item.authorization.id: item.error for item in missing}
    event = job.event(EventKind.VALIDATION_FAILED, document.detail)
    now = job.now

    def rule(current: OrderBundle) -> Change:
        change = orders.failed(current, document, now)
        authorizations = tuple(
            replace(item, error=replace(document, type=reason.type, detail=reason.detail, subproblems=()))
            if (reason := own.get(item.id)) is not None
            else item
            for item in change.authorizations
        )
        return replace(change, authorizations=authorizations, events=(event, *change.events))

    await job.commit(rule)

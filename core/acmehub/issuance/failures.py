"""A failed step: asks the retry policy and writes what it decides."""

from datetime import datetime

from msgspec.structs import replace

from acmehub.dns01 import DnsError
from acmehub.issuance.issuing import revoke
from acmehub.issuance.job import Job
from acmehub.issuance.retry_policy import (
    COUNTED,
    Facts,
    Fail,
    Note,
    RestartUpstreamOrder,
    Retry,
    WrongCertificate,
    decide,
)
from acmehub.issuance.upstream_order import restart_upstream_order
from acmehub.models import Event, Stage
from acmehub.ports.authority import (
    UpstreamAccountRefused,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamUnavailable,
)
from acmehub.ports.dns import DnsProviderError
from acmehub.rules.orders import Change, OrderBundle
from acmehub.rules.pauses import pause_for
from acmehub.runtime.outages import AUTHORITY


async def handle(job: Job, error: Exception) -> None:
    """End the step that raised `error`."""
    order = job.order
    if isinstance(error, UpstreamError | DnsError | DnsProviderError):
        job.server = error.server or job.server
    if isinstance(error, UpstreamUnavailable | UpstreamAccountRefused):
        outages = job.context.outages
        outages.failed(AUTHORITY, order.authority_id, error.detail, job.began, error.server)
    if isinstance(error, UpstreamRateLimited) and error.paused:
        pause = pause_for(error.detail, order.identifiers, job.now)
        await job.context.plugin_objects.pause(order.authority_id, pause)
    now, deadline = job.now, _deadline(job)
    told = isinstance(error, COUNTED) or now >= deadline
    facts = Facts(
        stage=order.stage,
        attempts=order.attempts,
        deadline=deadline,
        now=now,
        sent_replaces=job.sent_replaces,
        sent_csr=job.sent_csr,
        certificate=order.upstream_certificate or order.upstream_url or "",
        timeline=await job.context.store.records.timeline(order.id) if told else (),
    )
    match decide(error, facts):
        case Fail() as decision:
            job.trouble = decision.trouble
            await job.fail(decision.problem, *_events(job, decision.note))
            if isinstance(error, WrongCertificate) and error.leaf is not None:
                await revoke(job, error.leaf)
        case RestartUpstreamOrder() as decision:
            note = decision.note
            await restart_upstream_order(job, note.kind, note.detail, keep=decision.keep, pause=decision.seconds)
        case Retry() as decision:
            if decision.forget_account:
                await job.context.plugin_objects.forget_account(order.authority_id, job.account_url)
            await _retry(job, decision, deadline)


def _deadline(job: Job) -> datetime:
    """The order's; at stage `authorized` its client took its time, and the issuance timeout begins with a failure."""
    order = job.order
    if order.stage is Stage.AUTHORIZED and order.attempts == 0:
        return max(order.deadline, job.now + job.context.issuance_timeout)
    return order.deadline


async def _retry(job: Job, decision: Retry, deadline: datetime) -> None:
    run_at = job.after(decision.seconds)
    events = _events(job, decision.note)

    def rule(current: OrderBundle) -> Change:
        attempts = current.order.attempts + 1
        order = replace(current.order, run_at=run_at, attempts=attempts, deadline=max(current.order.deadline, deadline))
        if decision.forget_replaces:
            order = replace(order, replaces=None)
        return Change(order=order, events=events)

    await job.commit(rule)


def _events(job: Job, note: Note | None) -> tuple[Event, ...]:
    return () if note is None else (job.event(note.kind, note.detail),)

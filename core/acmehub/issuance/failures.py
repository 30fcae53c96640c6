"""A failed step: asks the retry policy and writes what it decides."""

from msgspec.structs import replace

from acmehub.issuance.job import Job
from acmehub.issuance.retry_policy import COUNTED, Facts, Fail, Note, RestartUpstreamOrder, Retry, decide
from acmehub.issuance.upstream_order import restart_upstream_order
from acmehub.models import Event
from acmehub.ports.authority import UpstreamError
from acmehub.ports.dns import DnsProviderError
from acmehub.rules.orders import Change, OrderBundle


async def handle(job: Job, error: Exception) -> None:
    """End the step that raised `error`."""
    order = job.order
    if isinstance(error, UpstreamError | DnsProviderError):
        job.server = error.server or job.server
    timeline = await job.context.store.records.timeline(order.id) if isinstance(error, COUNTED) else ()
    facts = Facts(
        stage=order.stage,
        attempts=order.attempts,
        deadline=order.deadline,
        now=job.now,
        sent_replaces=job.sent_replaces,
        timeline=timeline,
    )
    match decide(error, facts):
        case Fail() as decision:
            await job.fail(decision.problem, *_events(job, decision.note))
        case RestartUpstreamOrder() as decision:
            note = decision.note
            await restart_upstream_order(job, note.kind, note.detail, keep=decision.keep, pause=decision.seconds)
        case Retry() as decision:
            if decision.forget_account:
                await job.context.plugin_objects.forget_account(order.authority_id, job.account_url)
            await _retry(job, decision)


async def _retry(job: Job, decision: Retry) -> None:
    run_at = job.after(decision.seconds)
    events = _events(job, decision.note)

    def rule(current: OrderBundle) -> Change:
        order = replace(current.order, run_at=run_at, attempts=current.order.attempts + 1)
        if decision.forget_replaces:
            order = replace(order, replaces=None)
        return Change(order=order, events=events)

    await job.commit(rule)


def _events(job: Job, note: Note | None) -> tuple[Event, ...]:
    return () if note is None else (job.event(note.kind, note.detail),)

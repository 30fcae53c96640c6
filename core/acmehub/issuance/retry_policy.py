"""What becomes of an order when a step fails: tried again, ordered anew, or ended with words.

docs/reliability.md 2.13.
"""

import itertools
from datetime import timedelta

from msgspec.structs import replace

from acmehub.dns01 import DnsTrouble, DnsUnclear
from acmehub.issuance.job import Job
from acmehub.issuance.upstream_order import restart_upstream_order
from acmehub.models import EventKind, Stage
from acmehub.models.problems import Problem, ProblemType
from acmehub.ports.authority import (
    UpstreamAccountLost,
    UpstreamError,
    UpstreamObjectLost,
    UpstreamRateLimited,
    UpstreamRefused,
)
from acmehub.ports.dns import DnsProviderError, DnsProviderUnavailable
from acmehub.ports.settings import SettingsError
from acmehub.ports.store import Missing
from acmehub.rules.orders import Change, OrderBundle
from acmehub.runtime.backoff import back_off
from acmehub.runtime.plugins import PluginError
from acmehub.runtime.vault import VaultError

OURS = (Missing, PluginError, SettingsError, VaultError)  # what an operator has to put right
EXPECTED = (UpstreamError, DnsProviderError, DnsTrouble, Problem, *OURS)

MOST_REFUSALS = 12  # with pauses up to a minute: about ten minutes for an operator to put it right
LONGEST_PAUSE = 60.0
LOST = EventKind.CA_NOT_FOUND
SURE_OF_LOSS = 3  # 404s in a row until an upstream order counts as dead
SURER_OF_LOSS = 6  # when it may have been finalized: about two minutes


async def settle(job: Job, error: Exception) -> None:
    """End the step that raised `error`, one of `EXPECTED`."""
    if isinstance(error, UpstreamError):
        job.server = error.server or job.server
        await _settle_upstream(job, error)
    elif isinstance(error, DnsProviderError):
        job.server = error.server or job.server
        await _settle_provider(job, error)
    elif isinstance(error, DnsUnclear):
        await _insist(job, EventKind.DNS_UNCLEAR, Problem(ProblemType.DNS, error.detail))
    elif isinstance(error, DnsTrouble):
        await job.fail(Problem(ProblemType.DNS, error.detail).document())
    elif isinstance(error, Problem):
        await job.fail(error.document())
    else:
        words = str(error) or type(error).__name__
        await _insist(job, EventKind.NEEDS_OPERATOR, Problem(ProblemType.SERVER_INTERNAL, words))


async def _settle_upstream(job: Job, error: UpstreamError) -> None:
    match error:
        case UpstreamRateLimited():
            await _settle_limit(job, error)
        case UpstreamAccountLost():
            await job.context.plugin_objects.forget_account(job.order.authority_id, job.account_url)
            event = job.event(EventKind.UPSTREAM_ACCOUNT_LOST, error.detail)
            await job.put_off(back_off(job.order.attempts + 1), event)  # `steps` finds out whether it is another one
        case UpstreamObjectLost():
            await _settle_loss(job, error)
        case UpstreamRefused() if job.order.stage is Stage.ORDERING and job.told_replaces:
            await _order_without_replaces(job, error.detail)
        case UpstreamRefused():
            await job.fail(error.problem, job.event(EventKind.CA_REFUSED, error.detail))
        case _:
            pause = back_off(job.order.attempts + 1, error.retry_after)
            await job.put_off(pause, job.event(EventKind.CA_UNAVAILABLE, error.detail))


async def _order_without_replaces(job: Job, words: str) -> None:
    """A renewal is worth more than the CA's knowing what it renews (docs/client-rules.md rule 29): if that was the
    reason, the
    next try succeeds, and else it is refused for good."""
    event = job.event(EventKind.CA_REFUSED_REPLACES, words)
    now = job.now

    def rule(current: OrderBundle) -> Change:
        return Change(order=replace(current.order, replaces=None, run_at=now), events=(event,))

    await job.commit(rule)


async def _settle_limit(job: Job, error: UpstreamRateLimited) -> None:
    """At its time, where that is within the order's patience; else the client is told."""
    seconds = error.retry_after if error.retry_after is not None else back_off(job.order.attempts + 1, longest=3600.0)
    event = job.event(EventKind.CA_RATE_LIMITED, f"{error.detail} (in {seconds:.0f} s again)")
    if job.now + timedelta(seconds=seconds) < job.order.deadline:
        await job.put_off(seconds, event)
    else:
        await job.fail(Problem(ProblemType.RATE_LIMITED, error.detail).document(), event)


async def _settle_loss(job: Job, error: UpstreamObjectLost) -> None:
    """One 404 may be a slip of the CA's; a certificate that was issued is never ordered a second time."""
    event = job.event(LOST, error.detail)
    timeline = await job.context.store.records.timeline(job.order.id)
    in_a_row = sum(1 for _ in itertools.takewhile(lambda item: item.kind == LOST, reversed(timeline)))
    count = min(in_a_row, job.order.attempts) + 1  # what worked meanwhile has reset `attempts`
    sure = SURER_OF_LOSS if job.order.stage in (Stage.FINALIZING, Stage.ISSUING) else SURE_OF_LOSS
    if count < sure or job.order.stage is Stage.DOWNLOADING:
        await job.put_off(back_off(job.order.attempts + 1), event)
    else:
        await restart_upstream_order(
            job, EventKind.UPSTREAM_ORDER_LOST, error.detail, pause=back_off(job.order.attempts + 1)
        )


async def _settle_provider(job: Job, error: DnsProviderError) -> None:
    if isinstance(error, DnsProviderUnavailable):
        pause = back_off(job.order.attempts + 1, error.retry_after)
        await job.put_off(pause, job.event(EventKind.DNS_PROVIDER_UNAVAILABLE, error.detail))
    else:
        await _insist(job, EventKind.DNS_PROVIDER_REFUSED, Problem(ProblemType.DNS, error.detail))


async def _insist(job: Job, kind: EventKind, problem: Problem) -> None:
    """Try again for about ten minutes, then give up with this problem."""
    event = job.event(kind, problem.detail)
    attempts = job.order.attempts + 1
    if attempts >= MOST_REFUSALS:
        await job.fail(problem.document(), event)
    else:
        await job.put_off(min(LONGEST_PAUSE, back_off(attempts + 1)), event)

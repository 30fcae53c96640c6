"""Stages `publishing` and `propagating`: the worker creates TXT records and waits until the CA can see them."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from acmehub.dns01 import DnsUnclear, Judgement, Verdict, judge
from acmehub.dns01.propagation import next_poll_in
from acmehub.issuance.job import Job
from acmehub.issuance.retry_policy import UpstreamOrderUnusable
from acmehub.models import Event, EventKind, Stage, TxtRecord, TxtState
from acmehub.models.problems import Problem, ProblemType
from acmehub.ports.dns import DnsProviderError
from acmehub.rules import orders
from acmehub.rules.orders import Change
from acmehub.runtime.concurrency import gather_limited
from acmehub.runtime.crash_points import CrashPoint

RECORDS_AT_ONCE = 4
WRITE_AGAIN_EVERY = 6  # polls: another may have removed the record, or the provider confirmed it and did nothing


async def publish(job: Job) -> None:
    """Stage `publishing`: create each planned TXT record."""
    rows = await _rows(job)
    planned = [row for row in rows if row.state is TxtState.PLANNED]
    groups = await job.context.solver.together(planned)
    await gather_limited(lambda group: _publish(job, group), groups, RECORDS_AT_ONCE)
    now = job.now
    await job.commit(
        lambda current: Change(order=replace(orders.with_stage(current.order, Stage.PROPAGATING), run_at=now))
    )


async def _publish(job: Job, rows: Sequence[TxtRecord]) -> None:
    """Create the records of a group (`Solver.together`). Those that were created are noted also if others failed."""
    context, first = job.context, rows[0]
    await _require_rights(job, first)
    started = context.clock.monotonic()
    context.crash_points.hit(CrashPoint.BEFORE_ADD_TXT)
    with context.outages.of_managed_challenge(first.managed_challenge_id):
        failed: Mapping[str, DnsProviderError] = {}
        if not await context.solver.publish_together(rows):
            await _require_rights(job, first)
            failed = await context.solver.publish_apart(rows)
    context.crash_points.hit(CrashPoint.AFTER_ADD_TXT)
    seconds = context.clock.monotonic() - started
    for row in rows:
        if row.id not in failed:
            await context.solver.mark_present(row)
            job.noted.append(
                Event(
                    order_id=row.order_id,
                    at=job.now,
                    kind=EventKind.TXT_CREATED,
                    detail=row.name,
                    server=row.zone,
                    seconds=seconds,
                )
            )
    for error in failed.values():
        raise error


async def watch_propagation(job: Job) -> None:
    """Stage `propagating`: go on when every reachable server shows every value; fail at the limit."""
    await job.require_rights()
    rows = await _rows(job)
    polls = job.count_poll("propagation")
    sights = await job.timed(job.context.solver.propagated(rows), late=DnsUnclear)
    now = job.now
    elapsed = max((now - max(row.run_at or row.created for row in rows)).total_seconds(), 0.0) if rows else 0.0
    judgements = [judge(sight, elapsed, polls) for sight in sights]
    for judgement in judgements:
        if judgement.verdict is Verdict.FAIL:
            problem = Problem(ProblemType.DNS, f"the CA was not asked to look: {judgement.message}")
            job.server = _servers([judgement])
            await job.fail(problem.document(), job.event(EventKind.TXT_NOT_VISIBLE, judgement.message))
            return
    waiting = [item for item in judgements if item.verdict is Verdict.WAIT]
    if waiting:
        job.server = _servers(waiting)
        await _wait(job, rows, polls, "; ".join(item.message for item in waiting))
        return
    job.server = _servers(judgements)
    kind = EventKind.TXT_VISIBLE if all(item.servers for item in judgements) else EventKind.TXT_NOT_CHECKED
    event = job.event(kind, "; ".join(item.message for item in judgements))
    await job.commit(
        lambda current: Change(
            order=replace(orders.with_stage(current.order, Stage.RESPONDING), run_at=now), events=(event,)
        )
    )


def _servers(judgements: Sequence[Judgement]) -> str:
    return ", ".join(sorted({server for item in judgements for server in item.servers}))


async def _wait(job: Job, rows: Sequence[TxtRecord], polls: int, message: str) -> None:
    events = [job.event(EventKind.WAITS_FOR_TXT, message)] if polls == 1 or polls % WRITE_AGAIN_EVERY == 0 else []
    if polls % WRITE_AGAIN_EVERY == 0:
        await gather_limited(lambda row: _publish_again(job, row), rows, RECORDS_AT_ONCE)
    await job.reschedule(next_poll_in(polls), *events, attempts=0)


async def _publish_again(job: Job, row: TxtRecord) -> None:
    await _require_rights(job, row)
    with job.context.outages.of_managed_challenge(row.managed_challenge_id):
        await job.context.solver.publish(row)
    await job.context.solver.mark_present(row)


async def _require_rights(job: Job, row: TxtRecord) -> None:
    """Before a record is written: the names are allowed, and by the managed challenge that the record was planned for,
    which may be disabled since; another one that covers the name gets a record of its own."""
    scope = await job.require_rights()
    if row.managed_challenge_id not in {item.id for item in scope.challenges.values()}:
        raise UpstreamOrderUnusable(EventKind.MANAGED_CHALLENGE_CHANGED, row.name)


async def _rows(job: Job) -> Sequence[TxtRecord]:
    rows = await job.context.store.txt_records.of_order(job.order.id)
    return [row for row in rows if row.state is not TxtState.REMOVE]

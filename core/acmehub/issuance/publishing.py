"""Stages `publishing` and `propagating`: the records are made, and watched until the CA can see them."""

from collections.abc import Sequence

from msgspec.structs import replace

from acmehub.dns01 import Verdict, judge
from acmehub.dns01.propagation import next_query_in
from acmehub.issuance.job import Job
from acmehub.models import Event, EventKind, Stage, TxtRecord, TxtState
from acmehub.models.problems import Problem, ProblemType
from acmehub.rules import orders
from acmehub.rules.orders import Change
from acmehub.runtime.concurrency import gather_limited
from acmehub.runtime.crash_points import CrashPoint

RECORDS_AT_ONCE = 4
WRITE_AGAIN_EVERY = 6  # looks: somebody else may have taken the record away, or the provider said yes and did nothing


async def publish(job: Job) -> None:
    """Stage `publishing`: make each record that is stored and not yet in DNS."""
    rows = await _rows(job)
    planned = [row for row in rows if row.state is TxtState.PLANNED]
    await gather_limited(lambda row: _publish(job, row), planned, RECORDS_AT_ONCE)
    now = job.now
    await job.commit(
        lambda current: Change(order=replace(orders.with_stage(current.order, Stage.PROPAGATING), run_at=now))
    )


async def _publish(job: Job, row: TxtRecord) -> None:
    context = job.context
    started = context.clock.monotonic()
    context.crash_points.hit(CrashPoint.BEFORE_ADD_TXT)
    await context.solver.publish(row)
    context.crash_points.hit(CrashPoint.AFTER_ADD_TXT)
    seconds = context.clock.monotonic() - started
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


async def watch_propagation(job: Job) -> None:
    """Stage `propagating`: go on when every server that can be asked shows every value; fail here at the limit."""
    rows = await _rows(job)
    looks = job.look("propagation")
    sights = await job.exchange(job.context.solver.propagated(rows), ", ".join(sorted({row.zone for row in rows})))
    now = job.now
    elapsed = max((now - max(row.run_at or row.created for row in rows)).total_seconds(), 0.0) if rows else 0.0
    judgements = [judge(sight, elapsed, looks) for sight in sights]
    for judgement in judgements:
        if judgement.verdict is Verdict.FAIL:
            problem = Problem(ProblemType.DNS, f"the CA was not asked to look: {judgement.words}")
            await job.fail(problem.document(), job.event(EventKind.TXT_NOT_VISIBLE, judgement.words))
            return
    waiting = [item.words for item in judgements if item.verdict is Verdict.WAIT]
    if waiting:
        await _wait(job, rows, looks, "; ".join(waiting))
        return
    words = "; ".join(item.words for item in judgements)
    event = job.event(EventKind.TXT_VISIBLE, words)
    await job.commit(
        lambda current: Change(
            order=replace(orders.with_stage(current.order, Stage.RESPONDING), run_at=now), events=(event,)
        )
    )


async def _wait(job: Job, rows: Sequence[TxtRecord], looks: int, words: str) -> None:
    events = [job.event(EventKind.WAITS_FOR_TXT, words)] if looks == 1 or looks % WRITE_AGAIN_EVERY == 0 else []
    if looks % WRITE_AGAIN_EVERY == 0:
        await gather_limited(lambda row: _publish_again(job, row), rows, RECORDS_AT_ONCE)
    await job.put_off(next_query_in(looks), *events, attempts=0)


async def _publish_again(job: Job, row: TxtRecord) -> None:
    await job.context.solver.publish(row)
    await job.context.solver.mark_present(row)


async def _rows(job: Job) -> Sequence[TxtRecord]:
    rows = await job.context.store.txt_records.of_order(job.order.id)
    return [row for row in rows if row.state is not TxtState.REMOVE]

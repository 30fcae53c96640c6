"""Stages `publishing` and `propagating`: the records are made, and watched until the CA can see them."""

from collections.abc import Sequence

from msgspec.structs import replace

from acmehub.rules import orders
from acmehub.dns01 import Verdict, judge
from acmehub.runtime.concurrency import gather_some
from acmehub.dns01.propagation import look_again_in
from acmehub.issuance.job import Job
from acmehub.models import Event, Stage, TxtRecord, TxtState
from acmehub.rules.orders import Change
from acmehub.models.problems import Problem, ProblemType

RECORDS_AT_ONCE = 4
WRITE_AGAIN_EVERY = 6  # looks: somebody else may have taken the record away, or the provider said yes and did nothing


async def publish(job: Job) -> None:
    """Stage `publishing`: make each record that is in the ledger and not yet in DNS."""
    rows = await _rows(job)
    planned = [row for row in rows if row.state is TxtState.PLANNED]
    await gather_some(lambda row: _publish(job, row), planned, RECORDS_AT_ONCE)
    now = job.now
    await job.commit(
        lambda current: Change(order=replace(orders.with_stage(current.order, Stage.PROPAGATING), run_at=now))
    )


async def _publish(job: Job, row: TxtRecord) -> None:
    engine = job.engine
    started = engine.clock.monotonic()
    engine.faults.hit("F4")
    await engine.solver.publish(row)
    engine.faults.hit("F5")
    seconds = engine.clock.monotonic() - started
    await engine.solver.mark_present(row)
    job.noted.append(
        Event(
            order_id=row.order_id, at=job.now, what="TXT record made", detail=row.name, server=row.zone, seconds=seconds
        )
    )


async def watch_propagation(job: Job) -> None:
    """Stage `propagating`: go on when every server that can be asked shows every value; fail here at the limit."""
    rows = await _rows(job)
    looks = job.look("propagation")
    sights = await job.exchange(job.engine.solver.propagated(rows), ", ".join(sorted({row.zone for row in rows})))
    now = job.now
    elapsed = max((now - max(row.run_at or row.created for row in rows)).total_seconds(), 0.0) if rows else 0.0
    judgements = [judge(sight, elapsed, looks) for sight in sights]
    for judgement in judgements:
        if judgement.verdict is Verdict.FAIL:
            problem = Problem(ProblemType.DNS, f"the CA was not asked to look: {judgement.words}")
            await job.fail(problem.document(), job.event("TXT records not seen", judgement.words))
            return
    waiting = [item.words for item in judgements if item.verdict is Verdict.WAIT]
    if waiting:
        await _wait(job, rows, looks, "; ".join(waiting))
        return
    words = "; ".join(item.words for item in judgements)
    event = job.event("TXT records seen", words)
    await job.commit(
        lambda current: Change(
            order=replace(orders.with_stage(current.order, Stage.TRIGGERING), run_at=now), events=(event,)
        )
    )


async def _wait(job: Job, rows: Sequence[TxtRecord], looks: int, words: str) -> None:
    events = [job.event("waits for TXT records", words)] if looks == 1 or looks % WRITE_AGAIN_EVERY == 0 else []
    if looks % WRITE_AGAIN_EVERY == 0:
        await gather_some(lambda row: _publish_again(job, row), rows, RECORDS_AT_ONCE)
    await job.put_off(look_again_in(looks), *events, attempts=0)


async def _publish_again(job: Job, row: TxtRecord) -> None:
    await job.engine.solver.publish(row)
    await job.engine.solver.mark_present(row)


async def _rows(job: Job) -> Sequence[TxtRecord]:
    rows = await job.engine.store.ledger.of_order(job.order.id)
    return [row for row in rows if row.state is not TxtState.REMOVE]

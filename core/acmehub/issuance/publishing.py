"""Stages `publishing` and `propagating`: the worker creates TXT records and waits until the CA can see them."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from acmehub.dns01 import DnsUnclear, Judgement, Verdict, judge
from acmehub.dns01.propagation import next_poll_in
from acmehub.issuance.authorizing import next_challenge, respond
from acmehub.issuance.job import Job
from acmehub.issuance.retry_policy import EXPECTED, UpstreamOrderUnusable
from acmehub.models import Event, EventKind, Stage, TxtRecord, TxtState
from acmehub.models.problems import Problem, ProblemType
from acmehub.ports.authority import RelayAuthority
from acmehub.ports.dns import DnsProviderError
from acmehub.ports.store import Conflict, Fenced
from acmehub.rules import orders
from acmehub.rules.orders import Change, OrderBundle
from acmehub.rules.single_flight import lock_key
from acmehub.runtime.concurrency import gather_limited
from acmehub.runtime.crash_points import CrashPoint

RECORDS_AT_ONCE = 4
WRITE_AGAIN_EVERY = 6  # polls: another may have removed the record, or the provider confirmed it and did nothing


async def publish(job: Job) -> None:
    """Stage `publishing`: create each planned TXT record; that they are there is one write with the stage."""
    rows = await _rows(job)
    planned = [row for row in rows if row.state is TxtState.PLANNED]
    made: list[TxtRecord] = []
    groups = await job.context.solver.together(planned)
    try:
        await gather_limited(lambda group: _publish(job, group, made), groups, RECORDS_AT_ONCE)
    except EXPECTED:  # of one record: the others are there
        await _mark_present(job, made)
        raise
    now = job.now
    created, job.noted = tuple(job.noted), []
    present = tuple([replace(row, state=TxtState.PRESENT, run_at=now) for row in made])

    def rule(current: OrderBundle) -> Change:
        order = replace(orders.with_stage(current.order, Stage.PROPAGATING), run_at=now)
        return Change(order=order, present=present, events=created)

    try:
        await job.commit(rule)
    except (Conflict, Fenced) as error:
        await _mark_present(job, made)
        if isinstance(error, Fenced) or error.field != "txt_record":
            raise
        present = ()
        await job.commit(rule)
    if present and not job.is_written:
        await _mark_present(job, made)
    by_id = {row.id: replace(row, version=row.version + 1) for row in present}
    job.records = tuple([by_id.get(row.id, row) for row in rows]) if present or not made else None


async def _mark_present(job: Job, made: Sequence[TxtRecord]) -> None:
    """In writes of their own: a row that was removed meanwhile has to be made again, so that its record is removed."""
    for row in made:
        await job.context.solver.mark_present(row)


async def _publish(job: Job, rows: Sequence[TxtRecord], made: list[TxtRecord]) -> None:
    """Create the records of a group (`Solver.together`); those that were created are `made` also if others failed."""
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
            made.append(row)
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


async def watch_propagation(job: Job, relay: RelayAuthority) -> None:
    """Stage `propagating`: go on when every reachable server shows every value; fail at the limit.

    What this claim has read of the CA's authorizations tells how to respond at once.
    """
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
    target = next_challenge(job)
    if target is not None and target.upstream_url in job.authorizations and await _same_account(job, relay):
        job.noted.append(event)
        await respond(job, relay)
        return
    await job.commit(
        lambda current: Change(
            order=replace(orders.with_stage(current.order, Stage.RESPONDING), run_at=now), events=(event,)
        )
    )


async def _same_account(job: Job, relay: RelayAuthority) -> bool:
    """Whether the upstream order is the hub's account's still."""
    account = await job.account(relay.server)
    return lock_key(relay.server, account.url, job.order) == job.order.lock_key


def _servers(judgements: Sequence[Judgement]) -> str:
    return ", ".join(sorted({server for item in judgements for server in item.servers}))


async def _wait(job: Job, rows: Sequence[TxtRecord], polls: int, message: str) -> None:
    events = [job.event(EventKind.WAITS_FOR_TXT, message)] if polls == 1 or polls % WRITE_AGAIN_EVERY == 0 else []
    if polls % WRITE_AGAIN_EVERY == 0:
        job.records = None
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
    if job.records is None:
        job.records = tuple(await job.context.store.txt_records.of_order(job.order.id))
    return [row for row in job.records if row.state is not TxtState.REMOVE]

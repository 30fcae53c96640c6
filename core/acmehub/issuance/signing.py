"""Stage `authorized` at an authority that signs by itself: from CSR to certificate in one write."""

from msgspec.structs import replace

from acmehub.issuance.issuing import certificate_of
from acmehub.issuance.job import Job
from acmehub.models import EventKind, Stage
from acmehub.models.problems import Problem, ProblemType
from acmehub.ports.authority import SigningAuthority
from acmehub.rules import orders
from acmehub.rules.chains import ChainMismatch, check_leaf
from acmehub.rules.orders import Change, OrderBundle


async def sign(job: Job, authority: SigningAuthority, name: str) -> None:
    """Sign, check, and turn the order valid. `name` is the authority's, for the timeline."""
    order = job.order
    if order.stage is Stage.ORDERING:  # the order was opened for another kind of authority
        await job.fail(
            Problem(ProblemType.SERVER_INTERNAL, f"authority {name} signs by itself now; send a new order").document()
        )
        return
    csr = job.csr
    if order.csr is None or csr is None:
        await job.commit(lambda current: Change(order=replace(current.order, run_at=None)))
        return
    await job.require_rights()
    chain = await job.exchange(authority.sign(order.csr, job.request), name)
    now = job.now
    try:
        leaf = check_leaf(chain, csr, order.identifiers, now, allow_leaf_only=True, issuers=job.context.issuers)
    except ChainMismatch as error:
        problem = Problem(ProblemType.SERVER_INTERNAL, f"{name} gave a wrong certificate: {error.detail}")
        await job.fail(problem.document(), job.event(EventKind.WRONG_CERTIFICATE, error.detail))
        return
    certificate = certificate_of(order, leaf, (), job)
    seconds = job.seconds

    def rule(current: OrderBundle) -> Change:
        change = orders.issued(current.order, certificate, now)
        event = replace(change.events[0], server=name, seconds=seconds)
        return replace(change, events=(event,), schedule_removal=False)

    await job.commit(rule)

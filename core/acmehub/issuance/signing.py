"""Stage `authorized` at an authority that signs by itself: from CSR to certificate in one write."""

from msgspec.structs import replace

from acmehub.issuance.issuing import certificate_of
from acmehub.issuance.job import Job
from acmehub.issuance.retry_policy import WrongCertificate
from acmehub.models import Stage
from acmehub.ports.authority import SigningAuthority
from acmehub.ports.settings import SettingsError
from acmehub.rules import orders
from acmehub.rules.chains import ChainMismatch, check_leaf
from acmehub.rules.orders import Change, OrderBundle


async def sign(job: Job, authority: SigningAuthority, name: str) -> None:
    """Sign, check, and turn the order valid. `name` is the authority's, for the timeline.

    An order that was begun at a CA is not signed here: its certificate may exist.
    """
    order = job.order
    if order.stage is not Stage.AUTHORIZED or order.upstream_url is not None:
        raise SettingsError(f"authority {name!r} signs by itself now; the order was opened for the CA that it was")
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
        raise WrongCertificate(f"{name} gave a wrong certificate: {error.detail}") from error
    certificate = certificate_of(order, leaf, (), job)
    seconds = job.seconds

    def rule(current: OrderBundle) -> Change:
        change = orders.issued(current.order, certificate, now)
        event = replace(change.events[0], server=name, seconds=seconds)
        return replace(change, events=(event,), schedule_removal=False)

    await job.commit(rule)

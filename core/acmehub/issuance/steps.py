"""The next step of an order: validation in mode `verify`, then the step of its stage."""

from collections.abc import Sequence

from acmehub.issuance.authorizing import read_authorizations, respond, watch_validation
from acmehub.issuance.issuing import begin_finalizing, download, finalize, watch_issuance
from acmehub.issuance.job import Job
from acmehub.issuance.publishing import publish, watch_propagation
from acmehub.issuance.retry_policy import DeadlinePassed
from acmehub.issuance.signing import sign
from acmehub.issuance.upstream_order import order_upstream, restart_upstream_order
from acmehub.issuance.verifying import to_verify, verify, wait_for_responses
from acmehub.models import AuthorizationMode, EventKind, OrderStatus, Pause, Stage
from acmehub.ports.authority import RelayAuthority
from acmehub.ports.settings import SettingsError
from acmehub.rules.single_flight import lock_key
from acmehub.runtime.outages import AUTHORITY
from acmehub.runtime.plugin_objects import PLUGIN_UNUSABLE

# Stages in which the upstream account may change: a certificate that exists is fetched, not ordered again.
ANY_ACCOUNT = frozenset({Stage.ORDERING, Stage.PUBLISHING, Stage.PROPAGATING, Stage.DOWNLOADING})
# Stages in which a certificate may exist: after the deadline the CA is asked once more before the order is given up.
LAST_LOOK = frozenset({Stage.FINALIZING, Stage.ISSUING, Stage.DOWNLOADING})


async def take_step(job: Job) -> None:
    """One step: reads, at most one outside effect, then one write. Raises what `retry_policy.EXPECTED` lists."""
    order = job.order
    job.server, job.seconds = "", None
    if job.late and order.stage is not Stage.AUTHORIZED and order.stage not in LAST_LOOK:
        raise DeadlinePassed
    if order.mode is AuthorizationMode.VERIFY and order.status is OrderStatus.PENDING:
        await (verify(job) if to_verify(job.bundle) else wait_for_responses(job))
        return
    await job.take_snapshot()
    try:
        instance = await job.context.plugin_objects.authority(order.authority_id, job.snapshot)
    except PLUGIN_UNUSABLE as error:
        now = job.context.clock.monotonic()
        job.context.outages.failed(AUTHORITY, order.authority_id, str(error) or type(error).__name__, now)
        raise
    authority = instance.object
    if job.context.signs(authority):
        await sign(job, authority, instance.row.name)
    elif job.context.relays(authority):
        await _relay_step(job, authority, instance.row.pauses)
    else:
        raise SettingsError(f"plugin {instance.row.plugin!r} returned an object that is no authority")


async def _relay_step(job: Job, relay: RelayAuthority, pauses: Sequence[Pause]) -> None:
    order = job.order
    if order.stage not in ANY_ACCOUNT and order.lock_key is not None:
        account = await job.account(relay.server)
        if lock_key(relay.server, account.url, order) != order.lock_key:
            await restart_upstream_order(job, EventKind.UPSTREAM_ACCOUNT_CHANGED, account.url)
            return
    match job.order.stage:
        case Stage.ORDERING:
            await order_upstream(job, relay, pauses)
        case Stage.AUTHORIZING:
            await read_authorizations(job, relay)
        case Stage.PUBLISHING:
            await publish(job)
        case Stage.PROPAGATING:
            await watch_propagation(job, relay)
        case Stage.RESPONDING:
            await respond(job, relay)
        case Stage.VALIDATING:
            await watch_validation(job, relay)
        case Stage.AUTHORIZED:
            await begin_finalizing(job, relay)
        case Stage.FINALIZING:
            await finalize(job, relay)
        case Stage.ISSUING:
            await watch_issuance(job, relay)
        case Stage.DOWNLOADING:
            await download(job, relay)
        case Stage.DONE | Stage.FAILED:
            raise AssertionError(f"order {job.order.id} is {job.order.stage} and was claimed")

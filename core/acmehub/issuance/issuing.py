"""Stages `authorized`, `finalizing`, `issuing`, `downloading`: from the client's CSR to its certificate."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from cryptography.hazmat.primitives.serialization import Encoding
from msgspec.structs import replace

from acmehub.issuance.authorizing import fail_upstream
from acmehub.issuance.job import Job
from acmehub.issuance.renewal_windows import watched
from acmehub.issuance.retry_policy import DeadlinePassed, UpstreamOrderUnusable, WrongCertificate
from acmehub.issuance.upstream_order import restart_upstream_order
from acmehub.models import Certificate, EventKind, Order, OrderStatus, Stage
from acmehub.ports.authority import (
    IssuedChain,
    RelayAuthority,
    UpstreamAccount,
    UpstreamError,
    UpstreamOrder,
    UpstreamUnavailable,
    allows_leaf_only,
    poll_first,
)
from acmehub.rules import orders
from acmehub.rules.chains import ChainMismatch, Leaf, check_leaf, serial_of
from acmehub.rules.downloading import to_downloading
from acmehub.rules.finalizing import to_finalizing
from acmehub.rules.orders import Change, OrderBundle
from acmehub.runtime.backoff import poll_in
from acmehub.runtime.concurrency import gather_limited
from acmehub.runtime.crash_points import CrashPoint
from acmehub.runtime.plugin_objects import PLUGIN_UNUSABLE
from acmehub.runtime.revocation import leaf_of

MOST_ALTERNATES = 8
UNFINISHED = frozenset({"pending", "ready", "processing"})
ALTERNATES_SECONDS = 30.0  # a certificate does not wait longer for chains that most clients do not ask for
_OF_UPSTREAM_ORDER = (EventKind.UPSTREAM_ORDER_CREATED, EventKind.UPSTREAM_ORDER_TAKEN, EventKind.CSR_SENT)

_log = logging.getLogger(__name__)


async def begin_finalizing(job: Job, relay: RelayAuthority) -> None:
    """Stage `authorized`: go on when the client has sent its CSR, and the CA still takes one."""
    if job.order.csr is None:  # the client has not finalized yet: nothing to do
        await job.commit(lambda current: Change(order=replace(current.order, run_at=None)))
    elif job.order.upstream_url is None:
        await restart_upstream_order(
            job, EventKind.UPSTREAM_ORDER_RESTARTED, "another order for the same names took the upstream order over"
        )
    else:
        account = await job.account(relay.server)
        upstream = await job.upstream_order(relay, account, job.order.upstream_url)
        if upstream.status == "invalid":
            await fail_upstream(job, relay, account, upstream)
            return
        if upstream.status == "pending":  # the CA wants control proven again
            raise UpstreamOrderUnusable(EventKind.UPSTREAM_ORDER_PENDING_AGAIN, upstream.url)
        # the first failure here has begun the issuance timeout already: it does not begin once more
        now, timeout = job.now, job.context.issuance_timeout if job.order.attempts == 0 else timedelta()
        await job.commit(lambda current: Change(order=to_finalizing(current.order, now, timeout)))
        job.remember(upstream)


async def finalize(job: Job, relay: RelayAuthority) -> None:
    """Stage `finalizing`: read the upstream order, and send the CSR when it is `ready`."""
    order = job.order
    job.sent_csr = False
    account = await job.account(relay.server)
    assert order.upstream_url is not None
    assert order.csr is not None
    upstream = await job.upstream_order(relay, account, order.upstream_url)
    if upstream.status == "ready" and not job.late:
        if await _is_unsent(job):
            await job.require_rights()
        job.csr_unsent, job.sent_csr = False, True
        try:
            upstream = await job.exchange(
                relay.finalize(account, upstream.finalize, order.upstream_url, order.csr), relay.server
            )
        except UpstreamUnavailable:
            job.noted.append(job.event(EventKind.CSR_SENT, "it is not known whether it arrived"))
            raise
        job.context.crash_points.hit(CrashPoint.AFTER_UPSTREAM_FINALIZE)
        await _move_on(job, relay, account, upstream, sent=True)
    else:
        await _move_on(job, relay, account, upstream, sent=False)


async def _is_unsent(job: Job) -> bool:
    """Whether the CSR was certainly not sent yet: this job has just come to stage `finalizing`, or the steps before
    failed early. Else the order runs to its end, as its certificate may exist."""
    if job.csr_unsent:
        return True
    if job.order.attempts == 0:  # the job before this one ended in the midst of it
        return False
    timeline = await job.context.store.records.timeline(job.order.id)
    last = next((item.kind for item in reversed(timeline) if item.kind in _OF_UPSTREAM_ORDER), None)
    return last is not EventKind.CSR_SENT


async def watch_issuance(job: Job, relay: RelayAuthority) -> None:
    """Stage `issuing`: poll until the upstream order is valid, or has failed."""
    account = await job.account(relay.server)
    assert job.order.upstream_url is not None
    upstream = await job.exchange(relay.order(account, job.order.upstream_url), relay.server)
    if upstream.status == "valid" and upstream.certificate:
        await _fetch_at_once(job, relay, account, upstream.certificate)
        return
    await _move_on(job, relay, account, upstream, sent=False)


async def _fetch_at_once(job: Job, relay: RelayAuthority, account: UpstreamAccount, url: str) -> None:
    """The certificate exists: one write says so and has it; when it cannot be fetched, one says at least so."""
    job.noted.append(job.event(EventKind.UPSTREAM_ORDER_READ, "order is valid"))
    try:
        await _fetch(job, relay, account, url)
    except (UpstreamError, WrongCertificate):
        now = job.now
        await job.commit(lambda current: Change(order=to_downloading(current.order, url, now)))
        raise


async def _move_on(
    job: Job, relay: RelayAuthority, account: UpstreamAccount, upstream: UpstreamOrder, *, sent: bool
) -> None:
    """End the step by the status of an upstream order that was finalized, or still has to be."""
    event = job.event(EventKind.CSR_SENT if sent else EventKind.UPSTREAM_ORDER_READ, f"order is {upstream.status}")
    now = job.now
    if job.late and upstream.status in UNFINISHED:
        raise DeadlinePassed
    finalizing, first = job.order.stage is Stage.FINALIZING, poll_first(relay)
    polls = job.count_poll(
        "issuance"
    )  # counted through both stages, so that a CA that stays `ready` is polled ever less often
    match upstream.status:
        case "valid":

            def rule(current: OrderBundle) -> Change:
                return Change(order=to_downloading(current.order, upstream.certificate, now), events=(event,))

            await job.commit(rule)
        case "processing" | "ready" if sent or (finalizing and upstream.status == "processing"):
            run_at = job.after(poll_in(polls, upstream.retry_after, first=first))

            def rule(current: OrderBundle) -> Change:
                order = orders.with_stage(current.order, Stage.ISSUING)
                return Change(order=replace(order, run_at=run_at), events=(event,))

            await job.commit(rule)
        case "processing":
            await job.reschedule(poll_in(polls, upstream.retry_after, first=first), attempts=0)
        case "ready":  # the finalize was lost, or is not seen yet: the same CSR once more
            run_at = job.after(poll_in(polls, upstream.retry_after, first=first))

            def rule(current: OrderBundle) -> Change:
                order = orders.with_stage(current.order, Stage.FINALIZING)
                return Change(order=replace(order, run_at=run_at), events=(event,))

            await job.commit(rule)
        case "pending":  # the CA wants control proven again
            job.noted.append(event)
            raise UpstreamOrderUnusable(EventKind.UPSTREAM_ORDER_PENDING_AGAIN, upstream.url)
        case "invalid":
            await fail_upstream(job, relay, account, upstream)
        case _:  # no status of RFC 8555: it decides nothing
            raise UpstreamUnavailable(f"the CA's order is {upstream.status!r}", server=relay.server)


async def download(job: Job, relay: RelayAuthority) -> None:
    """Stage `downloading`: fetch the chains, check the leaf, choose a chain, and turn the order valid."""
    account = await job.account(relay.server)
    url = job.order.upstream_certificate
    if url:
        await _fetch(job, relay, account, url)
    else:
        await _find_certificate(job, relay, account)


async def _fetch(job: Job, relay: RelayAuthority, account: UpstreamAccount, url: str) -> None:
    context, order = job.context, job.order
    context.crash_points.hit(CrashPoint.BEFORE_CHAIN_DOWNLOAD)
    issued = await job.exchange(relay.certificate(account, url), relay.server)
    others, missing = await _alternates(relay, account, issued.alternates[:MOST_ALTERNATES])
    event = job.event(EventKind.CHAIN_DOWNLOADED, "; ".join(filter(None, (_count(others), *missing))))
    context.crash_points.hit(CrashPoint.AFTER_CHAIN_DOWNLOAD)
    assert order.csr is not None
    alone = allows_leaf_only(relay)
    try:
        leaves = [
            check_leaf(
                issued.chain,
                order.csr,
                order.identifiers,
                job.now,
                allow_leaf_only=alone,
                issuers=context.issuers,
            )
        ]
    except ChainMismatch as error:
        if order.attempts == 0:
            _log.error("order %s: the CA gave a wrong certificate (%s): %s", order.id, url, error.detail)
        raise WrongCertificate(error.detail, error.leaf) from error
    for other in others:
        with suppress(ChainMismatch):  # an alternate that does not fit is not offered
            leaf = check_leaf(other.chain, order.csr, order.identifiers, job.now, issuers=context.issuers)
            leaves.append(leaf)
    chosen = relay.choose(tuple(leaf.chain for leaf in leaves)) if len(leaves) > 1 else 0
    kept = [leaf.chain for index, leaf in enumerate(leaves) if index != chosen]
    certificate = watched(certificate_of(order, leaves[chosen], kept, job), relay, job.now)
    now = job.now

    def rule(current: OrderBundle) -> Change:
        order = current.order
        if order.stage is Stage.ISSUING:
            order = to_downloading(order, url, now)
        change = orders.issued(order, certificate, now)
        return replace(change, events=(event, *change.events))

    await job.commit(rule)
    if job.order.status is OrderStatus.VALID:
        context.crash_points.hit(CrashPoint.AFTER_VALID_STORED)


async def _alternates(
    relay: RelayAuthority, account: UpstreamAccount, urls: Sequence[str]
) -> tuple[list[IssuedChain], list[str]]:
    """The alternate chains that the CA gives within `ALTERNATES_SECONDS`, in its order; why the others are left out."""
    chains: dict[str, IssuedChain] = {}
    missing: dict[str, str] = {}

    async def fetch(url: str) -> None:
        try:
            chains[url] = await relay.certificate(account, url)
        except UpstreamError as error:
            missing[url] = f"alternate left out: {error.detail}"

    with suppress(TimeoutError):
        async with asyncio.timeout(ALTERNATES_SECONDS):
            await gather_limited(fetch, urls, 2)
    late = {url: f"alternate left out: {url}: no answer in time" for url in urls if url not in chains}
    return [chains[url] for url in urls if url in chains], [missing.get(url, why) for url, why in late.items()]


def _count(others: Sequence[IssuedChain]) -> str:
    return f"{len(others)} alternates" if others else ""


def certificate_of(order: Order, leaf: Leaf, alternates: Sequence[str], job: Job) -> Certificate:
    """The certificate that is stored for a checked leaf."""
    return Certificate(
        order_id=order.id,
        account_id=order.account_id,
        authority_id=order.authority_id,
        names=leaf.names,
        serial=leaf.serial,
        issuer=leaf.issuer,
        spki_sha256=leaf.spki_sha256,
        not_before=leaf.not_before,
        not_after=leaf.not_after,
        chain=leaf.chain,
        alternates=tuple(alternates),
        created=job.now,
        account_url=job.account_url,
        cert_id=leaf.cert_id,
        principal_id=order.principal_id,
        profile=order.client_profile,
        name_set=order.name_set,
    )


async def _find_certificate(job: Job, relay: RelayAuthority, account: UpstreamAccount) -> None:
    """The upstream order was valid without the URL of its certificate: read it again."""
    assert job.order.upstream_url is not None
    upstream = await job.exchange(relay.order(account, job.order.upstream_url), relay.server)
    if not upstream.certificate:
        raise UpstreamOrderUnusable(EventKind.CERTIFICATE_WITHOUT_URL, upstream.url)
    now = job.now
    await job.commit(
        lambda current: Change(order=replace(current.order, upstream_certificate=upstream.certificate, run_at=now))
    )


async def revoke(job: Job, leaf: bytes) -> None:
    """The order has ended with a certificate (DER) that has another key or other names than ordered: revoke it.

    One that the hub keeps is another order's, which the CA mixed up with this one: it stays.
    """
    context, order = job.context, job.order
    kept = await context.store.certificates.by_serial(serial_of(leaf))
    if any(leaf_of(item).public_bytes(Encoding.DER) == leaf for item in kept):
        return
    try:
        authority = (await context.plugin_objects.authority(order.authority_id)).object
        assert isinstance(authority, RelayAuthority)
        account = await job.account(authority.server)
        await job.exchange(authority.revoke(account, leaf, None), authority.server)
    except (UpstreamError, *PLUGIN_UNUSABLE) as error:
        event = job.event(EventKind.WRONG_CERTIFICATE_NOT_REVOKED, str(error))
    else:
        event = job.event(EventKind.WRONG_CERTIFICATE_REVOKED)
    await context.store.records.note([event])

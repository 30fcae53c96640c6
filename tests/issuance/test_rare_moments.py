"""What comes between two steps: a right that goes, a storage that is away, a holder that wakes up, a CA that lags."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from random import Random

import pytest
from msgspec.structs import replace

from acmehub.dns01 import DnsUnclear
from acmehub.issuance.dispatcher import Dispatcher
from acmehub.issuance.idle_orders import IdleOrders
from acmehub.issuance.job import WRITE_TRIES, Job
from acmehub.issuance.renewal_windows import AFTER_FAILURE
from acmehub.issuance.steps import take_step
from acmehub.models import AuthorizationMode, EventKind, Order, OrderStatus, Stage
from acmehub.models.problems import URN, ProblemDocument
from acmehub.ports.authority import (
    UpstreamAccount,
    UpstreamAuthorization,
    UpstreamOrder,
    UpstreamRefused,
    UpstreamUnavailable,
)
from acmehub.ports.store import StoreUnavailable
from acmehub.rules.finalizing import finalize
from acmehub.rules.orders import OrderBundle
from acmehub.runtime.rights import FRESH
from acmehub.testing.fake_relay import FakeOrder
from acmehub.testing.fakes import make_csr
from tests.issuance.rig import Rig
from tests.issuance.test_odd_upstreams import authorized

CAA = ProblemDocument(f"{URN}caa", "no", 403)


async def claimed(rig: Rig) -> Job:
    """The one order that is due."""
    (bundle,) = await rig.store.orders.claim(rig.main._context.new_lease(), rig.clock.now(), 1)
    return Job(rig.main._context, bundle)


# --------------------------------------------------------------------------------------------- authorizations


async def test_an_authorization_that_is_over_before_anything_was_done_for_it_has_another_order_made(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, looks = rig.relay.authorization, list[str]()

    async def deactivated(account: UpstreamAccount, url: str) -> UpstreamAuthorization:
        looks.append(url)
        return replace(await asked(account, url), status="deactivated" if url == looks[0] else "pending")

    with monkeypatch.context() as patch:
        patch.setattr(rig.relay, "authorization", deactivated)
        order_id = await rig.open(finalize=True)
        await rig.main.work_off()
    assert (await rig.whats(order_id))[-1] == EventKind.UPSTREAM_ORDER_STILLBORN
    await rig.go()
    await rig.assert_valid(order_id)
    assert rig.relay.calls.count("new_order") == 2


async def test_an_invalid_authorization_ends_an_order_that_the_ca_still_calls_pending(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = rig.relay._shown

    def lagging(order: FakeOrder) -> UpstreamOrder:
        found = shown(order)
        return replace(found, status="pending") if found.status == "invalid" else found

    monkeypatch.setattr(rig.relay, "_shown", lagging)
    rig.relay.refused = {"www.corp.test": CAA}
    order_id = await rig.open(mode=AuthorizationMode.ACCEPT)
    async with asyncio.timeout(20):
        await rig.go()
    error = (await rig.order(order_id)).error
    assert error is not None
    assert error.type == f"{URN}caa"


async def test_an_authorization_that_is_valid_is_not_read_again(rig: Rig) -> None:
    rig.relay.validation_looks = 3
    begin, quick = rig.relay._authorization, list[str]()

    def one_is_quick(identifier):  # type: ignore[no-untyped-def]
        made = begin(identifier)
        if identifier.value == "a.corp.test":
            quick.append(made.url)
            made.looks = -100
            made.status = made.challenge = "valid"
        return made

    rig.relay._authorization = one_is_quick  # type: ignore[method-assign]
    asked, reads = rig.relay.authorization, list[str]()

    async def counted(account: UpstreamAccount, url: str) -> UpstreamAuthorization:
        reads.append(url)
        return await asked(account, url)

    rig.relay.authorization = counted  # type: ignore[method-assign]
    order_id = await rig.open("a.corp.test", "b.corp.test", mode=AuthorizationMode.ACCEPT)
    await rig.go()
    assert (await rig.order(order_id)).stage is Stage.AUTHORIZED
    assert reads.count(quick[0]) == 1
    assert len(reads) > 2


# --------------------------------------------------------------------------------------------------- rights


async def test_a_right_that_was_taken_before_the_csr_was_sent_ends_the_order(rig: Rig) -> None:
    order_id, _ = await authorized(rig)
    await rig.store.principals.replace(replace(rig.principal, enabled=False))
    rig.clock.advance(FRESH + 0.01)
    await rig.finalize(order_id)
    await rig.go()
    assert (await rig.order(order_id)).status is OrderStatus.INVALID
    assert "finalize" not in rig.relay.calls


async def test_a_right_that_was_taken_after_the_csr_was_sent_does_not_cost_the_certificate(rig: Rig) -> None:
    """The CA has lost the CSR that it had accepted: it gets the same once more."""
    rig.relay.processing_looks = 3
    order_id, upstream = await authorized(rig)
    await rig.finalize(order_id)
    job = await claimed(rig)
    stages = list[Stage]()
    while Stage.ISSUING not in stages:
        await take_step(job)
        stages.append(job.order.stage)
    upstream.status, upstream.csr = "ready", None
    await take_step(job)
    assert (await rig.order(order_id)).stage is Stage.FINALIZING
    await rig.store.principals.replace(replace(rig.principal, enabled=False))
    rig.clock.advance(FRESH + 0.01)
    await take_step(job)
    assert rig.relay.calls.count("finalize") == 2


async def test_an_idle_order_whose_right_was_taken_is_ended_and_announced_and_the_next_look_goes_on(rig: Rig) -> None:
    ids = [await rig.open(f"n{number}.corp.test") for number in range(3)]
    await rig.go()
    announced = list[str]()

    async def announce(order: Order) -> None:
        announced.append(order.id)

    idle = IdleOrders(rig.store, rig.rights, rig.clock, Random(1), announce)
    looked = list[list[str]]()
    for _ in range(4):
        looked.append([order.id for order in await idle.claim(2)])
        rig.clock.advance(60.0)
    newest_first = sorted(ids, reverse=True)
    assert looked == [newest_first[:2], newest_first[2:], [], newest_first[:2]]  # ready, then pending ones, then again
    await rig.store.principals.replace(replace(rig.principal, enabled=False))
    rig.clock.advance(FRESH + 0.01)
    await idle.work(await rig.order(ids[0]))
    assert announced == [ids[0]]
    assert (await rig.order(ids[0])).status is OrderStatus.INVALID


# ----------------------------------------------------------------------------------------------- refusals


async def test_a_refusal_to_show_the_upstream_order_is_none_of_the_csr(rig: Rig) -> None:
    order_id, _ = await authorized(rig)
    await rig.finalize(order_id)
    job = await claimed(rig)
    await take_step(job)
    assert job.order.stage is Stage.FINALIZING
    job.sent_csr, job._seen = True, None  # by a step before
    rig.relay.fail("order", UpstreamRefused(CAA))
    with pytest.raises(UpstreamRefused):
        await take_step(job)
    assert job.sent_csr is False


async def test_a_csr_that_has_arrived_after_all_is_waited_for_at_the_next_stage(rig: Rig) -> None:
    rig.relay.processing_looks = 5
    rig.relay.fail("finalize", UpstreamUnavailable("cut"), when="after")
    order_id, _ = await authorized(rig)
    await rig.finalize(order_id)
    await rig.main.work_off()
    assert (await rig.order(order_id)).stage is Stage.FINALIZING
    rig.clock.advance(60.0)
    job = await claimed(rig)
    await take_step(job)
    assert job.order.stage is Stage.ISSUING
    await rig.go()
    await rig.assert_valid(order_id)


async def test_a_job_begins_without_replaces_sent(rig: Rig) -> None:
    await rig.open(replaces="AAAA.AQ")
    job = await claimed(rig)
    assert (job.sent_replaces, job.sent_csr, job.answered) == (False, False, None)


# ------------------------------------------------------------------------------------------------ storage


async def test_a_result_is_written_at_the_last_try(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    order_id = await rig.open(finalize=True)
    apply, failures, pauses = rig.store.orders.apply, list[int](), list[float]()

    async def failing(order_id: str, rule, *, fence=None):  # type: ignore[no-untyped-def]
        if "new_order" in rig.relay.calls and len(failures) < WRITE_TRIES - 1:
            failures.append(1)
            raise StoreUnavailable("database is locked")
        return await apply(order_id, rule, fence=fence)

    async def at_once(seconds: float) -> None:
        pauses.append(seconds)

    with monkeypatch.context() as patch:
        patch.setattr(rig.store.orders, "apply", failing)
        patch.setattr("acmehub.issuance.job.asyncio.sleep", at_once)
        await rig.main.work_off()
    await rig.go()
    await rig.assert_valid(order_id)
    assert rig.relay.calls.count("new_order") == 1
    assert 0.25 <= pauses[0] < 0.5 <= pauses[1] < 1.0


async def test_a_write_renews_the_lease_and_says_when(rig: Rig) -> None:
    await rig.open()
    job = await claimed(rig)
    rig.clock.advance(5.0)
    await take_step(job)
    assert job.renewed == rig.main._context.clock.monotonic()


async def test_leases_are_renewed_at_a_third_of_their_time_though_the_storage_was_away(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.open()
    job = await claimed(rig)
    renew, asked, done = rig.store.orders.renew, list[str](), asyncio.Event()

    async def away_at_first(order_id: str, *arguments: object) -> bool:
        asked.append(order_id)
        if len(asked) == 1:
            raise StoreUnavailable("away")
        held = await renew(order_id, *arguments)  # type: ignore[arg-type]
        done.set()
        return held

    monkeypatch.setattr(rig.store.orders, "renew", away_at_first)
    monkeypatch.setattr(rig.main.orders, "running", lambda: [job])
    rig.main._context.lease = timedelta(seconds=0.06)
    rig.clock.advance(1.0)
    task = asyncio.create_task(rig.main.orders.renew_leases())
    async with asyncio.timeout(20):
        await done.wait()
    while job.renewed != rig.main._context.clock.monotonic():
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    assert asked == [job.order.id] * 2


async def test_the_configuration_is_read_for_the_first_step_of_a_claim_and_kept_for_the_next(rig: Rig) -> None:
    await rig.open()
    job = await claimed(rig)
    await job.take_snapshot()
    first = job.snapshot
    await rig.store.authorities.replace(replace(rig.relay_row, tags=("changed",)))
    await job.take_snapshot()
    assert job.snapshot is first
    later = Job(job.context, job.bundle)
    await later.take_snapshot()
    assert later.snapshot is not first


# --------------------------------------------------------------------------------------------- other orders


async def test_an_order_that_is_finalized_while_another_one_asks_for_its_upstream_order_keeps_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await rig.open()
    await rig.go()
    url = (await rig.order(first)).upstream_url
    second = await rig.open(finalize=True)
    look = rig.store.orders.lock_holders

    async def finalized_meanwhile(*arguments: str, **options: str) -> Sequence[Order]:
        found = await look(*arguments, **options)
        if (await rig.order(first)).csr is None:
            csr = rig.csrs[first] = make_csr(["www.corp.test"])
            await rig.store.orders.apply(first, lambda current: finalize(current, csr, rig.clock.now(), None))
        return found

    monkeypatch.setattr(rig.store.orders, "lock_holders", finalized_meanwhile)
    job = Job(rig.main._context, (await rig.store.orders.claim(rig.main._context.new_lease(), rig.clock.now(), 1))[0])
    await take_step(job)
    (waits,) = [event for event in await rig.timeline(second) if event.kind == EventKind.WAITS_FOR_LOCK]
    assert (waits.detail, waits.server, waits.seconds) == (f"order {first}", "", None)
    await rig.go()
    await rig.assert_valid(first, second)
    assert (await rig.order(first)).upstream_url == url


async def test_an_upstream_order_that_was_taken_over_is_noted_without_an_exchange(rig: Rig) -> None:
    first = await rig.open()
    await rig.go()
    second = await rig.open(finalize=True)
    await rig.go()
    (taken,) = [event for event in await rig.timeline(second) if event.kind == EventKind.UPSTREAM_ORDER_TAKEN]
    assert (taken.detail, taken.server, taken.seconds) == (f"from order {first}", "", None)


async def test_a_dispatcher_hands_over_what_was_claimed_while_it_is_on(rig: Rig) -> None:
    order_id, _ = await authorized(rig)
    dispatcher = Dispatcher()

    async def hand_over() -> OrderBundle:
        csr = rig.csrs[order_id] = make_csr(["a.corp.test", "b.corp.test"])
        with dispatcher.handing_over(await rig.order(order_id)) as handover:
            return await rig.store.orders.apply(
                order_id, lambda current: finalize(current, csr, rig.clock.now(), handover)
            )

    dispatcher.turn_on(rig.main)
    bundle = await hand_over()
    assert bundle.order.lease_owner == "main"
    dispatcher.turn_off()
    dispatcher.adopt(bundle)
    assert rig.main.orders.find(order_id) is None
    dispatcher.turn_on(rig.main)
    dispatcher.adopt(bundle)
    assert rig.main.orders.find(order_id) is not None
    await rig.go()
    await rig.assert_valid(order_id)


# --------------------------------------------------------------------------------------------- certificates


async def test_a_certificate_that_ends_now_needs_no_renewal(rig: Rig) -> None:
    await rig.open(finalize=True)
    await rig.go()
    (certificate,) = await rig.store.certificates.list()
    await rig.store.certificates.replace(replace(certificate, not_after=rig.clock.now()))
    assert await rig.main.windows.work_off() == 1
    assert "renewal_info" not in rig.relay.calls


async def test_a_ca_whose_plugin_is_missing_is_asked_for_renewals_later(rig: Rig) -> None:
    await rig.open(finalize=True)
    await rig.go()
    row = await rig.store.authorities.get(rig.relay_row.id)
    assert row is not None
    await rig.store.authorities.replace(replace(row, plugin="gone.relay"))
    begun = rig.clock.now()
    assert await rig.main.windows.work_off() == 1
    (certificate,) = await rig.store.certificates.list()
    assert certificate.window_until is not None
    assert certificate.window_until - begun >= timedelta(seconds=AFTER_FAILURE)
    assert certificate.lease_owner is None


# ------------------------------------------------------------------------------------------------- log lines


async def test_a_missing_plugin_is_an_outage_in_its_own_words(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    await rig.store.authorities.replace(replace(rig.relay_row, plugin="gone.relay"))
    await rig.open()
    await rig.main.work_off()
    (line,) = [record for record in caplog.records if record.name == "acmehub.runtime.outages"]
    assert vars(line)["reason"].startswith("plugin 'gone' is not installed")


def test_dns_that_is_unclear_names_no_server_and_no_answer_unless_there_was_one() -> None:
    error = DnsUnclear("no answer")
    assert (str(error), error.server, error.answered) == ("no answer", "", False)

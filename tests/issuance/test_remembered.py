"""What one step has read the next one does not read again, unless something may have come in between; and steps that
share a write keep what each of them promised (docs/adr/0015-the-price-of-a-proxied-order.md)."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from acmehub.issuance.ready_orders import KEPT_SECONDS
from acmehub.models import AuthorizationMode, EventKind, OrderStatus, Propagation, PropagationMode, Stage, TxtState
from acmehub.ports.authority import UpstreamObjectLost, UpstreamUnavailable
from acmehub.ports.dns import DnsProviderUnavailable
from acmehub.rules.orders import Change, OrderBundle
from tests.issuance.rig import Rig


@pytest.fixture
async def rig(rig: Rig) -> Rig:
    """The rig without looks at DNS servers, which a busy machine makes repeat."""
    await rig.set_propagation(Propagation(PropagationMode.NONE))
    return rig


# ------------------------------------------------------------------------------------------------ pauses


async def test_the_first_look_comes_soon_and_pauses_double(rig: Rig) -> None:
    rig.relay.validation_looks = 100
    rig.relay.poll_first = 0.3
    order_id = await rig.open()
    found: list[float] = []
    for _ in range(7):
        await rig.main.work_off()
        order = await rig.order(order_id)
        assert order.run_at is not None
        found.append((order.run_at - rig.clock.now()).total_seconds())
        rig.clock.advance(found[-1] + 0.001)
    for pause, least in zip(found, (0.3, 0.6, 1.2, 2.4, 4.8, 5.0, 5.0), strict=True):
        assert least <= pause <= least * 1.2


# ------------------------------------------------------------------------------------------------ one claim


async def test_a_quick_order_reads_each_authorization_once(rig: Rig) -> None:
    await rig.open("a.corp.test", "b.corp.test", finalize=True)
    await rig.go()
    assert rig.relay.calls.count("authorization") == 2
    assert rig.relay.calls.count("answer") == 2


async def test_after_another_claim_an_authorization_is_read_before_it_is_responded_to(rig: Rig) -> None:
    order_id = await rig.open()
    rig.relay.fail("answer", UpstreamUnavailable("no answer"))
    await rig.main.work_off()
    assert (await rig.order(order_id)).stage is Stage.PROPAGATING
    await rig.go()
    assert rig.relay.calls[2:6] == ["authorization", "answer", "authorization", "answer"]
    assert (await rig.whats(order_id)).count(EventKind.TXT_NOT_CHECKED) == 2


async def test_a_challenge_that_another_order_has_responded_to_meanwhile_is_no_refusal(rig: Rig) -> None:
    """The CA shares the authorization among orders, and refuses a second response."""
    order_id = await rig.open(finalize=True)
    look = rig.solver.propagated

    async def meanwhile(*args: object) -> object:
        (upstream,) = rig.relay.orders.values()
        upstream.authorizations[0].challenge = "processing"
        return await look(*args)  # type: ignore[arg-type]

    rig.solver.propagated = meanwhile  # type: ignore[method-assign, assignment]
    await rig.go()
    await rig.assert_valid(order_id)
    assert EventKind.CHALLENGE_WAS_ANSWERED in await rig.whats(order_id)
    assert EventKind.CHALLENGE_RESPONDED not in await rig.whats(order_id)


@pytest.mark.parametrize(("mode", "looks"), [(AuthorizationMode.PREAPPROVED, 2), (AuthorizationMode.ACCEPT, 8)])
async def test_authorizations_are_looked_at_now_and_then_or_where_their_states_are_shown(
    rig: Rig, mode: AuthorizationMode, looks: int
) -> None:
    order_id = await rig.open(mode=mode)
    await rig.main.work_off()
    assert (await rig.order(order_id)).stage is Stage.VALIDATING
    rig.relay.validation_looks = 1000
    rig.relay.calls.clear()
    while rig.relay.calls.count("order") < 8:
        rig.clock.advance(7.0)
        await rig.main.work_off()
    assert rig.relay.calls.count("authorization") == looks


# ------------------------------------------------------------------------------------------------ until the CSR


async def validated(rig: Rig) -> str:
    """An order whose client has not finalized yet."""
    order_id = await rig.open()
    await rig.go()
    assert (await rig.order(order_id)).stage is Stage.AUTHORIZED
    rig.relay.calls.clear()
    return order_id


async def test_a_csr_that_comes_within_a_minute_is_sent_without_another_look(rig: Rig) -> None:
    order_id = await validated(rig)
    rig.clock.advance(KEPT_SECONDS - 1)
    bundle = await rig.finalize(order_id, rig.main)
    assert (bundle.order.stage, bundle.order.lease_owner) == (Stage.FINALIZING, "main")
    rig.main.adopt(bundle)
    await rig.main.orders.wait_until_idle()
    await rig.go()
    await rig.assert_valid(order_id)
    assert rig.relay.calls == ["finalize", "certificate"]


@pytest.mark.parametrize("why", ["a minute is over", "another claim came between", "another process", "given away"])
async def test_any_other_csr_waits_for_a_look_at_stage_authorized(rig: Rig, why: str) -> None:
    order_id = await validated(rig)
    worker = rig.main
    match why:
        case "a minute is over":
            rig.clock.advance(KEPT_SECONDS + 1)
        case "another claim came between":
            await rig.store.orders.apply(
                order_id, lambda stored: Change(order=replace(stored.order, fence=stored.order.fence + 1))
            )
        case "another process":
            worker = rig.worker(owner="other")
        case "given away":
            await rig.store.orders.apply(
                order_id, lambda stored: Change(order=replace(stored.order, upstream_url="https://ca.test/order/9"))
            )
            rig.relay.orders["https://ca.test/order/9"] = next(iter(rig.relay.orders.values()))
    bundle = await rig.finalize(order_id, worker)
    assert bundle.order.stage is Stage.AUTHORIZED
    worker.adopt(bundle)
    await worker.orders.wait_until_idle()
    assert rig.relay.calls[0] == "order"


async def test_a_ca_that_cannot_be_asked_leaves_the_order_where_its_authority_may_change(rig: Rig) -> None:
    order_id = await validated(rig)
    rig.clock.advance(KEPT_SECONDS + 1)
    await rig.finalize(order_id)
    rig.relay.fail("order", UpstreamUnavailable("no answer"), times=3)
    await rig.main.work_off()
    assert (await rig.order(order_id)).stage is Stage.AUTHORIZED
    await rig.go()
    await rig.assert_valid(order_id)


# ------------------------------------------------------------------------------------------------ merged writes


async def test_a_record_is_marked_in_the_write_of_the_stage(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_write(_record: object) -> None:
        raise AssertionError

    monkeypatch.setattr(rig.store.txt_records, "replace", no_write)
    order_id = await rig.open("a.corp.test", "b.corp.test", finalize=True)
    rig.relay.validation_looks = 1000
    await rig.main.work_off()
    rows = await rig.store.txt_records.of_order(order_id)
    assert [(row.state, row.version) for row in rows] == [(TxtState.PRESENT, 2)] * 2


async def test_of_two_records_the_one_that_was_made_is_not_made_again(rig: Rig) -> None:
    add = rig.provider.add_txt
    refused: list[str] = []

    async def one_only(zone: str, name: str, value: str) -> None:
        if "b.corp" in name and not refused:
            refused.append(name)
            raise DnsProviderUnavailable("no answer")
        await add(zone, name, value)

    rig.provider.add_txt = one_only  # type: ignore[method-assign]
    order_id = await rig.open("a.corp.test", "b.corp.test", finalize=True)
    await rig.main.work_off()
    rows = await rig.store.txt_records.of_order(order_id)
    assert sorted(row.state for row in rows) == [TxtState.PLANNED, TxtState.PRESENT]
    await rig.go()
    await rig.assert_valid(order_id)
    assert sum("a.corp" in name for verb, _zone, name, _value in rig.provider.calls if verb == "add_txt") == 1
    assert (await rig.whats(order_id)).count(EventKind.TXT_CREATED) == 2


async def test_a_row_that_was_removed_while_its_record_was_made_is_made_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process was frozen for so long that the TXT cleanup has come first: the record must go all the same."""
    order_id = await rig.open(mode=AuthorizationMode.ACCEPT)
    add = rig.provider.add_txt

    async def late(zone: str, name: str, value: str) -> None:
        rig.provider.add_txt = add  # type: ignore[method-assign]
        await rig.deactivate(order_id)
        for row in await rig.store.txt_records.of_order(order_id):  # as the TXT cleanup of another process
            await rig.store.txt_records.remove(row)
        await add(zone, name, value)

    rig.provider.add_txt = late  # type: ignore[method-assign]
    await rig.main.work_off()
    assert rig.provider.records
    await rig.go()
    await rig.assert_clean()


async def test_a_row_that_another_wrote_does_not_keep_the_order_from_going_on(rig: Rig) -> None:
    order_id = await rig.open(finalize=True)
    add = rig.provider.add_txt

    async def touched(zone: str, name: str, value: str) -> None:
        await add(zone, name, value)
        for row in await rig.store.txt_records.of_order(order_id):
            await rig.store.txt_records.replace(row)

    rig.provider.add_txt = touched  # type: ignore[method-assign]
    await rig.go()
    await rig.assert_valid(order_id)
    assert (await rig.whats(order_id)).count(EventKind.TXT_CREATED) == 1


@pytest.mark.parametrize("error", [UpstreamUnavailable("503"), UpstreamObjectLost("404")])
async def test_a_certificate_that_cannot_be_fetched_at_once_is_known_to_exist(rig: Rig, error: Exception) -> None:
    rig.relay.processing_looks = 1
    rig.relay.fail("certificate", error, times=9)
    order_id = await rig.open(finalize=True)
    await rig.go(until=lambda: "certificate" in rig.relay.calls)
    order = await rig.order(order_id)
    assert (order.stage, order.status, order.attempts) == (Stage.DOWNLOADING, OrderStatus.PROCESSING, 1)
    assert order.upstream_certificate
    assert "order is valid" in [event.detail for event in await rig.timeline(order_id)]
    await rig.go(3600)
    await rig.assert_valid(order_id)
    assert rig.relay.calls.count("new_order") == 1


async def test_an_issued_order_is_one_write_from_issuing_to_done(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.relay.processing_looks = 1
    apply = rig.store.orders.apply
    stages: list[Stage] = []

    async def noted(order_id: str, rule, *, fence=None) -> OrderBundle:  # type: ignore[no-untyped-def]
        after = await apply(order_id, rule, fence=fence)
        stages.append(after.order.stage)
        return after

    monkeypatch.setattr(rig.store.orders, "apply", noted)
    order_id = await rig.open(finalize=True)
    await rig.go()
    await rig.assert_valid(order_id)
    assert stages[-2:] == [Stage.ISSUING, Stage.DONE]
    whats = await rig.whats(order_id)
    wanted = [EventKind.UPSTREAM_ORDER_READ, EventKind.CHAIN_DOWNLOADED, EventKind.CERTIFICATE_ISSUED]
    assert [kind for kind in whats if kind in wanted] == wanted


async def test_an_order_that_is_late_but_issued_is_fetched(rig: Rig) -> None:
    rig.relay.processing_looks = 1
    order_id = await rig.open(finalize=True, issuance_timeout=timedelta(hours=1))
    await rig.go(until=lambda: "finalize" in rig.relay.calls)
    rig.clock.advance(7200.0)
    await rig.go()
    await rig.assert_valid(order_id)

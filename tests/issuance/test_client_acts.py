"""The client acts while the worker works: nothing of either is lost."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from acmehub.models import AuthorizationMode, AuthorizationStatus, EventKind, OrderStatus, Stage
from tests.issuance.rig import Rig

VERBS = ["register", "new_order", "order", "authorization", "answer"]


@pytest.mark.parametrize("verb", VERBS)
async def test_a_finalize_that_comes_during_an_exchange_is_not_lost(
    rig: Rig, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await rig.open("a.corp.test", "b.corp.test")
    original = getattr(rig.relay, verb)

    async def meanwhile(*args: object) -> object:
        result = await original(*args)
        if (await rig.order(order_id)).csr is None:
            await rig.finalize(order_id, rig.main)
        return result

    monkeypatch.setattr(rig.relay, verb, meanwhile)
    await rig.go()
    await rig.assert_valid(order_id)


@pytest.mark.parametrize("verb", VERBS)
async def test_an_authorization_that_is_given_up_during_an_exchange_ends_the_order(
    rig: Rig, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await rig.open("a.corp.test", "b.corp.test", mode=AuthorizationMode.ACCEPT)
    original = getattr(rig.relay, verb)

    async def meanwhile(*args: object) -> object:
        result = await original(*args)
        await rig.deactivate(order_id)
        return result

    monkeypatch.setattr(rig.relay, verb, meanwhile)
    await rig.go()
    order = await rig.order(order_id)
    assert (order.status, order.stage, order.run_at, order.lease_owner) == (
        OrderStatus.INVALID,
        Stage.FAILED,
        None,
        None,
    )
    await rig.assert_clean()


async def test_a_record_that_is_made_while_the_client_gives_up_is_removed_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await rig.open("a.corp.test", mode=AuthorizationMode.ACCEPT)
    add = rig.provider.add_txt

    async def meanwhile(zone: str, name: str, value: str) -> None:
        await rig.deactivate(order_id)
        rig.clock.advance(200.0)
        await rig.worker(owner="other").txt_cleanup.work_off()  # removes what is not there yet, and forgets the row
        assert not await rig.store.txt_records.list()
        await add(zone, name, value)

    monkeypatch.setattr(rig.provider, "add_txt", meanwhile)
    monkeypatch.setattr(rig.solver, "_provider", rig.solver._provider)
    other = rig.worker(owner="other")
    other.txt_cleanup._solver = type(rig.solver)(
        rig.store, rig.snapshots, rig.plugin_objects, rig.dns_settings, rig.clock
    )
    monkeypatch.setattr(rig, "worker", lambda owner: other)
    await rig.go()
    assert any(call[0] == "add_txt" for call in rig.provider.calls)
    await rig.assert_clean()


@pytest.mark.parametrize("warm", [False, True], ids=["validated now", "validated by an order before"])
@pytest.mark.parametrize(
    ("token", "late", "status"),
    [
        (AuthorizationMode.AUTO, 0, OrderStatus.READY),
        (AuthorizationMode.AUTO, 120, OrderStatus.PENDING),
        (AuthorizationMode.ACCEPT, 0, OrderStatus.PENDING),
    ],
    ids=["auto", "auto, but the client had time to respond", "the token says accept"],
)
async def test_an_order_whose_mode_accept_was_chosen_by_auto_needs_no_response_within_a_minute(
    rig: Rig, token: AuthorizationMode, late: int, status: OrderStatus, *, warm: bool
) -> None:
    await rig.store.tokens.replace(replace(rig.token, authorization=token))
    if warm:
        first = await rig.open("a.corp.test", "b.corp.test")
        await rig.finalize(first)
        await rig.go()
    order_id = await rig.open("a.corp.test", "b.corp.test", mode=AuthorizationMode.ACCEPT)
    rig.clock.advance(late)
    await rig.go()
    bundle = await rig.bundle(order_id)
    assert (bundle.order.stage, bundle.order.status) == (Stage.AUTHORIZED, status)
    expected = AuthorizationStatus.VALID if status is OrderStatus.READY else AuthorizationStatus.PENDING
    assert {item.status for item in bundle.authorizations} == {expected}
    approvals = [item for item in await rig.store.records.timeline(order_id) if item.kind is EventKind.APPROVED]
    assert len(approvals) == (status is OrderStatus.READY)


async def test_in_mode_accept_an_answered_authorization_turns_valid_with_its_counterpart(rig: Rig) -> None:
    order_id = await rig.open("a.corp.test", "b.corp.test", mode=AuthorizationMode.ACCEPT)
    await rig.answer(order_id, 0)
    await rig.main.work_off()
    assert {item.status for item in (await rig.bundle(order_id)).authorizations} == {AuthorizationStatus.PENDING}
    await rig.go()
    bundle = await rig.bundle(order_id)
    assert [item.status for item in bundle.authorizations] == [AuthorizationStatus.VALID, AuthorizationStatus.PENDING]
    assert bundle.order.status is OrderStatus.PENDING
    assert (await rig.answer(order_id, 1)).order.status is OrderStatus.READY
    await rig.finalize(order_id)
    await rig.go()
    await rig.assert_valid(order_id)


async def test_a_client_that_finalizes_after_the_issuance_timeout_gets_its_certificate(rig: Rig) -> None:
    order_id = await rig.open(issuance_timeout=timedelta(hours=1))
    await rig.go()
    rig.clock.advance(3 * 86400)
    await rig.finalize(order_id)
    await rig.go()
    await rig.assert_valid(order_id)


async def test_an_order_that_lapses_is_invalid_and_its_records_go(rig: Rig) -> None:
    order_id = await rig.open()
    await rig.go()
    rig.clock.advance(8 * 86400)
    assert await rig.main.pruner.work_off() == 1
    order = await rig.order(order_id)
    assert order.status is OrderStatus.INVALID
    assert rig.plugin.finished[-1].error == "the order expired before it was finalized"
    await rig.go()
    await rig.assert_clean()

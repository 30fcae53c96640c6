"""One upstream order at a time per account, names and profile; no two orders ever share one.

docs/reliability.md 2.5.
"""

import asyncio
from collections.abc import Sequence

import pytest

from acmehub.models import AuthorizationMode, Order, OrderStatus, Stage
from tests.issuance.rig import Crash, RaisingCrashPoints, Rig


@pytest.mark.parametrize("reuse", [False, True])
async def test_twenty_orders_of_the_same_names_get_a_certificate_each(rig: Rig, reuse: bool) -> None:
    rig.relay.reuse_orders = reuse
    rig.relay.validation_looks = 2
    rig.relay.processing_looks = 1
    ids = [await rig.open("corp.test", "*.corp.test", finalize=True) for _ in range(20)]
    await rig.go(3600)
    await rig.assert_valid(*ids)
    assert rig.relay.issued_for("corp.test", "*.corp.test") == 20
    upstream = [(await rig.order(order_id)).upstream_url for order_id in ids]
    assert len(set(upstream)) == 20


async def test_the_second_waits_until_the_first_is_finished_and_is_woken_at_once(rig: Rig) -> None:
    rig.relay.processing_looks = 3
    first = await rig.open(finalize=True)
    await rig.main.work_off()
    second = await rig.open(finalize=True)
    await rig.go(until=lambda: "finalize" in rig.relay.calls)
    waiting = await rig.order(second)
    assert (waiting.stage, waiting.upstream_url, waiting.lock_key) == (Stage.ORDERING, None, None)
    whats = await rig.whats(second)
    assert whats.count("waits for another order for the same names") == 1
    await rig.go()
    await rig.assert_valid(first, second)
    issued = next(event.at for event in await rig.timeline(first) if event.kind == "certificate issued")
    begun = next(event.at for event in await rig.timeline(second) if event.kind == "upstream order created")
    assert 0.0 <= (begun - issued).total_seconds() < 0.01


async def test_other_names_or_another_profile_do_not_wait(rig: Rig) -> None:
    rig.relay.validation_looks = 100
    ids = [await rig.open("a.corp.test"), await rig.open("b.corp.test"), await rig.open("a.corp.test", profile="short")]
    await rig.go(5)
    locks = {(await rig.order(order_id)).lock_key for order_id in ids}
    assert None not in locks
    assert len(locks) == 3


async def test_an_order_whose_client_has_gone_does_not_keep_the_next_one_waiting(rig: Rig) -> None:
    rig.relay.reuse_orders = True
    abandoned = await rig.open()
    await rig.go()
    assert (await rig.order(abandoned)).stage is Stage.AUTHORIZED
    other_account = await rig.account()
    second = await rig.open(finalize=True, actor=other_account)
    before = rig.clock.now()
    await rig.go()
    await rig.assert_valid(second)
    assert (rig.clock.now() - before).total_seconds() < 3.0
    given = await rig.order(abandoned)
    assert (given.status, given.stage, given.upstream_url) == (OrderStatus.READY, Stage.AUTHORIZED, None)
    assert "upstream order given to another order" in await rig.whats(abandoned)
    assert rig.relay.calls.count("new_order") == 1  # the one that was ready is used


async def test_an_order_that_handed_over_is_fulfilled_when_its_client_comes_back(rig: Rig) -> None:
    first = await rig.open()
    await rig.go()
    second = await rig.open(finalize=True)
    await rig.go()
    await rig.finalize(first)
    await rig.go()
    await rig.assert_valid(first, second)
    assert rig.relay.issued_for("www.corp.test") == 2


async def test_two_orders_that_both_wait_for_their_client_are_both_fulfilled(rig: Rig) -> None:
    first = await rig.open(mode=AuthorizationMode.ACCEPT)
    await rig.go()
    second = await rig.open(mode=AuthorizationMode.ACCEPT)
    await rig.go()
    for order_id in (first, second):
        await rig.answer(order_id)
        assert (await rig.order(order_id)).status is OrderStatus.READY
    await rig.finalize(first)
    await rig.go()
    await rig.finalize(second)
    await rig.go()
    await rig.assert_valid(first, second)


@pytest.mark.parametrize("together", [False, True])
async def test_an_upstream_order_that_another_order_works_on_is_not_shared(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    """The CA gives the same order for what are two locks: the account was replaced by one with the same orders.

    `together`: both look for a holder before either of them has written that it is one.
    """
    look, first_two = rig.store.orders.lock_holders, 2 * [asyncio.Barrier(2)]

    async def looking(order_id: str, *, lock_key: str = "", upstream_url: str = "") -> Sequence[Order]:
        holders = await look(order_id, lock_key=lock_key, upstream_url=upstream_url)
        if upstream_url and first_two:
            await first_two.pop().wait()
        return holders

    if together:
        monkeypatch.setattr(rig.store.orders, "lock_holders", looking)
    rig.relay.reuse_orders = True
    rig.relay.processing_looks = 5
    first = await rig.open(finalize=True)
    second = await rig.open(finalize=True, profile="other")
    await rig.go(3600)
    await rig.assert_valid(first, second)
    urls = {(await rig.order(order_id)).upstream_url for order_id in (first, second)}
    assert len(urls) == 2
    assert rig.relay.issued_for("www.corp.test") == 2


async def test_a_failed_order_releases_the_lock(rig: Rig) -> None:
    rig.relay.validation_looks = 1000
    first = await rig.open(mode=AuthorizationMode.ACCEPT)
    await rig.go(5)
    second = await rig.open(finalize=True)
    await rig.go(5)
    await rig.deactivate(first)
    rig.relay.validation_looks = 0
    await rig.go(60)
    await rig.assert_valid(second)


async def test_a_crash_while_an_order_is_handed_over_harms_neither(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await rig.open()
    await rig.go()
    second = await rig.open(finalize=True)
    apply = rig.store.orders.apply

    async def crashing(order_id: str, rule, *, fence=None):  # type: ignore[no-untyped-def]
        bundle = await apply(order_id, rule, fence=fence)
        if order_id == first:
            raise Crash
        return bundle

    monkeypatch.setattr(rig.store.orders, "apply", crashing)
    with pytest.raises(Crash):
        await rig.go(worker=rig.worker(RaisingCrashPoints(), owner="dies"))
    monkeypatch.undo()
    rig.clock.advance(31.0)
    await rig.finalize(first)
    await rig.go()
    await rig.assert_valid(first, second)

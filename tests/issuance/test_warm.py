"""A client that gave up a slow order is served quickly when it comes back: what the upstream has validated is warm
(docs/client-rules.md rule 32)."""

import pytest

from acmehub.models import AuthorizationMode, OrderStatus, Stage
from acmehub.runtime.crash_points import CrashPoint
from tests.issuance.rig import Crash, RaisingCrashPoints, Rig

SLOW = 40  # looks until the upstream has validated: minutes


async def slow_order(rig: Rig) -> str:
    """An order that took minutes, of a client that has gone meanwhile."""
    rig.relay.validation_looks = SLOW
    begun = rig.clock.now()
    order_id = await rig.open(finalize=True)
    await rig.go()
    assert (rig.clock.now() - begun).total_seconds() > 60
    await rig.assert_valid(order_id)
    rig.relay.calls.clear()
    return order_id


@pytest.mark.parametrize("mode", [AuthorizationMode.PREAPPROVED, AuthorizationMode.ACCEPT])
async def test_the_next_order_with_another_key_takes_no_look_at_an_authorization(
    rig: Rig, mode: AuthorizationMode
) -> None:
    first = await slow_order(rig)
    begun = rig.clock.now()
    second = await rig.open(mode=mode, actor=await rig.account())
    await rig.go()
    assert rig.relay.calls == ["new_order"]
    assert (await rig.order(second)).stage is Stage.AUTHORIZED
    if mode is AuthorizationMode.ACCEPT:
        assert (await rig.answer(second)).order.status is OrderStatus.READY  # at once: it is valid upstream
    await rig.finalize(second)
    await rig.go()
    await rig.assert_valid(first, second)
    assert rig.csrs[first] != rig.csrs[second]
    assert rig.relay.calls == ["new_order", "order", "finalize", "certificate"]  # the CSR came later: asked again first
    assert (rig.clock.now() - begun).total_seconds() < 3.0
    made, authorized = (await rig.timeline(second))[:2]
    assert (made.kind, authorized.kind) == ("upstream order created", "upstream order ready")
    assert authorized.at == made.at  # one write


async def test_with_its_csr_there_it_is_three_exchanges(rig: Rig) -> None:
    first = await slow_order(rig)
    second = await rig.open(finalize=True)
    await rig.go()
    await rig.assert_valid(first, second)
    assert rig.relay.calls == ["new_order", "finalize", "certificate"]


async def test_an_order_that_comes_while_the_first_is_at_work_is_quick_once_that_is_done(rig: Rig) -> None:
    rig.relay.validation_looks = SLOW
    first = await rig.open(finalize=True)
    await rig.go(30)
    second = await rig.open(finalize=True, actor=await rig.account())
    await rig.go()
    await rig.assert_valid(first, second)
    issued = {
        id: next(event.at for event in await rig.timeline(id) if event.kind == "certificate issued")
        for id in (first, second)
    }
    assert 0.0 <= (issued[second] - issued[first]).total_seconds() < 3.0


async def test_one_that_waits_for_an_order_whose_client_has_gone_takes_over_within_seconds(rig: Rig) -> None:
    """The first never sends a CSR, so that nothing wakes the second: it looks again by itself."""
    rig.relay.validation_looks = SLOW
    first = await rig.open()
    await rig.go(30)
    second = await rig.open(finalize=True, actor=await rig.account())
    await rig.go()
    await rig.assert_valid(second)
    ready = next(event.at for event in await rig.timeline(first) if event.kind == "upstream order ready")
    issued = next(event.at for event in await rig.timeline(second) if event.kind == "certificate issued")
    assert (issued - ready).total_seconds() < 2.6


async def test_an_upstream_order_that_is_ready_from_the_beginning_survives_a_crash(rig: Rig) -> None:
    await slow_order(rig)
    second = await rig.open(finalize=True)
    with pytest.raises(Crash):
        await rig.go(worker=rig.worker(RaisingCrashPoints(CrashPoint.AFTER_UPSTREAM_FINALIZE), owner="dies"))
    rig.clock.advance(31.0)
    await rig.go()
    await rig.assert_valid(second)
    assert rig.relay.issued_for("www.corp.test") == 2


async def test_an_order_that_gave_its_upstream_order_away_is_fulfilled_days_later(rig: Rig) -> None:
    """Its issuance timeout starts again with its CSR: it had passed while the order waited."""
    first = await rig.open()
    await rig.go()
    second = await rig.open(finalize=True)
    await rig.go()
    assert (await rig.order(first)).upstream_url is None
    rig.clock.advance(3 * 86400.0)
    await rig.finalize(first)
    await rig.go()
    await rig.assert_valid(first, second)

"""The process dies at each gap (docs/reliability.md section 3); another one goes on from what is stored."""

import pytest

from acmehub.models import AuthorizationMode, OrderStatus
from acmehub.runtime.crash_points import CrashPoint
from acmehub.testing.fakes import lost_answer
from tests.issuance.rig import Crash, RaisingCrashPoints, Rig

ISSUANCE = tuple(
    point for point in CrashPoint if point is not CrashPoint.AFTER_NEW_ORDER_STORED
)  # that one is the server's
NAMES = ("corp.test", "*.corp.test", "www.other.test")


@pytest.mark.parametrize("point", ISSUANCE)
@pytest.mark.parametrize("passage", [1, 2])
async def test_an_order_survives_a_crash_at(rig: Rig, point: CrashPoint, passage: int) -> None:
    rig.relay.processing_looks = 1
    order_id = await rig.open(*NAMES, finalize=True)
    points = RaisingCrashPoints(point, passage)
    crashed = False
    try:
        await rig.go(worker=rig.worker(points, owner="dies"))
    except Crash:
        crashed = True
    assert crashed == (points.passed.count(point) >= passage), points.passed
    assert crashed or passage > 1  # each point is passed at least once
    rig.clock.advance(31.0)
    await rig.go(worker=rig.worker(owner="second"))
    await rig.assert_valid(order_id)
    assert rig.relay.issued_for(*NAMES) == 1


async def test_an_order_survives_a_crash_at_every_point_one_after_the_other(rig: Rig) -> None:
    rig.relay.reuse_orders = True  # as Let's Encrypt does
    order_id = await rig.open(*NAMES, finalize=True)
    for point in ISSUANCE:
        with pytest.raises(Crash):
            await rig.go(worker=rig.worker(RaisingCrashPoints(point), owner=point.value))
        rig.clock.advance(100.0)
    await rig.go()
    await rig.assert_valid(order_id)
    assert rig.relay.issued_for(*NAMES) == 1


@pytest.mark.parametrize("verb", ["new_order", "order", "authorization", "answer", "finalize", "certificate"])
@pytest.mark.parametrize("times", [1, 3])
async def test_an_answer_that_is_lost_on_the_way_back_costs_no_second_certificate(
    rig: Rig, verb: str, times: int
) -> None:
    rig.relay.fail(verb, lost_answer(), times=times, when="after")
    order_id = await rig.open(*NAMES, finalize=True)
    await rig.go()
    await rig.assert_valid(order_id)
    assert rig.relay.issued_for(*NAMES) == 1
    assert "CA unavailable" in await rig.whats(order_id)


async def test_a_crash_between_the_record_and_its_mark_leaves_nothing_when_the_client_gives_up(rig: Rig) -> None:
    order_id = await rig.open("www.corp.test", mode=AuthorizationMode.ACCEPT)
    with pytest.raises(Crash):
        await rig.go(worker=rig.worker(RaisingCrashPoints(CrashPoint.AFTER_ADD_TXT), owner="dies"))
    assert rig.provider.records
    await rig.deactivate(order_id)
    await rig.go()
    assert (await rig.order(order_id)).status is OrderStatus.INVALID
    await rig.assert_clean()

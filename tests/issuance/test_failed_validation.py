"""A CA whose validation fails although the hub has seen its records: tried again where that may pass by itself."""

import pytest
from msgspec.structs import replace

from acmehub.models import EventKind, OrderStatus, Propagation, PropagationMode
from acmehub.models.problems import URN, ProblemDocument
from acmehub.ports.authority import UpstreamAccount, UpstreamOrder
from acmehub.testing.fake_relay import FakeOrder
from tests.issuance.rig import Rig

NAME = "www.corp.test"
SERVFAIL = ProblemDocument(f"{URN}dns", "DNS problem: SERVFAIL looking up TXT for _acme-challenge.www.corp.test", 400)


def failed(rig: Rig) -> bool:
    """Whether the CA has refused an upstream order."""
    return any(order.status == "invalid" for order in rig.relay.orders.values())


@pytest.mark.parametrize("type", ["dns", "connection", "serverInternal"])
async def test_what_may_pass_by_itself_is_tried_again_with_a_new_upstream_order(rig: Rig, type: str) -> None:
    rig.relay.refused[NAME] = ProblemDocument(f"{URN}{type}", "query timed out at a secondary perspective", 400)
    order_id = await rig.open(finalize=True)
    await rig.go(until=lambda: failed(rig))
    del rig.relay.refused[NAME]
    begun = rig.clock.now()
    await rig.go()
    await rig.assert_valid(order_id)
    assert 15.0 <= (rig.clock.now() - begun).total_seconds() < 30.0
    assert len(rig.relay.orders) == 2
    again = next(item for item in await rig.timeline(order_id) if item.kind is EventKind.UPSTREAM_VALIDATION_FAILED)
    assert again.detail == "query timed out at a secondary perspective"
    assert len(rig.relay.ca.issued) == 1


async def test_it_is_tried_three_times_an_hour_whatever_orders_the_name_stands_in(rig: Rig) -> None:
    rig.relay.refused[NAME] = SERVFAIL
    order_id = await rig.open(NAME, "b.corp.test")
    begun = rig.clock.now()
    await rig.go()
    assert 15.0 + 60.0 <= (rig.clock.now() - begun).total_seconds() < 150.0
    order = await rig.order(order_id)
    assert order.status is OrderStatus.INVALID
    assert order.error is not None
    assert (order.error.type, order.error.detail) == (SERVFAIL.type, f"{SERVFAIL.detail} (3 tries)")
    assert len(rig.relay.orders) == 3
    await rig.go()
    await rig.assert_clean()
    second = await rig.open(NAME)
    await rig.go()
    assert (await rig.order(second)).status is OrderStatus.INVALID
    assert len(rig.relay.orders) == 4, "the CA's limit on failed validations is the client's to use up, not the hub's"
    rig.clock.advance(3600.0)
    await rig.open(NAME)
    await rig.go()
    assert len(rig.relay.orders) == 7


@pytest.mark.parametrize("type", ["unauthorized", "caa", "rejectedIdentifier", "incorrectResponse"])
async def test_what_the_ca_has_seen_is_final(rig: Rig, type: str) -> None:
    rig.relay.refused[NAME] = ProblemDocument(f"{URN}{type}", "a wrong TXT record", 403)
    order_id = await rig.open()
    await rig.go()
    assert (await rig.order(order_id)).status is OrderStatus.INVALID
    assert len(rig.relay.orders) == 1


async def test_one_name_that_is_refused_for_good_makes_the_order_final(rig: Rig) -> None:
    rig.relay.refused[NAME] = SERVFAIL
    rig.relay.refused["b.corp.test"] = ProblemDocument(f"{URN}caa", "forbidden", 403)
    order_id = await rig.open(NAME, "b.corp.test")
    await rig.go()
    assert (await rig.order(order_id)).status is OrderStatus.INVALID
    assert len(rig.relay.orders) == 1


@pytest.mark.parametrize(
    "propagation",
    [
        Propagation(mode=PropagationMode.NONE),
        Propagation(mode=PropagationMode.DELAY, delay=1.0),
        Propagation(servers=("127.0.0.1:9",), delay=1.0),
    ],
    ids=["none", "delay", "blind"],
)
async def test_records_that_the_hub_has_not_seen_cost_the_ca_one_validation(rig: Rig, propagation: Propagation) -> None:
    await rig.set_propagation(propagation)
    rig.relay.refused[NAME] = SERVFAIL
    order_id = await rig.open()
    await rig.go()
    assert (await rig.order(order_id)).status is OrderStatus.INVALID
    assert len(rig.relay.orders) == 1
    assert EventKind.TXT_NOT_CHECKED in await rig.whats(order_id)
    assert EventKind.TXT_VISIBLE not in await rig.whats(order_id)


async def test_an_upstream_order_that_fails_for_a_moment_after_the_csr_is_made_again(rig: Rig) -> None:
    rig.relay.processing_looks = 100
    order_id = await rig.open(finalize=True)
    await rig.go(until=lambda: "finalize" in rig.relay.calls)
    (upstream,) = rig.relay.orders.values()
    upstream.status = "invalid"
    upstream.error = ProblemDocument(f"{URN}dns", "DNS problem: SERVFAIL looking up CAA for www.corp.test", 400)
    rig.relay.processing_looks = 0
    await rig.go()
    await rig.assert_valid(order_id)
    assert len(rig.relay.orders) == 2


async def test_an_upstream_order_that_stays_pending_beside_a_refused_authorization_fails_with_its_error(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = rig.relay._shown

    def late(order: FakeOrder) -> UpstreamOrder:
        found = shown(order)
        return replace(found, status="pending") if found.status == "invalid" else found

    monkeypatch.setattr(rig.relay, "_shown", late)
    rig.relay.refused[NAME] = ProblemDocument(f"{URN}unauthorized", "a wrong TXT record", 403)
    order_id = await rig.open()
    await rig.go()
    error = (await rig.order(order_id)).error
    assert error is not None
    assert (error.type, error.detail) == (f"{URN}unauthorized", "a wrong TXT record")


@pytest.mark.parametrize("of", ["order", "authorization"])
async def test_the_next_look_at_a_validation_is_when_the_ca_says(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    asked = getattr(rig.relay, of)

    async def with_pause(account: UpstreamAccount, url: str) -> object:
        return replace(await asked(account, url), retry_after=40.0)

    monkeypatch.setattr(rig.relay, of, with_pause)
    rig.relay.validation_looks = 50
    order_id = await rig.open()
    calls = rig.relay.calls
    await rig.go(until=lambda: "answer" in calls and of in calls[calls.index("answer") :])
    run_at = (await rig.order(order_id)).run_at
    assert run_at is not None
    assert 40.0 <= (run_at - rig.clock.now()).total_seconds() < 60.0

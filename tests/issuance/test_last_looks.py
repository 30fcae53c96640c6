"""What a certificate may exist for is looked at once more after the deadline; what was never sent is not sent then."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from acmehub.models import Event, EventKind, OrderStatus, Stage
from acmehub.models.problems import URN, ProblemDocument
from acmehub.ports.authority import UpstreamUnavailable
from acmehub.rules.orders import Change, OrderBundle, with_stage
from acmehub.runtime.rights import FRESH
from acmehub.testing.fake_relay import FakeOrder
from tests.issuance.rig import Rig

DAY = 86_400.0


async def ready(rig: Rig) -> tuple[str, FakeOrder]:
    """An order whose upstream order waits for the client's CSR."""
    order_id = await rig.open("a.corp.test")
    await rig.go()
    (upstream,) = rig.relay.orders.values()
    assert upstream.status == "ready"
    return order_id, upstream


async def stays_at(rig: Rig, stage: Stage) -> str:
    """An order that comes to this stage with its CSR and no further."""
    order_id, _ = await ready(rig)
    if stage is Stage.FINALIZING:
        rig.relay.fail("finalize", UpstreamUnavailable("no answer"), when="after")
        await rig.finalize(order_id)
        await rig.main.work_off()
        rig.relay.fail("order", UpstreamUnavailable("503"), times=1000)
    elif stage is Stage.ISSUING:
        rig.relay.processing_looks = 1000
    else:
        rig.relay.fail("certificate", UpstreamUnavailable("503"), times=1000)
    if stage is not Stage.FINALIZING:
        await rig.finalize(order_id)
    await rig.go(60)
    assert (await rig.order(order_id)).stage is stage
    return order_id


@pytest.mark.parametrize("stage", [Stage.FINALIZING, Stage.ISSUING, Stage.DOWNLOADING])
async def test_a_certificate_that_was_made_before_the_deadline_is_fetched_after_it(rig: Rig, stage: Stage) -> None:
    order_id = await stays_at(rig, stage)
    rig.relay.mend()
    rig.relay.processing_looks = 0
    rig.clock.advance(DAY)
    await rig.go()
    await rig.assert_valid(order_id)


@pytest.mark.parametrize("status", ["pending", "ready", "processing"])
async def test_an_upstream_order_that_is_not_finished_at_the_deadline_ends_the_order(rig: Rig, status: str) -> None:
    order_id, upstream = await ready(rig)
    rig.relay.fail("order", UpstreamUnavailable("503"), times=1000)
    rig.relay.fail("finalize", UpstreamUnavailable("503"), times=1000)
    await rig.finalize(order_id)
    await rig.go(60)
    rig.relay.mend()
    rig.relay.processing_looks = 1000
    upstream.status = status
    for item in upstream.authorizations:
        item.status = item.challenge = "pending"
    rig.clock.advance(DAY)
    calls = len(rig.relay.calls)
    await rig.go()
    assert (await rig.order(order_id)).status is OrderStatus.INVALID
    assert set(rig.relay.calls[calls:]) == {"order"}


async def test_an_upstream_order_that_wants_proof_again_at_the_deadline_is_given_up_in_the_words_of_the_last_failure(
    rig: Rig,
) -> None:
    order_id = await stays_at(rig, Stage.FINALIZING)
    rig.relay.mend()
    (upstream,) = rig.relay.orders.values()
    upstream.status = upstream.authorizations[0].status = "pending"
    rig.clock.advance(DAY)
    await rig.go()
    error = (await rig.order(order_id)).error
    assert error is not None
    assert error.detail == "given up at stage finalizing: CA unavailable: 503"


@pytest.mark.parametrize(
    ("kinds", "sent"),
    [
        ((EventKind.CSR_SENT,), True),
        ((EventKind.CSR_SENT, EventKind.UPSTREAM_ORDER_READ), True),
        ((EventKind.CSR_SENT, EventKind.UPSTREAM_ORDER_CREATED), False),
        ((EventKind.CSR_SENT, EventKind.UPSTREAM_ORDER_TAKEN), False),
    ],
)
async def test_whether_the_csr_was_sent_is_asked_of_the_last_upstream_order(
    rig: Rig, kinds: tuple[EventKind, ...], *, sent: bool
) -> None:
    """A client whose right was taken gets no certificate, unless it may exist already."""
    order_id, _ = await ready(rig)
    await rig.finalize(order_id)

    def failed_once(current: OrderBundle) -> Change:
        events = tuple(Event(order_id=order_id, at=rig.clock.now(), kind=kind) for kind in kinds)
        order = replace(with_stage(current.order, Stage.FINALIZING), attempts=1)
        return Change(order=order, events=events)

    await rig.store.orders.apply(order_id, failed_once)
    await rig.store.principals.replace(replace(rig.principal, enabled=False))
    rig.clock.advance(FRESH + 0.01)
    await rig.go()
    assert ("finalize" in rig.relay.calls) is sent
    assert (await rig.order(order_id)).status is (OrderStatus.VALID if sent else OrderStatus.INVALID)


async def test_an_upstream_order_that_is_gone_is_made_again_at_once(rig: Rig) -> None:
    order_id, upstream = await ready(rig)
    upstream.status = "invalid"
    upstream.error = ProblemDocument(f"{URN}serverInternal", "lost", 500)
    await rig.finalize(order_id)
    begun = rig.clock.now()
    await rig.go(until=lambda: len(rig.relay.orders) == 2)
    assert rig.clock.now() - begun < timedelta(seconds=60)

"""A short pause is taken within the order's job: with its lease, without a place, and ended by whatever concerns it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from acmehub.issuance import IssuanceWorker
from acmehub.issuance import job as job_module
from acmehub.issuance.worker import GRACE
from acmehub.models import AuthorizationMode, EventKind, OrderStatus, Stage
from acmehub.ports.clock import SystemClock
from tests.issuance.rig import Rig
from tests.issuance.test_worker import finished, running, until

LONG = 0.8
"""Seconds of a pause, near the longest of a nap."""


@pytest.fixture
def rig(rig: Rig) -> Rig:
    """The rig with the machine's clock."""
    rig.clock = SystemClock()  # type: ignore[assignment]
    rig.relay._clock = rig.clock
    return rig


@pytest.fixture
def claims(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many orders each claim has found."""
    found: list[int] = []
    claim = rig.store.orders.claim

    async def counted(*args: object) -> Sequence[object]:
        claimed = await claim(*args)  # type: ignore[arg-type]
        found.append(len(claimed))
        return claimed

    monkeypatch.setattr(rig.store.orders, "claim", counted)
    return found


@asynccontextmanager
async def napping(rig: Rig, worker: IssuanceWorker, **kind: object) -> AsyncIterator[str]:
    """A worker, and an order that naps after its response to the CA's challenge; the order's id."""
    rig.relay.poll_first = LONG
    async with running(worker):
        order_id = await rig.open(**kind)  # type: ignore[arg-type]
        await until(lambda: at_stage(rig, order_id, Stage.VALIDATING))
        yield order_id


async def at_stage(rig: Rig, order_id: str, stage: Stage) -> bool:
    return (await rig.order(order_id)).stage is stage


async def test_an_order_is_claimed_once_though_the_ca_takes_some_looks(rig: Rig, claims: list[int]) -> None:
    rig.relay.validation_looks = rig.relay.processing_looks = 3
    async with running(rig.worker()):
        order_id = await rig.open(finalize=True)
        await until(finished(rig, order_id))
        await asyncio.sleep(0.1)
        assert [number for number in claims if number] == [1]
        assert len(claims) <= 3  # at the start, for the news of the order, and after the claim that found it
    await rig.assert_valid(order_id)
    assert (await rig.order(order_id)).fence == 1


async def test_a_nap_takes_no_place(rig: Rig) -> None:
    async with napping(rig, rig.worker(concurrency=1), finalize=True) as first:
        rig.relay.poll_first = 0.02
        second = await rig.open("second.corp.test", finalize=True)
        await until(finished(rig, second))
        assert await at_stage(rig, first, Stage.VALIDATING)
        await until(finished(rig, first))
    await rig.assert_valid(first, second)


async def test_an_order_that_naps_keeps_its_lease_and_is_given_back_at_once_when_the_process_stops(rig: Rig) -> None:
    async with napping(rig, rig.worker()) as order_id:
        assert (await rig.order(order_id)).lease_owner == "main"
        begun = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - begun < LONG * 0.7
    order = await rig.order(order_id)
    assert (order.lease_owner, order.lease_until, order.stage) == (None, None, Stage.VALIDATING)
    assert order.run_at is not None
    rig.relay.poll_first = 0.02
    async with running(rig.worker(owner="next")):
        await until(lambda: at_stage(rig, order_id, Stage.AUTHORIZED))


async def test_an_order_that_waits_for_its_place_after_a_nap_is_given_back_when_the_process_stops(rig: Rig) -> None:
    worker = rig.worker(concurrency=1)
    rig.relay.poll_first = 0.2
    async with napping(rig, worker) as order_id:
        rig.relay.poll_first = 0.2
        worker.orders.places.take("another", worker.orders.groups(worker.orders.running()[0]))
        await asyncio.sleep(LONG * 1.4)
        assert rig.relay.calls.count("order") == 0, "its place is taken"
        assert (await rig.order(order_id)).lease_owner == "main"
        begun = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - begun < GRACE / 2
    assert (await rig.order(order_id)).lease_owner is None


async def test_what_ends_an_order_ends_its_nap(rig: Rig) -> None:
    worker = rig.worker()
    async with napping(rig, worker, mode=AuthorizationMode.ACCEPT) as order_id:
        await rig.deactivate(order_id)
        begun = asyncio.get_running_loop().time()
        await worker.orders.wait_until_idle(5.0)
        assert asyncio.get_running_loop().time() - begun < LONG * 0.7
        assert "order" not in rig.relay.calls
    assert (await rig.order(order_id)).status is OrderStatus.INVALID


async def test_a_longer_pause_gives_the_order_back(rig: Rig) -> None:
    rig.relay.validation_looks = 1
    rig.relay.retry_after = 1.3
    worker = rig.worker()
    async with running(worker):
        order_id = await rig.open(finalize=True)
        await until(lambda: seen_once(rig))
        await worker.orders.wait_until_idle(5.0)
        order = await rig.order(order_id)
        assert (order.lease_owner, order.stage) == (None, Stage.VALIDATING)
        assert order.run_at is not None
        looked = next(event.at for event in await rig.timeline(order_id) if event.kind is EventKind.CHALLENGE_RESPONDED)
        assert (order.run_at - looked).total_seconds() >= 1.3
        rig.relay.retry_after = None
        await until(finished(rig, order_id))
    await rig.assert_valid(order_id)


async def seen_once(rig: Rig) -> bool:
    return "order" in rig.relay.calls


async def test_no_more_orders_nap_at_once_than_may(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_module, "MOST_ASLEEP", 1)
    async with napping(rig, rig.worker()) as first:
        second = await rig.open("second.corp.test")
        await until(lambda: at_stage(rig, second, Stage.VALIDATING))
        owners = [(await rig.order(id)).lease_owner for id in (first, second)]
        assert owners == ["main", None]

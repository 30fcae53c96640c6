"""The worker's loop in real time: woken without polling, never stopped by a failure, stopped in order."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest

from acmehub.issuance import IssuanceWorker
from acmehub.models import EventKind, OrderStatus, Stage
from acmehub.ports.clock import SystemClock
from acmehub.ports.store import StoreUnavailable
from acmehub.rules.orders import Lease
from tests.issuance.rig import Rig


@pytest.fixture
def rig(rig: Rig) -> Rig:
    """The rig with the machine's clock."""
    rig.clock = SystemClock()  # type: ignore[assignment]
    rig.relay._clock = rig.clock
    return rig


@asynccontextmanager
async def running(worker: IssuanceWorker) -> AsyncIterator[None]:
    task = asyncio.create_task(worker.run())
    await asyncio.sleep(0.05)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(check: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
    """Wait until `check` holds: on a busy machine, too, and well before an idle worker looks by itself."""
    begun = time.monotonic()
    while not await check():
        assert time.monotonic() - begun < seconds
        await asyncio.sleep(0.01)


def finished(rig: Rig, order_id: str) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return (await rig.order(order_id)).status in (OrderStatus.VALID, OrderStatus.INVALID)

    return check


def validated(rig: Rig, order_id: str) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        order = await rig.order(order_id)
        return order.stage is Stage.AUTHORIZED and order.lease_owner is None

    return check


async def test_a_new_order_wakes_the_worker_and_is_fulfilled_and_cleaned_up(rig: Rig) -> None:
    async with running(rig.worker()):
        order_id = await rig.open(finalize=True)
        await until(finished(rig, order_id))
    await rig.assert_valid(order_id)


async def test_a_finalize_wakes_the_worker(rig: Rig) -> None:
    async with running(rig.worker()):
        order_id = await rig.open()
        await until(validated(rig, order_id))
        await rig.finalize(order_id)
        await until(finished(rig, order_id))
    await rig.assert_valid(order_id)


async def test_what_another_process_left_is_claimed_when_its_lease_is_over(rig: Rig) -> None:
    order_id = await rig.open(finalize=True)
    now = rig.clock.now()
    lease = Lease("dead", now + timedelta(seconds=1))
    await rig.store.orders.claim(lease, now, 1)
    async with running(rig.worker()):
        await until(finished(rig, order_id))
    await rig.assert_valid(order_id)
    begun = [event.at for event in await rig.timeline(order_id) if event.kind is EventKind.UPSTREAM_ORDER_CREATED]
    assert begun[0] >= lease.until


async def test_a_storage_that_is_away_for_a_while_does_not_end_the_worker(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = rig.store.orders.claim
    failures: list[int] = []

    async def away(*args: object) -> object:
        if len(failures) < 2:
            failures.append(1)
            raise StoreUnavailable("connection refused")
        return await claim(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(rig.store.orders, "claim", away)
    monkeypatch.setattr("acmehub.runtime.jobs.back_off", lambda *_args, **_kwargs: 0.1)
    async with running(rig.worker()):
        order_id = await rig.open(finalize=True)
        await until(finished(rig, order_id))
    await rig.assert_valid(order_id)
    assert len(failures) == 2


async def test_an_unforeseen_error_in_the_loop_does_not_end_the_worker(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    claim = rig.store.orders.claim
    failures: list[int] = []

    async def broken(*args: object) -> object:
        if not failures:
            failures.append(1)
            raise KeyError("x")
        return await claim(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(rig.store.orders, "claim", broken)
    monkeypatch.setattr("acmehub.runtime.jobs.RESTART", 0.05)
    async with running(rig.worker()):
        order_id = await rig.open(finalize=True)
        await until(finished(rig, order_id))
    assert "issuance: the loop ended and starts again" in caplog.text


async def test_a_worker_that_is_told_to_stop_ends_its_step_and_gives_the_lease_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = rig.relay.new_order
    begun = asyncio.Event()

    async def slow(*args: object) -> object:
        begun.set()
        await asyncio.sleep(0.3)
        return await original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(rig.relay, "new_order", slow)
    order_id = await rig.open(finalize=True)
    async with running(rig.worker()):
        await begun.wait()
    order = await rig.order(order_id)
    assert order.upstream_url is not None  # what was under way is not lost
    assert order.lease_owner is None
    monkeypatch.undo()
    other = rig.worker(owner="other")
    await other.work_off()
    assert rig.relay.calls.count("new_order") == 1


async def test_a_step_that_does_not_end_within_the_grace_is_broken_off_and_its_lease_given_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def hangs(*_args: object) -> None:
        begun.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(rig.relay, "new_order", hangs)
    monkeypatch.setattr("acmehub.issuance.worker.GRACE", 0.1)
    order_id = await rig.open()
    async with running(rig.worker()):
        await begun.wait()
    order = await rig.order(order_id)
    assert (order.lease_owner, order.lease_until) == (None, None)
    assert order.run_at is not None


async def test_the_lease_of_a_long_exchange_is_renewed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    original = rig.relay.new_order

    async def slow(*args: object) -> object:
        await asyncio.sleep(2.5)
        return await original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(rig.relay, "new_order", slow)
    worker = rig.worker()
    worker._context.lease /= 15  # two seconds
    other = rig.worker(owner="other")
    order_id = await rig.open(finalize=True)
    async with running(worker):
        await asyncio.sleep(0.2)
        while not rig.relay.orders:
            assert await other.work_off() == 0
            await asyncio.sleep(0.1)
        await until(finished(rig, order_id))
    assert rig.relay.calls.count("new_order") == 1


async def test_a_renewal_that_fails_is_made_soon_after(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    renew, make = rig.store.orders.renew, rig.relay.new_order
    renewals: list[object] = []

    async def fails_at_first(order_id: str, fence: int, end: datetime) -> bool:
        renewals.append(end)
        if len(renewals) < 3:
            raise StoreUnavailable("disk is full")
        return await renew(order_id, fence, end)

    async def slow(*args: object) -> object:
        await until(renewed)
        return await make(*args)  # type: ignore[arg-type]

    async def renewed() -> bool:
        return len(renewals) == 3

    monkeypatch.setattr(rig.store.orders, "renew", fails_at_first)
    monkeypatch.setattr(rig.relay, "new_order", slow)
    worker = rig.worker()
    worker._context.lease /= 50  # 0.6 seconds
    order_id = await rig.open(finalize=True)
    async with running(worker):
        await until(finished(rig, order_id))
    await rig.assert_valid(order_id)
    assert "starts again" not in caplog.text


async def test_an_exchange_that_hangs_is_broken_off(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(*_args: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(rig.relay, "new_order", hangs)
    monkeypatch.setattr("acmehub.issuance.job.EXCHANGE_SECONDS", 0.05)
    order_id = await rig.open()
    await rig.worker().work_off()
    (event,) = [item for item in await rig.timeline(order_id) if item.kind == "CA unavailable"]
    assert event.detail == "no answer within 0.05 s"


async def test_two_workers_share_the_work_and_double_nothing(rig: Rig) -> None:
    ids = [await rig.open(f"n{number}.corp.test", finalize=True) for number in range(20)]
    async with running(rig.worker(owner="one", concurrency=4)), running(rig.worker(owner="two", concurrency=4)):
        for order_id in ids:
            await until(finished(rig, order_id), 30.0)
    await rig.assert_valid(*ids)
    assert rig.relay.calls.count("finalize") == 20
    assert rig.relay.calls.count("new_order") == 20


async def test_the_commits_of_a_running_order_cause_no_claims(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    claims: list[int] = []
    claim = rig.store.orders.claim

    async def counted(*args: object) -> object:
        found = await claim(*args)  # type: ignore[arg-type]
        claims.append(len(found))
        return found

    original = rig.relay.new_order

    async def slow(*args: object) -> object:
        await asyncio.sleep(0.3)
        return await original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(rig.store.orders, "claim", counted)
    monkeypatch.setattr(rig.relay, "new_order", slow)
    order_id = await rig.open(finalize=True)
    async with running(rig.worker()):
        await until(finished(rig, order_id))
        assert claims.count(0) <= 2 * claims.count(1)  # after each claim that found the order, and after each job
    await rig.assert_valid(order_id)


async def test_an_idle_worker_asks_the_storage_next_to_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    claims: list[int] = []
    claim = rig.store.orders.claim

    async def counted(*args: object) -> object:
        claims.append(1)
        return await claim(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(rig.store.orders, "claim", counted)
    async with running(rig.worker()):
        await asyncio.sleep(1.0)
    assert len(claims) <= 2

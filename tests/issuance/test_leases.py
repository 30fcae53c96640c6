"""Leases and fencing: a worker that was too late stops silently, and nothing is done twice."""

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace

from acmehub.dns01 import Solver
from acmehub.models import OrderStatus, Stage
from acmehub.ports.store import StoreUnavailable
from acmehub.rules.orders import Change, Lease, OrderBundle
from tests.issuance.rig import Rig


async def test_a_frozen_worker_that_goes_on_after_its_lease_writes_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await rig.open(finalize=True)
    frozen, other = rig.worker(owner="frozen"), rig.worker(owner="other")
    original = rig.relay.new_order
    passages = []

    async def freeze(*args: object) -> object:
        result = await original(*args)  # type: ignore[arg-type]
        passages.append(1)
        if len(passages) == 1:
            rig.clock.advance(31.0)
            await rig.go(worker=other)
        return result

    monkeypatch.setattr(rig.relay, "new_order", freeze)
    await frozen.work_off()
    await rig.assert_valid(order_id)
    assert rig.relay.issued_for("www.corp.test") == 1
    made = [event.detail for event in await rig.timeline(order_id) if event.kind == "upstream order created"]
    assert made == [(await rig.order(order_id)).upstream_url]


async def test_a_record_that_a_frozen_worker_makes_late_is_removed_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await rig.open(finalize=True)
    frozen, other = rig.worker(owner="frozen"), rig.worker(owner="other")
    other._context.solver = other.txt_cleanup._solver = Solver(
        rig.store, rig.snapshots, rig.plugin_objects, rig.dns_settings, rig.clock
    )
    add = rig.provider.add_txt
    passages = []

    async def freeze(zone: str, name: str, value: str) -> None:
        passages.append(1)
        if len(passages) == 1:
            rig.clock.advance(31.0)
            await rig.go(worker=other)
            assert not await rig.store.txt_records.list()
        await add(zone, name, value)

    monkeypatch.setattr(rig.provider, "add_txt", freeze)
    await frozen.work_off()
    assert rig.provider.records  # it did make it, too late
    await rig.go()
    await rig.assert_valid(order_id)


async def test_a_lease_is_given_back_whenever_the_order_waits(rig: Rig) -> None:
    rig.relay.validation_looks = 3
    order_id = await rig.open()
    await rig.main.work_off()
    order = await rig.order(order_id)
    assert order.stage is Stage.VALIDATING
    assert (order.lease_owner, order.lease_until) == (None, None)
    assert order.run_at is not None
    assert order.run_at > rig.clock.now()


async def test_a_wall_clock_that_steps_back_an_hour_delays_nothing(rig: Rig) -> None:
    rig.relay.validation_looks = 6
    order_id = await rig.open(finalize=True)
    await rig.main.work_off()
    rig.clock.jump(-3600)
    rig.clock.advance(60)
    for _ in range(12):
        await rig.main.work_off()
        rig.clock.advance(6)
    assert (await rig.order(order_id)).status is OrderStatus.VALID


async def test_a_wall_clock_that_steps_forward_doubles_nothing(rig: Rig) -> None:
    rig.relay.processing_looks = 3
    order_id = await rig.open(finalize=True)
    await rig.main.work_off()
    rig.clock.jump(3600)
    await rig.go()
    await rig.assert_valid(order_id)
    assert rig.relay.calls.count("finalize") == 1


async def test_a_result_whose_write_fails_is_written_later_without_a_second_exchange(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await rig.open(finalize=True)
    apply = rig.store.orders.apply
    failures: list[int] = []

    async def failing(order_id: str, rule, *, fence=None):  # type: ignore[no-untyped-def]
        if "new_order" in rig.relay.calls and len(failures) < 2:
            failures.append(1)
            raise StoreUnavailable("database is locked")
        return await apply(order_id, rule, fence=fence)

    monkeypatch.setattr(rig.store.orders, "apply", failing)
    await rig.go()
    await rig.assert_valid(order_id)
    assert len(failures) == 2
    assert rig.relay.calls.count("new_order") == 1


async def test_a_commit_whose_confirmation_was_lost_is_not_written_twice(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await rig.open(finalize=True)
    apply = rig.store.orders.apply
    lost: set[Stage] = set()

    async def losing(order_id: str, rule, *, fence=None):  # type: ignore[no-untyped-def]
        before = (await rig.order(order_id)).stage
        bundle = await apply(order_id, rule, fence=fence)
        if before not in lost:
            lost.add(before)
            raise StoreUnavailable("server closed the connection")
        return bundle

    monkeypatch.setattr(rig.store.orders, "apply", losing)
    await rig.go()
    monkeypatch.undo()
    await rig.go()
    await rig.assert_valid(order_id)
    assert len(lost) >= 7
    assert rig.relay.issued_for("www.corp.test") == 1
    assert rig.relay.calls.count("new_order") == 1


async def test_a_storage_that_stays_away_leaves_the_order_to_the_next_claim(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await rig.open(finalize=True)

    async def away(*_args: object, **_kwargs: object) -> OrderBundle:
        raise StoreUnavailable("disk is full")

    async def at_once(_seconds: float) -> None:
        return None

    monkeypatch.setattr(rig.store.orders, "apply", away)
    monkeypatch.setattr("acmehub.issuance.job.asyncio.sleep", at_once)
    assert await rig.main.work_off() == 1
    monkeypatch.undo()
    assert (await rig.order(order_id)).lease_owner == "main"
    await rig.go()
    await rig.assert_valid(order_id)


async def test_an_error_that_nobody_foresaw_is_logged_and_tried_again_and_in_the_end_told(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.relay.fail("new_order", KeyError("secret-value"), times=3)
    lucky = await rig.open("a.corp.test", finalize=True)
    await rig.go()
    await rig.assert_valid(lucky)
    assert (await rig.whats(lucky)).count("unexpected error") == 3
    assert "KeyError" in caplog.text
    rig.relay.fail("new_order", KeyError("secret-value"), times=1000)
    unlucky = await rig.open("b.corp.test", issuance_timeout=timedelta(hours=1))
    await rig.go(3000)
    assert (await rig.order(unlucky)).status is OrderStatus.READY
    await rig.go(7200)
    order = await rig.order(unlucky)
    assert order.error is not None
    assert order.error.detail == "given up at stage ordering: unexpected error: KeyError"
    assert "secret-value" not in str(await rig.timeline(unlucky))


async def test_work_goes_on_for_the_others_when_one_order_fails(rig: Rig) -> None:
    rig.relay.fail("new_order", KeyError("x"))
    ids = [await rig.open(f"{name}.corp.test", finalize=True) for name in "abcdef"]
    await rig.go(1.0)
    assert [(await rig.order(order_id)).status for order_id in ids].count(OrderStatus.VALID) == 5
    await rig.go()
    await rig.assert_valid(*ids)


async def test_no_more_orders_are_in_work_than_the_configuration_says(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = rig.worker(concurrency=3)
    running = []
    most = []
    original = rig.relay.new_order

    async def counted(*args: object) -> object:
        running.append(1)
        most.append(len(running))
        await asyncio.sleep(0.01)
        running.pop()
        return await original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(rig.relay, "new_order", counted)
    ids = [await rig.open(f"n{number}.corp.test", finalize=True) for number in range(10)]
    await rig.go(worker=worker)
    await rig.assert_valid(*ids)
    assert max(most) == 3


async def test_a_claimed_order_is_owned_for_the_length_of_a_lease(rig: Rig) -> None:
    order_id = await rig.open()
    handover = rig.main.take(await rig.order(order_id))
    assert handover is not None
    lease = handover.lease
    assert lease.owner == "main"
    assert lease.until - rig.clock.now() == timedelta(seconds=30)
    (claimed,) = await rig.store.orders.claim(lease, rig.clock.now(), 5)
    assert claimed.order.id == order_id
    assert await rig.worker(owner="other").work_off() == 0
    unchanged = await rig.store.orders.apply(order_id, lambda current: Change(order=current.order))
    assert unchanged.order.fence == 1


async def test_a_worker_whose_lease_another_one_holds_writes_nothing_though_the_stage_is_the_same(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await rig.open(finalize=True)
    original = rig.relay.new_order

    async def freeze(*args: object) -> object:
        result = await original(*args)  # type: ignore[arg-type]
        rig.clock.advance(31.0)
        lease = Lease("other", rig.clock.now() + timedelta(seconds=30))
        assert len(await rig.store.orders.claim(lease, rig.clock.now(), 1)) == 1
        return result

    monkeypatch.setattr(rig.relay, "new_order", freeze)
    await rig.main.work_off()
    order = await rig.order(order_id)
    assert (order.lease_owner, order.stage, order.upstream_url) == ("other", Stage.ORDERING, None)
    assert "upstream order created" not in await rig.whats(order_id)


async def test_a_worker_whose_claim_was_lost_with_the_database_writes_nothing_though_the_fence_is_the_same(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await rig.open(finalize=True)
    original = rig.relay.new_order

    async def fail_over(*args: object) -> object:
        result = await original(*args)  # type: ignore[arg-type]

        def claimed_by_another(bundle: OrderBundle) -> Change:  # in a database that had lost this worker's claim
            return Change(order=replace(bundle.order, lease_owner="other"))

        await rig.store.orders.apply(order_id, claimed_by_another)
        return result

    monkeypatch.setattr(rig.relay, "new_order", fail_over)
    await rig.main.work_off()
    order = await rig.order(order_id)
    assert (order.lease_owner, order.stage, order.upstream_url) == ("other", Stage.ORDERING, None)

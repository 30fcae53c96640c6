"""TXT cleanup: removes by value, retries for ever, and keeps what another order still needs."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from acmehub.dns01 import TxtCleanup
from acmehub.dns01.txt_cleanup import BATCH, REMOVALS_AT_ONCE
from acmehub.models import TxtRecord, TxtState
from acmehub.ports.dns import DnsProviderRefused, DnsProviderUnavailable
from acmehub.ports.store import StoreUnavailable
from acmehub.rules.orders import Change, Lease
from acmehub.runtime.outages import Outages
from tests.issuance.rig import Rig, make_rig


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with make_rig(tmp_path) as made:
        yield made


@pytest.fixture
def txt_cleanup(rig: Rig) -> TxtCleanup:
    lease = timedelta(seconds=30)
    outages = Outages(rig.snapshots, rig.clock)
    return TxtCleanup(rig.store, rig.solver, rig.clock, outages, owner="worker", lease=lease, rng=random.Random(1))


async def stored(rig: Rig, value: str = "v", state: TxtState = TxtState.REMOVE) -> TxtRecord:
    bundle = await rig.bundle(await rig.open("www.corp.test", signing=True))
    record = TxtRecord(
        order_id=bundle.order.id,
        authorization_id=bundle.authorizations[0].id,
        managed_challenge_id=rig.challenge.id,
        zone="corp.test",
        name="_acme-challenge.www.corp.test",
        value=value,
        state=state,
        run_at=rig.clock.now(),
        created=rig.clock.now(),
    )
    await rig.store.orders.apply(bundle.order.id, lambda now: Change(order=now.order, records=(record,)))
    await rig.provider.add_txt(record.zone, record.name, record.value)
    return record


async def test_it_removes_by_value_and_forgets_the_row(rig: Rig, txt_cleanup: TxtCleanup) -> None:
    record = await stored(rig, "v")
    await rig.provider.add_txt("corp.test", record.name, "of another hub")
    assert await txt_cleanup.work_off() == 1
    assert rig.provider.records == {("corp.test", record.name): {"of another hub"}}
    assert not await rig.store.txt_records.list()
    assert (await rig.whats(record.order_id))[-1] == "TXT record removed"


@pytest.mark.parametrize("state", [TxtState.PLANNED, TxtState.PRESENT])
async def test_it_leaves_what_is_not_scheduled(rig: Rig, txt_cleanup: TxtCleanup, state: TxtState) -> None:
    await stored(rig, state=state)
    assert await txt_cleanup.work_off() == 0
    assert rig.provider.records


async def test_it_waits_before_a_record_that_may_still_be_on_its_way(rig: Rig, txt_cleanup: TxtCleanup) -> None:
    record = await stored(rig)
    later = msgspec.structs.replace(record, run_at=rig.clock.now() + timedelta(seconds=90))
    await rig.store.txt_records.replace(later)
    assert await txt_cleanup.work_off() == 0
    rig.clock.advance(91)
    assert await txt_cleanup.work_off() == 1


async def test_it_goes_on_with_the_others_when_one_cannot_be_removed(rig: Rig, txt_cleanup: TxtCleanup) -> None:
    for number in range(3):
        await stored(rig, f"v{number}")
    rig.provider.fail("remove_txt", DnsProviderRefused("401"))
    await txt_cleanup.work_off()
    (left,) = await rig.store.txt_records.list()
    assert (left.attempts, left.lease_owner) == (1, None)
    assert left.last_error.endswith("401")
    assert left.run_at is not None
    assert left.run_at > rig.clock.now()
    rig.clock.advance(60)
    await txt_cleanup.work_off()
    await rig.assert_clean()


async def test_pauses_grow_to_an_hour_and_never_end(rig: Rig, txt_cleanup: TxtCleanup) -> None:
    await stored(rig)
    rig.provider.fail("remove_txt", DnsProviderRefused("401"), times=30)
    begun = rig.clock.now()
    for _ in range(31):
        due = await rig.store.txt_records.next_due()
        assert due is not None
        rig.clock.advance(max(0.0, (due - rig.clock.now()).total_seconds()) + 0.001)
        assert await txt_cleanup.work_off() == 1
    await rig.assert_clean()
    assert timedelta(hours=15) < rig.clock.now() - begun < timedelta(hours=36)


async def test_a_managed_challenge_that_is_gone_is_an_error_to_be_seen_not_a_crash(
    rig: Rig, txt_cleanup: TxtCleanup, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stored(rig)
    row = await rig.store.managed_challenges.get(rig.challenge.id)
    assert row is not None
    await rig.store.managed_challenges.replace(msgspec.structs.replace(row, plugin="dns_nowhere"))
    await txt_cleanup.work_off()
    (left,) = await rig.store.txt_records.list()
    assert "dns_nowhere" in left.last_error


async def test_it_is_woken_and_stops_only_when_its_removals_are_done(rig: Rig, txt_cleanup: TxtCleanup) -> None:
    begun = asyncio.Event()
    remove = rig.provider.remove_txt

    async def slow(zone: str, name: str, value: str) -> None:
        begun.set()
        await asyncio.sleep(0.2)
        await remove(zone, name, value)

    rig.provider.remove_txt = slow  # type: ignore[method-assign]
    task = asyncio.create_task(txt_cleanup.run())
    await asyncio.sleep(0.05)
    await stored(rig)
    txt_cleanup.wake()
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await rig.assert_clean()


async def test_a_storage_that_is_away_does_not_end_it(
    rig: Rig, txt_cleanup: TxtCleanup, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = rig.store.txt_records.claim
    failures: list[int] = []

    async def away(*args: object) -> object:
        if not failures:
            failures.append(1)
            raise StoreUnavailable("locked")
        return await claim(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(rig.store.txt_records, "claim", away)
    monkeypatch.setattr("acmehub.runtime.jobs.back_off", lambda *_args, **_kwargs: 0.05)
    await stored(rig)
    task = asyncio.create_task(txt_cleanup.run())
    for _ in range(100):
        if not await rig.store.txt_records.list():
            break
        await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.wait([task])
    await rig.assert_clean()


async def test_what_a_dead_process_had_claimed_is_removed_after_its_lease(rig: Rig, txt_cleanup: TxtCleanup) -> None:
    await stored(rig)
    now = rig.clock.now()
    assert await rig.store.txt_records.claim(Lease("dead", now + timedelta(seconds=30)), now, 5)
    assert await txt_cleanup.work_off() == 0
    rig.clock.advance(31)
    assert await txt_cleanup.work_off() == 1
    await rig.assert_clean()


async def test_a_silent_provider_does_not_keep_the_records_of_others(
    rig: Rig, txt_cleanup: TxtCleanup, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        await stored(rig, f"silent {number}")
    silent, rig.challenge = rig.challenge, await rig.managed_challenge("corp.test")
    await stored(rig, "of a healthy one")
    healthy, remove = rig.challenge.id, rig.solver.remove
    hanging: list[str] = []

    async def hang(row: TxtRecord) -> None:
        if row.managed_challenge_id == silent.id:
            hanging.append(row.id)
            await asyncio.Event().wait()
        await remove(row)

    async def left() -> set[str]:
        return {row.managed_challenge_id for row in await rig.store.txt_records.list()}

    monkeypatch.setattr(rig.solver, "remove", hang)
    task = asyncio.create_task(txt_cleanup.run())
    txt_cleanup.grace = 0.0
    async with asyncio.timeout(5.0):
        while healthy in await left():
            await asyncio.sleep(0.01)
    claimed = [row for row in await rig.store.txt_records.list() if row.lease_owner]
    assert len(hanging) == REMOVALS_AT_ONCE
    assert len(claimed) == BATCH
    task.cancel()
    await asyncio.wait([task])
    assert await left() == {silent.id}


async def test_a_provider_that_says_when_to_come_back_is_not_asked_before(rig: Rig, txt_cleanup: TxtCleanup) -> None:
    await stored(rig)
    rig.provider.fail("remove_txt", DnsProviderUnavailable("429", retry_after=1800.0))
    await txt_cleanup.work_off()
    rig.clock.advance(1799.0)
    assert await txt_cleanup.work_off() == 0
    rig.clock.advance(400.0)
    assert await txt_cleanup.work_off() == 1
    await rig.assert_clean()


async def test_a_record_that_another_order_needs_stays_until_that_one_is_done(
    rig: Rig, txt_cleanup: TxtCleanup
) -> None:
    """The CA gave both orders the same challenge."""
    done = await stored(rig, "same")
    needed = await stored(rig, "same", TxtState.PRESENT)
    assert await txt_cleanup.work_off() == 1
    assert rig.provider.records == {("corp.test", needed.name): {"same"}}
    assert [row.id for row in await rig.store.txt_records.list()] == [needed.id]
    assert "TXT record removed" not in await rig.whats(done.order_id)
    await rig.store.txt_records.replace(msgspec.structs.replace(needed, state=TxtState.REMOVE))
    assert await txt_cleanup.work_off() == 1
    await rig.assert_clean()


async def test_a_failure_that_comes_after_another_process_took_the_row_over_changes_nothing(
    rig: Rig, txt_cleanup: TxtCleanup, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await stored(rig)

    async def late(_record: TxtRecord) -> None:
        rig.clock.advance(31.0)
        now = rig.clock.now()
        assert await rig.store.txt_records.claim(Lease("other", now + timedelta(seconds=30)), now, 9)
        raise DnsProviderRefused("401")

    with monkeypatch.context() as patch:
        patch.setattr(rig.solver, "remove", late)
        assert await txt_cleanup.work_off() == 1
    (row,) = await rig.store.txt_records.list()
    assert (row.lease_owner, row.attempts, row.last_error) == ("other", 0, "")
    assert caplog.messages == ["managed challenge cannot be used"]  # of the record, the other process speaks
    rig.clock.advance(31.0)
    assert await txt_cleanup.work_off() == 1
    await rig.assert_clean()


async def test_a_defect_of_a_provider_is_tried_again_later(rig: Rig, txt_cleanup: TxtCleanup) -> None:
    await stored(rig)
    rig.provider.fail("remove_txt", KeyError("a defect"))
    await txt_cleanup.work_off()
    (left,) = await rig.store.txt_records.list()
    assert (left.attempts, left.lease_owner) == (1, None)
    rig.clock.advance(60)
    await txt_cleanup.work_off()
    await rig.assert_clean()

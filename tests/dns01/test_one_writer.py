"""Providers that replace whole record sets are called for one record of a zone at a time, of all processes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
import pytest_asyncio

from acmehub import SystemClock
from acmehub.dns01 import Solver, TxtCleanup, one_writer
from acmehub.dns01.one_writer import IN_FLIGHT, LEASE, OneWriter
from acmehub.models import EventKind, OrderStatus, Stage, TxtRecord, TxtState
from acmehub.ports.dns import DnsProviderRefused, DnsProviderUnavailable, RewritesRecordSets, rewrites_record_sets
from acmehub.ports.store import StoreUnavailable
from acmehub.rules.orders import Change, Lease
from acmehub.runtime.outages import Outages
from acmehub.testing.fakes import FakeDnsProvider
from tests.issuance.rig import Rig, make_rig

ZONE = "corp.test"
NAME = "_acme-challenge.corp.test"


class Rewriting(FakeDnsProvider):
    """Reads all values of a name, and writes them back a moment later."""

    rewrites_record_sets = True

    async def _rewrite(self, zone: str, name: str, add: set[str], remove: set[str]) -> None:
        read = set(self.records.get((zone, name), ()))
        await asyncio.sleep(0.01)
        self.records[zone, name] = (read | add) - remove

    async def add_txt(self, zone: str, name: str, value: str) -> None:
        await self._rewrite(zone, name, {value}, set())
        self.on_add(name, value)

    async def remove_txt(self, zone: str, name: str, value: str) -> None:
        await self._rewrite(zone, name, set(), {value})
        self.on_remove(name, value)
        if not self.records[zone, name]:
            del self.records[zone, name]


class RewritingMany(Rewriting):
    """Adds several records by one reading and one writing of each name."""

    async def add_txts(self, zone: str, records: Sequence[tuple[str, str]]) -> None:
        for name in {name for name, _ in records}:
            await self._rewrite(zone, name, {value for at, value in records if at == name}, set())


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with make_rig(tmp_path, Rewriting) as made:
        yield made


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiters give up after three tries."""
    monkeypatch.setattr(one_writer, "MOST_TRIES", 3)
    monkeypatch.setattr(one_writer, "PAUSE", 0.01)


def another_process(rig: Rig) -> OneWriter:
    """It shares the storage with the rig's solver, and nothing else."""
    return OneWriter(rig.store, rig.clock, "another", Random(1))


def another_solver(rig: Rig) -> Solver:
    return Solver(rig.store, rig.snapshots, rig.plugin_objects, rig.dns_settings, rig.clock, "another")


def record(rig: Rig, value: str, name: str = NAME) -> TxtRecord:
    return TxtRecord(
        order_id="o",
        authorization_id="a",
        managed_challenge_id=rig.challenge.id,
        zone=ZONE,
        name=name,
        value=value,
        created=rig.clock.now(),
    )


async def free(rig: Rig) -> bool:
    """Whether somebody else could take the lease now; takes it."""
    now = rig.clock.now()
    return await rig.store.zone_leases.take(rig.challenge.id, ZONE, Lease("tester", now + LEASE), now) is not None


async def test_two_processes_lose_nothing(rig: Rig) -> None:
    solvers = (rig.solver, another_solver(rig))
    records = [record(rig, f"v{number}") for number in range(8)]
    await asyncio.gather(*(solvers[number % 2].publish(item) for number, item in enumerate(records)))
    assert rig.provider.records == {(ZONE, NAME): {item.value for item in records}}
    more = [record(rig, f"w{number}") for number in range(4)]
    await asyncio.gather(
        *(solvers[number % 2].remove(item) for number, item in enumerate(records)),
        *(solvers[number % 2].publish(item) for number, item in enumerate(more)),
    )
    assert rig.provider.records == {(ZONE, NAME): {item.value for item in more}}


async def test_two_processes_that_add_several_records_lose_nothing(tmp_path: Path) -> None:
    async with make_rig(tmp_path, RewritingMany) as rig:
        solvers = (rig.solver, another_solver(rig))
        groups = [[record(rig, f"v{number}-{item}") for item in range(3)] for number in range(4)]
        await asyncio.gather(*(solvers[number % 2].publish_together(rows) for number, rows in enumerate(groups)))
        assert rig.provider.records == {(ZONE, NAME): {item.value for rows in groups for item in rows}}


async def test_without_the_marker_they_do_and_no_lease_is_taken(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rewriting, "rewrites_record_sets", False)
    solvers = (rig.solver, another_solver(rig))
    await asyncio.gather(*(solvers[number % 2].publish(record(rig, f"v{number}")) for number in range(8)))
    assert len(rig.provider.records[ZONE, NAME]) < 8
    now = rig.clock.now()
    assert await rig.store.zone_leases.take(rig.challenge.id, ZONE, Lease("first", now), now) == 1


def test_the_marker_is_inherited_or_said() -> None:
    class Inherits(RewritesRecordSets):
        pass

    class Says:
        rewrites_record_sets = True

    assert rewrites_record_sets(Inherits())
    assert rewrites_record_sets(Says())
    assert not rewrites_record_sets(FakeDnsProvider())


async def test_names_of_one_zone_wait_for_each_other_other_zones_do_not(rig: Rig) -> None:
    async with another_process(rig).alone(rig.challenge.id, "other.test"):
        await rig.solver.publish(record(rig, "v"))
    async with another_process(rig).alone(rig.challenge.id, ZONE):
        waits = asyncio.create_task(rig.solver.publish(record(rig, "w", f"_acme-challenge.www.{ZONE}")))
        await asyncio.sleep(0.05)
        assert not waits.done()
    await waits
    assert set(rig.provider.records) == {(ZONE, NAME), (ZONE, f"_acme-challenge.www.{ZONE}")}


@pytest.mark.usefixtures("brief")
async def test_a_process_that_died_keeps_the_zone_until_its_lease_is_over(rig: Rig) -> None:
    assert await free(rig)  # taken, and never ended
    with pytest.raises(DnsProviderUnavailable, match=r"another change of zone corp\.test is under way"):
        await rig.solver.publish(record(rig, "v"))
    rig.clock.advance(LEASE.total_seconds() - 0.1)
    with pytest.raises(DnsProviderUnavailable):
        await rig.solver.remove(record(rig, "v"))
    rig.clock.advance(0.2)
    await rig.solver.publish(record(rig, "v"))


async def test_a_wait_ends_in_time(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_writer, "WAIT_SECONDS", 0.05)
    writer = another_process(rig)
    async with writer.alone(rig.challenge.id, ZONE):
        with pytest.raises(DnsProviderUnavailable, match="under way"):
            async with writer.alone(rig.challenge.id, ZONE):
                raise AssertionError
    monkeypatch.setattr(rig.clock, "monotonic", asyncio.get_running_loop().time)
    assert await free(rig)
    with pytest.raises(DnsProviderUnavailable, match="under way"):
        async with another_process(rig).alone(rig.challenge.id, ZONE):
            raise AssertionError


async def test_a_lease_that_was_lost_is_told_and_its_successors_is_not_ended(rig: Rig) -> None:
    alone = another_process(rig).alone(rig.challenge.id, ZONE)
    await alone.__aenter__()
    rig.clock.advance(LEASE.total_seconds())
    assert await free(rig)
    with pytest.raises(DnsProviderUnavailable, match="ran out before its change was made"):
        await alone.__aexit__(None, None, None)
    assert not await free(rig)


@pytest.mark.parametrize(
    ("error", "at_once"),
    [
        (None, True),
        (DnsProviderRefused("no"), True),
        (DnsProviderUnavailable("no answer"), False),
        (asyncio.CancelledError(), False),
    ],
)
async def test_after_a_call_whose_request_may_still_arrive_the_zone_is_kept_a_while(
    rig: Rig, error: BaseException | None, *, at_once: bool
) -> None:
    with suppress(DnsProviderRefused, DnsProviderUnavailable, asyncio.CancelledError):
        async with another_process(rig).alone(rig.challenge.id, ZONE):
            assert not await free(rig)
            if error is not None:
                raise error
    assert await free(rig) is at_once
    rig.clock.advance(IN_FLIGHT.total_seconds())
    assert await free(rig) is not at_once


async def test_a_storage_that_is_away_hides_no_error_of_the_provider(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_arguments: object) -> bool:
        raise StoreUnavailable("away")

    monkeypatch.setattr(rig.store.zone_leases, "end", away)
    with pytest.raises(DnsProviderRefused):
        async with another_process(rig).alone(rig.challenge.id, ZONE):
            raise DnsProviderRefused("no")
    rig.clock.advance(LEASE.total_seconds())
    with pytest.raises(StoreUnavailable):  # the change is made again
        async with another_process(rig).alone(rig.challenge.id, ZONE):
            pass


async def test_a_busy_process_lets_the_others_in(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_writer, "IN_A_ROW", 0.0)
    busy, other = (OneWriter(rig.store, SystemClock(), name, Random(1)) for name in ("busy", "other"))

    async def change() -> None:
        async with other.alone(rig.challenge.id, ZONE):
            pass

    async with busy.alone(rig.challenge.id, ZONE):
        waits = asyncio.create_task(change())
        await asyncio.sleep(0.05)
    async with busy.alone(rig.challenge.id, ZONE):
        assert waits.done()
    await waits


async def test_calls_that_follow_each_other_for_a_while_do_not_rest(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_writer, "REST", 60.0)
    monkeypatch.setattr(one_writer, "IN_A_ROW", 5.0)
    busy = OneWriter(rig.store, SystemClock(), "busy")
    async with asyncio.timeout(5.0):
        for _ in range(3):
            async with busy.alone(rig.challenge.id, ZONE):
                pass


async def test_an_order_that_waits_for_a_zone_holds_no_place(rig: Rig) -> None:
    worker = rig.worker(concurrency=1)
    assert await free(rig)
    waits = await rig.open("www.corp.test", finalize=True)
    worker.orders.grace = 0.0
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(10.0):
        while (await rig.order(waits)).stage is not Stage.PUBLISHING:
            await asyncio.sleep(0.02)
        other = await rig.open("www.other.test", signing=True, finalize=True)
        while (await rig.order(other)).status is not OrderStatus.VALID:
            await asyncio.sleep(0.02)
    waiting = await rig.order(waits)
    assert (waiting.stage, waiting.lease_owner, waiting.attempts) == (Stage.PUBLISHING, "main", 0)  # in its step still
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


@pytest.mark.usefixtures("brief")
async def test_an_order_tries_again_until_the_zone_is_free(rig: Rig) -> None:
    assert await free(rig)
    order_id = await rig.open("www.corp.test", finalize=True)
    await rig.go(LEASE.total_seconds() * 3)
    await rig.assert_valid(order_id)
    assert EventKind.DNS_PROVIDER_UNAVAILABLE in await rig.whats(order_id)


@pytest.mark.usefixtures("brief")
async def test_a_removal_takes_the_lease_too(rig: Rig) -> None:
    outages = Outages(rig.snapshots, rig.clock)
    cleanup = TxtCleanup(
        rig.store, another_solver(rig), rig.clock, outages, owner="w", lease=timedelta(seconds=30), rng=Random(1)
    )
    bundle = await rig.bundle(await rig.open("corp.test", signing=True))
    row = TxtRecord(
        order_id=bundle.order.id,
        authorization_id=bundle.authorizations[0].id,
        managed_challenge_id=rig.challenge.id,
        zone=ZONE,
        name=NAME,
        value="v",
        state=TxtState.REMOVE,
        run_at=rig.clock.now(),
        created=rig.clock.now(),
    )
    await rig.store.orders.apply(bundle.order.id, lambda now: Change(order=now.order, records=(row,)))
    await rig.solver.publish(row)
    assert await free(rig)
    await cleanup.work_off()
    (left,) = await rig.store.txt_records.list()
    assert "under way" in left.last_error
    assert rig.provider.records
    rig.clock.advance(LEASE.total_seconds())
    await cleanup.work_off()
    await rig.assert_clean()

"""The records of an order that stand in one zone are added together, where the provider can do that."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from acmehub.dns01 import solver
from acmehub.models import EventKind, TxtRecord, TxtState
from acmehub.ports.dns import DnsProviderRefused, DnsProviderUnavailable
from acmehub.runtime.rights import FRESH
from acmehub.testing.fakes import FakeDnsProvider
from tests.issuance.rig import Rig, make_rig

NAMES = ("corp.test", "*.corp.test", "www.corp.test", "other.test")
APEX, WWW, OTHER = "_acme-challenge.corp.test", "_acme-challenge.www.corp.test", "_acme-challenge.other.test"


class Adding(FakeDnsProvider):
    """Adds many records, all or none; refuses the names in `bad`."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: set[str] = set()
        self.together: list[list[str]] = []

    async def add_txts(self, zone: str, records: Sequence[tuple[str, str]]) -> None:
        self.together.append(sorted(name for name, _ in records))
        await asyncio.sleep(0)
        if self.bad & {name for name, _ in records}:
            raise DnsProviderRefused("one of them is not allowed")
        self._begin("add_txts", zone, "", "")
        for name, value in records:
            self.records.setdefault((zone, name), set()).add(value)
            self.on_add(name, value)

    async def add_txt(self, zone: str, name: str, value: str) -> None:
        if name in self.bad:
            raise DnsProviderRefused(f"{zone}: not allowed", server="api.dns.test")
        await super().add_txt(zone, name, value)


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with make_rig(tmp_path, Adding) as made:
        yield made


def adding(rig: Rig) -> Adding:
    assert isinstance(rig.provider, Adding)
    return rig.provider


def record(rig: Rig, name: str, value: str = "v", zone: str = "corp.test") -> TxtRecord:
    return TxtRecord(
        order_id="o",
        authorization_id="a",
        managed_challenge_id=rig.challenge.id,
        zone=zone,
        name=name,
        value=value,
        created=rig.clock.now(),
    )


def added(rig: Rig) -> list[str]:
    """The names that were added one by one."""
    return [name for verb, _zone, name, _value in rig.provider.calls if verb == "add_txt"]


async def test_an_order_costs_one_call_for_each_zone(rig: Rig) -> None:
    order_id = await rig.open(*NAMES, finalize=True)
    await rig.go()
    await rig.assert_valid(order_id)
    assert adding(rig).together == [[APEX, APEX, WWW]]
    assert added(rig) == [OTHER]
    assert (await rig.whats(order_id)).count(EventKind.TXT_CREATED) == 4


async def test_every_row_is_stored_before_the_call(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    add_txts = adding(rig).add_txts
    stored: list[tuple[str, str, TxtState]] = []

    async def looked(zone: str, records: Sequence[tuple[str, str]]) -> None:
        stored.extend((row.name, row.value, row.state) for row in await rig.store.txt_records.list())
        assert {(name, value, TxtState.PLANNED) for name, value in records} <= set(stored)
        await add_txts(zone, records)

    monkeypatch.setattr(rig.provider, "add_txts", looked)
    order_id = await rig.open(*NAMES, finalize=True)
    await rig.go()
    await rig.assert_valid(order_id)
    assert len(stored) == 4


async def test_one_bad_name_does_not_fail_the_others_and_is_named(rig: Rig) -> None:
    adding(rig).bad.add(WWW)
    order_id = await rig.open(*NAMES, finalize=True)
    await rig.main.work_off()
    rows = await rig.store.txt_records.of_order(order_id)
    assert {row.name: row.state for row in rows} == {
        APEX: TxtState.PRESENT,
        OTHER: TxtState.PRESENT,
        WWW: TxtState.PLANNED,
    }
    assert sorted(added(rig)) == [APEX, APEX, OTHER]
    refused = next(item for item in await rig.timeline(order_id) if item.kind is EventKind.DNS_PROVIDER_REFUSED)
    assert f"{WWW}: managed challenge {rig.challenge.name!r}: corp.test: not allowed" in refused.detail
    assert refused.server == "api.dns.test"
    adding(rig).bad.clear()
    await rig.go()
    await rig.assert_valid(order_id)
    assert adding(rig).together == [[APEX, APEX, WWW]]
    assert sorted(added(rig)) == [APEX, APEX, OTHER, WWW]


async def test_rights_are_asked_again_before_the_records_are_added_one_by_one(rig: Rig) -> None:
    add_txts = adding(rig).add_txts

    async def refused(zone: str, records: Sequence[tuple[str, str]]) -> None:
        await rig.store.tokens.replace(replace(rig.token, names="elsewhere.test"))
        rig.clock.advance(FRESH + 0.01)
        await add_txts(zone, records)

    adding(rig).bad.add(WWW)
    adding(rig).add_txts = refused  # type: ignore[method-assign]
    order_id = await rig.open("corp.test", "www.corp.test")
    await rig.main.work_off()
    assert added(rig) == []
    assert EventKind.RIGHT_TAKEN in await rig.whats(order_id)


async def test_records_that_are_all_refused_raise(rig: Rig) -> None:
    adding(rig).bad |= {APEX, WWW}
    rows = [record(rig, APEX), record(rig, WWW)]
    assert not await rig.solver.publish_together(rows)
    with pytest.raises(DnsProviderRefused, match=f"^{APEX}: managed challenge"):
        await rig.solver.publish_apart(rows)


async def test_a_provider_that_is_away_is_not_asked_once_for_each_record(rig: Rig) -> None:
    rig.provider.fail("add_txts", DnsProviderUnavailable("503", retry_after=5.0))
    order_id = await rig.open(*NAMES, finalize=True)
    await rig.go()
    await rig.assert_valid(order_id)
    assert adding(rig).together == [[APEX, APEX, WWW], [APEX, APEX, WWW]]
    assert added(rig) == [OTHER]


async def test_a_provider_without_the_verb_adds_one_record_at_a_time(tmp_path: Path) -> None:
    async with make_rig(tmp_path) as rig:
        rows = [record(rig, APEX), record(rig, WWW)]
        assert await rig.solver.together(rows) == [rows[:1], rows[1:]]
        assert not await rig.solver.publish_together(rows)  # grouped before the plugin was changed
        assert await rig.solver.publish_apart(rows) == {}
        assert added(rig) == [APEX, WWW]


async def test_groups_are_of_one_zone_and_of_limited_size(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solver, "MOST_TOGETHER", 2)
    rows = [record(rig, APEX), record(rig, OTHER, zone="other.test"), record(rig, WWW), record(rig, f"a.{APEX}")]
    assert await rig.solver.together(rows) == [[rows[0], rows[2]], [rows[3]], [rows[1]]]


async def test_a_managed_challenge_whose_provider_cannot_be_made_is_told_by_the_call(rig: Rig) -> None:
    await rig.store.managed_challenges.remove(rig.challenge)
    rows = [record(rig, APEX), record(rig, WWW)]
    assert len(await rig.solver.together(rows)) == 2


async def test_groups_that_share_names_wait_for_each_other(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    busy: list[str] = []

    async def slow(_zone: str, records: Sequence[tuple[str, str]]) -> None:
        names = [name for name, _ in records]
        assert not set(names) & set(busy)
        busy.extend(names)
        await asyncio.sleep(0.01)
        del busy[:]

    monkeypatch.setattr(rig.provider, "add_txts", slow)
    one, other = [record(rig, APEX), record(rig, WWW)], [record(rig, WWW), record(rig, APEX)]
    async with asyncio.timeout(30.0):
        await asyncio.gather(*(rig.solver.publish_together(rows) for rows in (one, other, one, other)))

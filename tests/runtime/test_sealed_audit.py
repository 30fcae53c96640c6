"""The sealed chain of the audit: the sealer over a real storage, and the check of what it has sealed."""

import logging
import os
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from acmehub.models import AuditEntry, AuditRecord, Seal
from acmehub.ports.store import Store
from acmehub.rules.orders import Lease
from acmehub.runtime.sealed_audit import sealer as sealing
from acmehub.runtime.sealed_audit.chain import FIRST, ChainCheck, ChainFlaw, withheld
from acmehub.runtime.sealed_audit.keys import ChainKeys
from acmehub.runtime.sealed_audit.sealer import Sealer
from acmehub.runtime.vault import Vault
from acmehub.storage.sqlite.driver import SqliteDriver
from acmehub.storage.store import SqlStore
from acmehub.testing.fakes import ManualClock

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
DAY = 86400.0
KEEP = timedelta(days=30)


class Lab:
    """A storage, a clock, and sealers."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = ManualClock(NOW)
        self.vault = Vault([os.urandom(32)])
        self.sealer = self.another("one")

    def another(self, owner: str, keep: timedelta | None = None) -> Sealer:
        return Sealer(self.store, self.vault, self.clock, Random(1), owner=owner, keep=keep)

    async def write(self, *details: str) -> None:
        await self.store.records.audit(
            [AuditEntry(at=self.clock.now(), actor="a", action="b", object="c", detail=text) for text in details]
        )

    async def seal(self, sealer: Sealer | None = None) -> None:
        self.clock.advance(60)
        await (sealer or self.sealer).work_off()

    async def entries(self) -> Sequence[AuditRecord]:
        return await self.store.records.audited(10_000, after=FIRST)

    async def flaw(self, vault: Vault | None = None) -> ChainFlaw | None:
        keys = ChainKeys(self.store, vault or self.vault)
        await keys.read()
        check, left = ChainCheck(keys.get), list(await self.entries())
        for seal in await self.store.seals.list():
            covered = [entry for entry in left if entry.id <= seal.last]
            left = [entry for entry in left if entry.id > seal.last]
            if flaw := check.flaw(seal, covered):
                return flaw
        return None


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    store = SqlStore(SqliteDriver(tmp_path / "acmehub.db"))
    await store.migrate()
    await store.open()
    yield Lab(store)
    await store.close()


async def run(lab: Lab, text: str, *values: Any) -> None:
    """Change the database as somebody does who has its password and no master key."""
    driver: Any = lab.store._driver  # type: ignore[attr-defined]
    async with driver.schema() as session:
        await session.execute(text, values)


async def sealed(lab: Lab, ranges: int = 3) -> Sequence[Seal]:
    for number in range(ranges):
        await lab.write(f"{number} one", f"{number} two")
        await lab.seal()
    return await lab.store.seals.list()


async def test_entries_are_sealed_once_they_are_old_enough_and_told_once(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await lab.seal()
    await lab.write("one", "two")
    lab.clock.advance(29)
    await lab.sealer.work_off()
    assert await lab.store.seals.list() == ()
    assert caplog.messages == []
    lab.clock.advance(1)
    await lab.sealer.work_off()
    await lab.seal()
    (seal,) = await lab.store.seals.list()
    first, last = await lab.entries()
    assert (seal.id, seal.first, seal.last, seal.entries, seal.pruned) == (1, first.id, last.id, 2, None)
    (line,) = caplog.records
    assert (line.message, line.__dict__["mac"]) == (f"the audit is sealed up to entry {last.id}", seal.mac.hex())
    assert await lab.flaw() is None


async def test_what_was_written_before_the_first_seal_is_sealed_in_ranges(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "AT_ONCE", 3)
    await lab.write(*map(str, range(8)))
    await lab.seal()
    assert [seal.entries for seal in await lab.store.seals.list()] == [3, 3, 2]
    assert await lab.flaw() is None


async def test_one_process_at_a_time_seals_and_another_goes_on_when_it_is_gone(lab: Lab) -> None:
    await lab.write("one")
    lab.clock.advance(60)
    now = lab.clock.now()
    assert await lab.store.zone_leases.take(*sealing.PLACE, Lease("gone", now + sealing.LEASE), now) is not None
    await lab.seal()
    assert await lab.store.seals.list() == ()
    lab.clock.advance(sealing.LEASE.total_seconds())
    await lab.sealer.work_off()
    assert len(await lab.store.seals.list()) == 1
    await lab.write("two")
    await lab.seal(lab.another("two"))  # the lease was given back
    assert [seal.id for seal in await lab.store.seals.list()] == [1, 2]


async def test_a_seal_that_another_process_was_faster_with_stays(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    await lab.write("one")
    lab.clock.advance(60)
    append = lab.store.seals.append

    async def late(*seal: Any) -> None:
        monkeypatch.undo()
        await lab.another("two")._seal()
        await append(*seal)

    monkeypatch.setattr(lab.store.seals, "append", late)
    await lab.sealer.work_off()
    assert len(await lab.store.seals.list()) == 1
    assert await lab.flaw() is None


ALTERED = "an entry or the seal was altered"
CHANGES = {
    "actor": ("UPDATE audit SET actor = 'b' WHERE id = 3", 2, ALTERED),
    "detail": ("UPDATE audit SET detail = '' WHERE id = 4", 2, ALTERED),
    "allowed": ("UPDATE audit SET allowed = 0 WHERE id = 4", 2, ALTERED),
    "kind": ("UPDATE audit SET via = 'acme' WHERE id = 5", 3, ALTERED),
    "salt": ("UPDATE audit SET salt = 'a' WHERE id = 1", 1, ALTERED),
    "deleted": ("DELETE FROM audit WHERE id = 4", 2, "1 entries deleted"),
    "two deleted": ("DELETE FROM audit WHERE id IN (5, 6)", 3, "2 entries deleted"),
    "inserted before all": (
        "INSERT INTO audit (id, at, actor, action, object, detail, allowed) SELECT -1, at, '', '', '', '', 1 FROM audit"
        " WHERE id = 1",
        1,
        "1 entries inserted",
    ),
    "replaced": (
        "UPDATE audit SET actor = 'nobody', salt = '', withheld = '00:' || (SELECT id FROM seal_key) || ':00'"
        " WHERE id = 3",
        2,
        ALTERED,
    ),
    "count": ("UPDATE seal SET entries = 1 WHERE id = 2", 2, "1 entries inserted"),
    "range": ("UPDATE seal SET first = 1 WHERE id = 2", 2, ALTERED),
    "time": ("UPDATE seal SET at = '2020-01-01T00:00:00.000000+00:00' WHERE id = 2", 2, ALTERED),
    "mac": ("UPDATE seal SET mac = x'00' WHERE id = 2", 2, ALTERED),
    "mark": (
        "UPDATE seal SET pruned = x'00' WHERE id = 1",
        1,
        "the seal was altered, or its entries were deleted, and not by the hub",
    ),
    "seal": ("DELETE FROM seal WHERE id = 2", 2, "seal 2 missing"),
    "first seals": ("DELETE FROM seal WHERE id <= 2", 1, "seals 1 to 2 missing"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_is_named_by_its_range(lab: Lab, change: str) -> None:
    await sealed(lab)
    assert [entry.id for entry in await lab.entries()] == [1, 2, 3, 4, 5, 6]
    text, number, what = CHANGES[change]
    await run(lab, text)
    flaw = await lab.flaw()
    assert flaw is not None
    assert (flaw.seal, flaw.what) == (number, what)
    assert flaw.first <= (2 * number if "missing" not in what else flaw.last)


async def test_an_entry_in_a_gap_between_two_ranges_was_inserted(lab: Lab) -> None:
    columns = "at, actor, action, object, detail, allowed"
    insert = f"INSERT INTO audit (id, {columns}) SELECT ?, {columns} FROM audit WHERE id = 1"
    await lab.write("one", "two")
    await lab.seal()
    await run(lab, insert, 9)  # the numbers between were those of transactions that PostgreSQL has rolled back
    await lab.seal()
    assert await lab.flaw() is None
    await run(lab, insert, 7)
    flaw = await lab.flaw()
    assert flaw is not None
    assert (flaw.seal, flaw.what) == (2, "1 entries inserted")


async def test_a_chain_that_has_lost_its_end_is_told_by_the_process_that_saw_it(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    seals = await sealed(lab)
    await run(lab, "DELETE FROM seal WHERE id = 3")
    await run(lab, "DELETE FROM audit WHERE id > 4")
    await lab.write("three")
    await lab.seal()
    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert line.message == "seal 3 of the audit was deleted or altered: its chain has lost its end"
    assert line.__dict__["mac"] == seals[-1].mac.hex()
    await lab.seal()
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


# ------------------------------------------------------------------------------------------------------- pruning


async def test_whole_ranges_are_pruned_and_the_chain_still_verifies(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await sealed(lab, 3)
    lab.clock.advance(20 * DAY)
    await lab.write("later")
    await lab.seal()
    lab.clock.advance(20 * DAY)
    await lab.write("now")
    caplog.clear()
    await lab.seal(lab.another("one"))
    assert len(await lab.entries()) == 8  # for ever, unless days are set
    await lab.seal(lab.another("two", KEEP))
    assert [entry.detail for entry in await lab.entries()] == ["later", "now"]
    assert [seal.pruned is None for seal in await lab.store.seals.list()] == [False] * 3 + [True] * 2
    assert caplog.messages[-1] == "6 old entries of the audit were forgotten"
    assert await lab.flaw() is None


async def test_the_newest_range_stays(lab: Lab) -> None:
    await sealed(lab, 2)
    lab.clock.advance(400 * DAY)
    await lab.seal(lab.another("two", KEEP))
    assert [seal.pruned is None for seal in await lab.store.seals.list()] == [False, True]


async def test_a_range_that_does_not_verify_is_not_pruned(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    await sealed(lab, 3)
    await run(lab, "UPDATE audit SET detail = 'x' WHERE id = 3")
    lab.clock.advance(400 * DAY)
    await lab.seal(lab.another("two", KEEP))
    assert [entry.id for entry in await lab.entries()] == [3, 4, 5, 6]
    assert caplog.messages == [f"entries of the audit are not pruned: {ALTERED}"]


async def test_entries_that_somebody_deleted_are_not_taken_for_pruned(lab: Lab) -> None:
    await sealed(lab, 3)
    lab.clock.advance(40 * DAY)
    await lab.seal(lab.another("two", KEEP))
    pruned = (await lab.store.seals.list())[0].pruned
    await run(lab, "UPDATE seal SET pruned = ? WHERE id = 3", pruned)
    await run(lab, "DELETE FROM audit")
    flaw = await lab.flaw()
    assert flaw is not None
    assert (flaw.seal, flaw.what) == (3, "the seal was altered, or its entries were deleted, and not by the hub")


# ---------------------------------------------------------------------------------------------------------- keys


async def test_the_chain_goes_on_under_another_master_key_and_needs_the_former_one_in_the_ring(lab: Lab) -> None:
    old, new = os.urandom(32), os.urandom(32)
    lab.vault = Vault([old])
    await lab.write("one")
    await lab.seal(lab.another("one"))
    lab.vault = Vault([new, old])
    await lab.write("two")
    await lab.seal(lab.another("one"))
    one, two = await lab.store.seals.list()
    assert one.key != two.key
    assert await lab.flaw() is None
    flaw = await lab.flaw(Vault([new]))
    assert flaw is not None
    assert flaw.what == f"cannot be verified: the key of master key {one.key} is missing, or does not open"


async def test_an_outsider_cannot_mend_the_chain_with_a_key_of_his_own(lab: Lab) -> None:
    await sealed(lab, 1)
    outsider = ChainKeys(lab.store, Vault([os.urandom(32)]))
    forged, _ = outsider.current()
    await run(lab, "INSERT INTO seal_key (id, sealed_key) VALUES (?, ?)", forged.id, forged.sealed_key)
    await run(lab, "UPDATE seal SET key = ?", forged.id)
    flaw = await lab.flaw()
    assert flaw is not None
    assert "cannot be verified" in flaw.what


# ---------------------------------------------------------------------------------------------------------- texts


async def test_texts_that_the_hub_replaced_verify_before_and_after_the_seal(lab: Lab) -> None:
    await lab.write("alice one", "alice two")
    stored, key = ChainKeys(lab.store, lab.vault).current()

    async def forget(entry: AuditRecord) -> None:
        new = replace(entry, detail="x", salt="")
        await lab.store.seals.withhold([replace(new, withheld=withheld(stored.id, key, entry, new))], stored)

    await forget((await lab.entries())[0])
    await lab.seal()
    await forget((await lab.entries())[1])
    await forget((await lab.entries())[1])
    assert [entry.detail for entry in await lab.entries()] == ["x", "x"]
    assert await lab.flaw() is None
    await run(lab, "UPDATE audit SET detail = 'y' WHERE id = 2")
    flaw = await lab.flaw()
    assert flaw is not None
    assert flaw.what == "the texts of entry 2 were replaced, and not by the hub"

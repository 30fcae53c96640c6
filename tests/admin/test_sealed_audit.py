"""The audit as operators see it: who, by which way, on what; whether it is as it was sealed; and who was forgotten."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from acmehub.admin.access.errors import Invalid, NotFound, Refused
from acmehub.admin.operations.audit import AuditAdmin
from acmehub.admin.operations.backup_file import open_backup
from acmehub.admin.operations.moving import BackupContent, restore
from acmehub.admin.operations.resealing import ResealingService
from acmehub.admin.resources.principals import NewPrincipal, PrincipalPatch
from acmehub.admin.resources.tokens import NewToken, TokenPatch
from acmehub.cli.audit import _write
from acmehub.models import (
    ActorKind,
    AuditActor,
    AuditFilter,
    Origin,
    PrincipalType,
    Role,
    RoleAssignment,
    Via,
)
from acmehub.models.audit import AuditLine
from acmehub.ports.clock import SystemClock
from acmehub.rules.permissions import Acting
from acmehub.runtime.audit import Audit
from acmehub.runtime.sealed_audit.sealer import Sealer
from acmehub.runtime.vault import Vault, encode_key
from acmehub.storage_api import SqliteDriver, SqlStore
from acmehub.testing.fakes import ManualClock
from tests.admin.conftest import ROOT, House

KEY, NEW = bytes(32), bytes([7]) * 32
BY_API = Acting(
    "alice",
    frozenset({RoleAssignment(Role.ADMINISTRATOR)}),
    Origin(Via.API, "192.0.2.7", "r1", "c1"),
    "a" * 44,
)
CONSUMER = (RoleAssignment(Role.MANAGED_ACME_CONSUMER),)
PAGE = Path(__file__).parents[2] / "docs" / "audit.md"


async def seal(house: House, store: Any = None, *, keep: timedelta | None = None, days: float = 1) -> None:
    clock = ManualClock(datetime.now(UTC) + timedelta(days=days))
    await Sealer(store or house.store, house.vault, clock, Random(1), owner="test", keep=keep).work_off()


async def furnish(house: House) -> None:
    person = NewPrincipal(name="alice", type=PrincipalType.USER, roles=CONSUMER)
    await house.principals.add(person, ROOT)
    await house.tokens.add(NewToken(title="NAS", principal="alice"), ROOT)
    await house.principals.add(NewPrincipal(name="alice-2"), ROOT)


# ------------------------------------------------------------------------------------------------------ its entries


async def test_an_entry_says_who_by_which_way_and_on_what(house: House) -> None:
    await furnish(house)
    await house.tokens.set("NAS", TokenPatch(title="NAS 2"), BY_API)
    entry, *_, first = await house.audited()
    token = (await house.tokens.rows.find("NAS 2")).id
    assert (entry.actor, entry.actor_kind, entry.actor_id) == ("alice", ActorKind.TOKEN, "a" * 44)
    assert (entry.via, entry.address, entry.request, entry.credential) == (Via.API, "192.0.2.7", "r1", "c1")
    assert (entry.object, entry.object_kind, entry.object_id, entry.object_name) == ("NAS", "token", token, "NAS")
    assert (entry.difference, entry.detail) == ('title: "NAS" -> "NAS 2"', "")
    assert (first.actor, first.actor_kind, first.via, first.actor_id) == (ROOT.name, ActorKind.PERSON, Via.CLI, "")
    salts = {item.salt for item in await house.audited()}
    assert len(salts) == len(await house.audited())
    assert all(len(salt) == 32 for salt in salts)


async def test_what_operators_see_has_neither_salt_nor_digest(house: House) -> None:
    await furnish(house)
    shown = (await house.admin.audit.list(ROOT))[0]
    assert set(shown.__struct_fields__) == {*AuditLine.__struct_fields__, "id"}
    assert await house.admin.audit.show(shown.id, ROOT) == shown


async def test_news_are_read_from_an_id_on_and_none_twice(house: House) -> None:
    await furnish(house)
    audit = house.admin.audit
    first = await audit.follow(ROOT, limit=2)
    rest = await audit.follow(ROOT, after=first.last)
    ids = [item.id for item in (*first.entries, *rest.entries)]
    assert ids == sorted(item.id for item in await house.audited())
    assert (await audit.follow(ROOT, after=rest.last)).entries == ()
    nothing = await audit.follow(ROOT, filter=AuditFilter(object="nothing"))
    assert (nothing.entries, nothing.last) == ([], rest.last)


# ------------------------------------------------------------------------------------------------------------ chain


async def test_the_chain_is_verified_and_says_what_is_not_sealed(house: House) -> None:
    audit = house.admin.audit
    empty = await audit.verify(ROOT)
    assert (empty.seals, empty.entries, empty.mac, empty.unsealed, empty.flaw) == (0, 0, "", 0, None)
    await furnish(house)
    before = await audit.verify(ROOT)
    assert (before.seals, before.unsealed, before.unsealed_since) == (0, 3, (await house.audited())[-1].at)
    await seal(house)
    await house.principals.add(NewPrincipal(name="bob"), ROOT)
    seen: list[int] = []
    after = await audit.verify(ROOT, progress=seen.append)
    newest = await house.store.seals.newest()
    assert newest is not None
    assert (after.seals, after.entries, after.unsealed, after.flaw) == (1, 3, 1, None)
    assert (after.mac, after.sealed_at) == (newest.mac.hex(), newest.at)
    assert seen == [3]


async def test_a_mac_from_the_log_shows_that_the_end_was_cut_off(house: House) -> None:
    await furnish(house)
    await seal(house)
    mac = (await house.admin.audit.verify(ROOT)).mac
    assert (await house.admin.audit.verify(ROOT, mac=mac.upper())).flaw is None
    driver: Any = house.store._driver  # type: ignore[attr-defined]
    async with driver.schema() as session:
        await session.execute("DELETE FROM seal")
        await session.execute("DELETE FROM audit")
    assert (await house.admin.audit.verify(ROOT)).flaw is None  # nothing inside can tell
    flaw = (await house.admin.audit.verify(ROOT, mac=mac)).flaw
    assert flaw is not None
    assert flaw.what == "no seal has this MAC: the end of the chain was cut off"
    with pytest.raises(Invalid, match="64 hexadecimal digits"):
        await house.admin.audit.verify(ROOT, mac="nonsense")


async def test_a_range_that_is_pruned_while_it_is_read_is_no_flaw(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await furnish(house)
    await seal(house)
    await house.principals.add(NewPrincipal(name="bob"), ROOT)
    await seal(house, days=2)
    listed = house.store.seals.list

    async def stale(**page: Any) -> Any:
        found = await listed(**page)
        monkeypatch.undo()
        await seal(house, keep=timedelta(days=30), days=60)
        return found

    monkeypatch.setattr(house.store.seals, "list", stale)
    done = await house.admin.audit.verify(ROOT)
    assert [item.pruned is None for item in await listed()] == [False, True]
    assert (done.flaw, done.seals) == (None, 2)


async def test_after_a_new_master_key_and_reseal_the_former_one_is_not_needed(house: House) -> None:
    await furnish(house)
    await seal(house)
    resealing = ResealingService(house.store, Vault([NEW, KEY]), SystemClock())
    done = await resealing.reseal(ROOT)
    assert done.unopened == ()
    house.vault = Vault([NEW])
    await seal(house, days=2)
    assert {item.key for item in await house.store.seals.list()} == {Vault([KEY]).current_id, Vault([NEW]).current_id}
    verified = await AuditAdmin(house.store, Vault([NEW]), SystemClock()).verify(ROOT)
    assert (verified.seals, verified.flaw) == (2, None)
    assert any(entry.object_kind == "reseal" and "SealKey" in entry.object for entry in await house.audited())


@pytest.fixture
async def target(house: House) -> AsyncIterator[SqlStore]:
    store = SqlStore(SqliteDriver(house.folder / "other.db"))
    yield store
    await store.close()


@pytest.mark.parametrize("way", ["backup", "copy"])
async def test_the_chain_verifies_where_its_rows_have_gone(house: House, target: SqlStore, way: str) -> None:
    await furnish(house)
    await seal(house)
    if way == "copy":
        await house.admin.moving.copy(target, "storage_sqlite", ROOT)
    else:
        file = house.folder / "hub.backup"
        content = BackupContent(keys=[encode_key(KEY)], files={}, version="0", storage="storage_sqlite", public_url="")
        await house.admin.moving.backup(file, content, ROOT)
        with open_backup(file) as found:
            await restore(found, target, "storage_sqlite", ROOT, SystemClock(), put_files=lambda: None)
    await target.open()
    ids = [entry.id for entry in await target.records.audited()]
    assert ids[-4:] == [entry.id for entry in await house.audited()][-4:]
    assert await target.seals.list() == await house.store.seals.list()
    await seal(house, target, days=2)
    done = await AuditAdmin(target, house.vault, SystemClock()).verify(ROOT)
    assert (done.seals, done.unsealed, done.flaw) == (2, 0, None)


# ----------------------------------------------------------------------------------------------------------- export


async def exported(house: House, file: Path) -> None:
    with file.open("w", encoding="utf-8") as lines:
        await _write(await house.admin.audit.export(ROOT), lines)


def verified(house: House, file: Path) -> tuple[int, str]:
    """Exit status of the script of docs/audit.md, and what it says."""
    (script,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    key = house.folder / "master.key"
    key.write_text(encode_key(KEY) + "\n")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as said:
        patch.setattr("sys.argv", ["verify", str(file), str(key)])
        try:
            exec(script, {})
        except SystemExit as end:
            return 1, str(end)
    return 0, said.getvalue().strip()


async def test_an_export_is_verified_by_the_script_of_the_page(house: House) -> None:
    odd = 'odd \x1f "\\ \x7f \u2028 \u202e ü \U0001f600 \t'
    await furnish(house)
    await Audit(house.store, SystemClock()).note(AuditActor(odd, ActorKind.DEVICE), "order.refused", odd, odd)
    await seal(house)
    await house.principals.set("alice", PrincipalPatch(enabled=False), ROOT)
    await seal(house, days=2)
    await seal(house, keep=timedelta(days=30), days=60)
    await house.admin.forgetting.forget("alice", ROOT)
    file = house.folder / "audit.jsonl"
    await exported(house, file)
    mac = (await house.admin.audit.verify(ROOT)).mac
    assert verified(house, file) == (0, f"as it was sealed; 1 entries are not sealed; newest mac {mac}")
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [bool(line["pruned"]) for line in lines if "seal" in line] == [True, False]

    def broken(change: Any) -> tuple[int, str]:
        copies = [dict(line) for line in lines]
        change(copies)
        file.write_text("".join(json.dumps(line) + "\n" for line in copies))
        return verified(house, file)

    bad = (1, "seal 2, entries 5 to 5: not as it was sealed")
    assert broken(lambda copies: copies[0].update(allowed=False)) == bad
    assert broken(lambda copies: copies.pop(0)) == bad
    assert broken(lambda copies: copies.insert(0, {**copies[0], "id": 4}))[0] == 1
    assert broken(lambda copies: copies[-1].update(last=6)) == (1, bad[1].replace("5 to 5", "5 to 6"))
    assert broken(lambda copies: copies[0].update(difference=""))[1].startswith("entry 5: its texts were replaced")


async def test_an_export_with_a_filter_has_no_seals(house: House) -> None:
    await furnish(house)
    await seal(house)
    found = [item async for item in await house.admin.audit.export(ROOT, filter=AuditFilter(action="principal"))]
    assert [getattr(item, "action", "seal") for item in found] == ["principal.add"] * 2


# ------------------------------------------------------------------------------------------------------- forgetting


async def test_a_person_is_forgotten_and_the_chain_still_verifies(house: House) -> None:
    await furnish(house)
    alice = await house.principals.rows.find("alice")
    token = await house.tokens.rows.find("NAS")
    account = await house.bind(token.id)
    await house.store.accounts.replace(replace(account, contact=("mailto:alice@corp.test",), user_agent="certbot (pi)"))
    me = replace(BY_API, principal_id=alice.id)
    await house.tokens.set("NAS", TokenPatch(title="alice's NAS"), me)
    device = AuditActor.device(f"account {account.id}", id=account.id, address="198.51.100.9")
    await Audit(house.store, SystemClock()).note(device, "order.refused", "token NAS", "not for 'alice'", allowed=False)
    await house.principals.set("alice", PrincipalPatch(name="Alice B"), ROOT)
    await seal(house)
    await house.principals.set("Alice B", PrincipalPatch(enabled=False), ROOT)
    bystander = [entry for entry in await house.audited() if entry.object == "alice-2"]
    done = await house.admin.forgetting.forget("Alice B", ROOT)
    assert done.pseudonym == f"forgotten-{alice.id[-12:]}"
    assert (await house.principals.rows.find(done.pseudonym)).id == alice.id
    actor = await house.store.accounts.actor(account.id)
    assert actor is not None
    assert (actor.account.contact, actor.account.user_agent) == ((), "")
    entries = await house.audited()
    everything = repr(entries).replace("alice-2", "").replace("alice's NAS", "")
    assert "alice" not in everything
    assert "Alice" not in everything
    assert "192.0.2.7" not in everything
    assert "198.51.100.9" not in everything
    assert all(entry in entries for entry in bystander)
    newest = entries[0]
    assert (newest.action, newest.object, newest.object_id) == ("principal.forget", done.pseudonym, alice.id)
    assert {entry.salt for entry in entries if entry.withheld} == {""}
    assert done.entries == len([entry for entry in entries if entry.withheld])
    await seal(house, days=2)
    assert (await house.admin.audit.verify(ROOT)).flaw is None
    again = await house.admin.forgetting.forget(done.pseudonym, ROOT)
    assert (again.pseudonym, again.entries) == (done.pseudonym, 0)


async def test_who_is_enabled_is_not_forgotten_and_who_was_removed_is(house: House) -> None:
    await furnish(house)
    with pytest.raises(Refused, match="disable it first"):
        await house.admin.forgetting.forget("alice-2", ROOT)
    with pytest.raises(NotFound):
        await house.admin.forgetting.forget("nobody", ROOT)
    gone = await house.principals.rows.find("alice-2")
    await house.principals.remove("alice-2", ROOT)
    done = await house.admin.forgetting.forget("alice-2", ROOT)
    assert done.pseudonym == f"forgotten-{gone.id[-12:]}"
    left = [entry for entry in await house.audited() if "alice-2" in repr(entry)]
    assert [entry.allowed for entry in left] == []
    await seal(house)
    assert (await house.admin.audit.verify(ROOT)).flaw is None

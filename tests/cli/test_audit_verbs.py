"""`acmehub audit`, and how the audit names the person at the keyboard."""

import asyncio
import json
import os
import sqlite3
import stat
from contextlib import closing
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from acmehub.admin.operations import audit as operations
from acmehub.app.hub import build_hub
from acmehub.cli.shared.session import actor
from acmehub.config import Config
from acmehub.runtime.sealed_audit.sealer import Sealer
from acmehub.testing.fakes import ManualClock
from tests.cli.conftest import Terminal


@pytest.fixture
def busy(terminal: Terminal) -> Terminal:
    """A hub with some entries: two of its foundation, four changes, one of them refused."""
    terminal.ok("principal", "add", "alice", "--role", "operator")
    terminal.ok("principal", "add", "bob")
    terminal.refused(4, "principal", "add", "bob")
    terminal.ok("principal", "remove", "bob")
    return terminal


def actions(terminal: Terminal, *arguments: str) -> list[str]:
    return [entry["action"] for entry in terminal.json("audit", "list", *arguments)]


def test_entries_are_listed_newest_first_and_filtered(busy: Terminal) -> None:
    assert actions(busy) == ["principal.remove", *["principal.add"] * 4, "authority.add"]
    assert actions(busy, "--action", "authority") == ["authority.add"]
    assert actions(busy, "--action", "princip") == []
    assert actions(busy, "--object", "bob", "--refused") == ["principal.add"]
    assert actions(busy, "--actor", "first start") == ["principal.add", "authority.add"]
    assert actions(busy, "--since", "+1h") == actions(busy, "--until", "-1h") == []
    assert len(actions(busy, "--since", "-1h", "--until", "+1h")) == 6
    (refused,) = busy.json("audit", "list", "--refused")
    assert (refused["object"], refused["allowed"]) == ("bob", False)
    said = busy.ok("audit", "list", "--limit", "3").splitlines()
    assert said[0].split() == ["ENTRY", "TIME", "(UTC)", "ACTOR", "VIA", "ACTION", "OBJECT", "DETAIL"]
    assert "refused" in said[2]


def test_pages_follow_each_other(busy: Terminal) -> None:
    first = busy.json("audit", "list", "--limit", "4")
    rest = busy.json("audit", "list", "--limit", "4", "--before", str(first[-1]["id"]))
    ids = [entry["id"] for entry in (*first, *rest)]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 6
    last = busy.ok("audit", "list", "--limit", "4").splitlines()[-1]
    assert last == f"older ones: the same with --before {first[-1]['id']}"
    assert busy.ok("audit", "list", "--before", "1") == "no entries\n"


def test_one_entry_is_shown(busy: Terminal) -> None:
    newest = busy.json("audit", "list", "--limit", "1")[0]
    assert busy.json("audit", "show", str(newest["id"])) == newest
    said = busy.ok("audit", "show", str(newest["id"]))
    assert "principal.remove" in said
    assert "allowed      yes" in said
    assert busy.refused(3, "audit", "show", "4711") == "acmehub: there is no entry 4711 in the audit"


def test_an_export_is_json_lines_oldest_first_for_its_owner_alone(
    busy: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "PAGE", 2)
    file = busy.folder / "audit.jsonl"
    file.write_text("an older one")
    file.chmod(0o644)
    assert busy.ok("audit", "export", str(file)) == f"6 entries are in {file}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    shown = [{name: entry[name] for name in entry if name not in ("salt", "withheld")} for entry in entries]
    assert shown == list(reversed(busy.json("audit", "list")))
    assert [line.name for line in busy.folder.glob(".audit*")] == []
    lines = busy.ok("audit", "export", "--action", "principal.add", "--json").splitlines()
    assert [json.loads(line)["action"] for line in lines] == ["principal.add"] * 4
    assert busy.json("audit", "export", str(file)) == {"file": str(file), "entries": 6}
    assert "No such file or directory" in busy.refused(1, "audit", "export", str(busy.folder / "nowhere" / "x"))


def test_an_export_that_fails_leaves_what_was_there(busy: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> str:
        raise OSError(28, "No space left on device", "audit.jsonl")

    file = busy.folder / "audit.jsonl"
    file.write_text("an older one")
    monkeypatch.setattr("acmehub.cli.audit.json_line", full)
    assert "No space left" in busy.refused(1, "audit", "export", str(file))
    assert file.read_text() == "an older one"
    assert [line.name for line in busy.folder.glob(".audit*")] == []


def test_entries_are_found_by_way_address_actor_and_id(busy: Terminal) -> None:
    assert actions(busy, "--via", "system") == ["principal.add", "authority.add"]
    assert len(actions(busy, "--via", "cli", "--actor-kind", "person")) == 4
    assert actions(busy, "--via", "acme") == actions(busy, "--address", "192.0.2.1") == []
    assert actions(busy, "--credential", "x") == actions(busy, "--request", "x") == []
    (alice,) = [item for item in busy.json("principal", "list") if item["name"] == "alice"]
    (entry,) = busy.json("audit", "list", "--object", alice["id"])
    assert (entry["object"], entry["object_kind"], entry["object_name"]) == ("alice", "principal", "alice")
    said = busy.ok("audit", "show", str(entry["id"]))
    for line in ("actor kind   person", "via          cli", f"object id    {alice['id']}", "object kind  principal"):
        assert line in said.splitlines()
    assert " cli " in busy.ok("audit", "list", "--limit", "1").splitlines()[1]


@pytest.mark.parametrize("as_json", [True, False])
def test_new_entries_are_followed_until_ctrl_c(busy: Terminal, monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            raise KeyboardInterrupt
        with closing(sqlite3.connect(busy.folder / "data" / "acmehub.db")) as database, database:
            database.execute(
                "INSERT INTO audit (at, actor, action, object, detail, allowed)"
                " VALUES ('2026-12-01T00:00:00.000000+00:00', 'cli:eve', 'token.eab', 'NAS', '', 1)"
            )

    monkeypatch.setattr("acmehub.cli.audit.asyncio.sleep", sleep)
    status, said, _ = busy("audit", "list", "--follow", "--limit", "2", *(["--json"] if as_json else []))
    assert status == 130
    lines = said.splitlines()
    assert waits == [1.0, 1.0]
    if as_json:
        assert [json.loads(line)["action"] for line in lines] == ["principal.add", "principal.remove", "token.eab"]
    else:
        assert lines[-1].split("  ")[1:] == ["2026-12-01 00:00:00", "cli:eve", "token.eab", "NAS"]
    assert busy("audit", "list", "--follow", "--before", "3")[0] == 2


def test_the_chain_is_verified_and_the_first_bad_range_named(busy: Terminal) -> None:
    assert busy.ok("audit", "verify").splitlines()[0] == "0 entries under 0 seals are as they were sealed"

    async def seal() -> str:
        hub = build_hub(Config(data_dir=busy.folder / "data"))
        async with hub.running(founds=False):
            clock = ManualClock(datetime.now(UTC) + timedelta(hours=1))
            await Sealer(hub.store, hub.vault, clock, Random(1), owner="test").work_off()
            newest = await hub.store.seals.newest()
            assert newest is not None
            return newest.mac.hex()

    mac = asyncio.run(seal())
    busy.ok("principal", "add", "carol")
    said = busy.ok("audit", "verify", "--mac", mac).splitlines()
    assert said[0] == "6 entries under 1 seals are as they were sealed"
    assert said[1].endswith(f"mac {mac}")
    assert said[2].startswith("1 entries are not sealed yet, the first of 20")
    assert busy.json("audit", "verify")["flaw"] is None
    assert "64 hexadecimal digits" in busy.refused(2, "audit", "verify", "--mac", "12")
    assert busy("audit", "verify", "--mac", "00" * 32)[0] == 1
    with closing(sqlite3.connect(busy.folder / "data" / "acmehub.db")) as database, database:
        database.execute("UPDATE audit SET allowed = 1 WHERE action = 'principal.add'")
    status, out, _ = busy("audit", "verify")
    assert (status, out.splitlines()[0]) == (1, "✗ seal 1, entries 1 to 6: an entry or the seal was altered")
    assert busy.json("audit", "verify", status=1)["flaw"]["seal"] == 1


def test_a_principal_is_forgotten(busy: Terminal) -> None:
    assert "disable it first" in busy.refused(1, "principal", "forget", "alice")
    busy.ok("principal", "set", "alice", "--disable")
    assert "stands for it now: in 3 entries of the audit, 0 accounts" in busy.ok("principal", "forget", "alice")
    assert "alice" not in busy.ok("audit", "list")
    assert "alice" not in busy.ok("principal", "list")


# ------------------------------------------------------------------------------------------- who it was


def test_under_sudo_it_is_the_user_who_called_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "alice")
    assert actor() == "cli:alice (sudo)"
    monkeypatch.setenv("SUDO_USER", "CORP\\alice.b@corp.test")
    assert actor() == "cli:CORP\\alice.b@corp.test (sudo)"


def test_who_is_not_root_is_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    plain = actor()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("SUDO_USER", "alice")
    assert actor() == plain


@pytest.mark.parametrize(
    "odd", ["", "root", "alice (sudo)", "a\nb", "a b", "alice\x1b[2J", "x" * 200, "älice", "-x", "cli:x"]
)
def test_an_odd_sudo_user_forges_nothing(monkeypatch: pytest.MonkeyPatch, odd: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("acmehub.cli.shared.session.os.environ", {"SUDO_USER": odd})
    assert "(sudo)" not in actor()


def test_the_audit_has_who_called_sudo(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "alice")
    terminal.ok("principal", "add", "carol")
    assert terminal.json("audit", "list", "--limit", "1")[0]["actor"] == "cli:alice (sudo)"

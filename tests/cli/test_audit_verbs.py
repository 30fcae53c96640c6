"""`acmehub audit`, and how the audit names the person at the keyboard."""

import json
import os
import stat

import pytest

from acmehub.admin.operations import audit as operations
from acmehub.cli.shared.session import actor
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

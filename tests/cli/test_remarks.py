"""Remarks of the commands: one line each on standard error, beside the result and its status."""

from tests.cli.conftest import Terminal

FILE = """
[[authority]]
name = "local"
plugin = "ca_local"
enabled = false
[[principal]]
name = "app"
roles = ["managed_acme_consumer"]
[[principal]]
name = "idle"
[[token]]
title = "late"
principal = "app"
expires = 2026-01-01T00:00:00Z
names = "*.com"
"""


def remarks(terminal: Terminal, *arguments: str) -> list[str]:
    status, out, err = terminal(*arguments)
    assert status == 0, err
    assert out
    lines = err.splitlines()
    assert all(line.startswith("acmehub: ") for line in lines)
    return [line.removeprefix("acmehub: ") for line in lines]


def test_each_verb_that_adds_or_changes_says_it(terminal: Terminal) -> None:
    assert remarks(terminal, "principal", "add", "idle")[0].startswith("principal 'idle' has no role")
    role = ("--role", "managed_acme_consumer")
    assert remarks(terminal, "principal", "set", "idle", *role) == []
    assert remarks(terminal, "principal", "set", "idle", "--no-roles")[0].startswith("principal 'idle' has no role")
    assert remarks(terminal, "token", "add", "t", "--expires", "2026-01-01")[0].startswith("token 't' has expired")
    assert remarks(terminal, "token", "set", "t", "--expires", "2d", "--names", "*.com") == [
        "token 't': names: '*.com' is a public suffix: the rule covers every name below it, of any owner"
    ]
    assert remarks(terminal, "token", "revoke", "t") == []
    challenge = ("challenge", "add", "z", "--plugin", "dns_rfc2136", "--match", "*.com", "--set", "server=192.0.2.1")
    keys = ("--set", "key_name=k", "--set", "key_secret=AAAA")
    assert remarks(terminal, *challenge, *keys)[0].startswith("managed challenge 'z': match: '*.com'")
    assert remarks(terminal, "challenge", "set", "z", "--match", "*.example.com") == []
    disabled = remarks(terminal, "authority", "set", "local", "--disable")
    assert [line.split(":")[0] for line in disabled] == [
        "authority 'local' is the default, and disabled",
        "authority 'local' still signs the hub's own TLS certificate",
    ]
    assert remarks(terminal, "authority", "set", "local", "--enable") == []
    assert remarks(terminal, "authority", "set", "local", "--name", "ours")[0].startswith(
        "there is no authority 'local'"
    )
    assert remarks(terminal, "authority", "set", "ours", "--name", "local") == []
    (id,) = (item["id"] for item in terminal.json("authority", "list"))
    assert remarks(terminal, "authority", "remove", id)[0].startswith("there is no authority 'local' any more")


def test_apply_says_it_of_what_it_changes(terminal: Terminal) -> None:
    (terminal.folder / "r.toml").write_text(FILE)
    for arguments in (["--dry-run"], []):
        found = remarks(terminal, "apply", "r.toml", *arguments)
        assert [line.split(":")[0].split(" (")[0] for line in found[:3]] == [
            "principal 'idle' has no role",
            "token 'late' has expired already",
            "token 'late'",
        ]
    assert [line.split(":")[0] for line in found[3:]] == [
        "authority 'local' is the default, and disabled",
        "authority 'local' still signs the hub's own TLS certificate",
    ]
    assert remarks(terminal, "apply", "r.toml") == []  # nothing changes

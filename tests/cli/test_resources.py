"""`principal`, `token`, `authority`, `challenge`, `apply`, `export` on a storage of their own."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Terminal

ZONE = ("--plugin", "dns_rfc2136", "--set", "server=127.0.0.1", "--set", "port=5353", "--set", "key_name=hub.")
TSIG = "c2VjcmV0LXRzaWcta2V5LW9mLXRoaXMtdGVzdA=="


def add_zone(terminal: Terminal, name: str = "corp zone", *more: str) -> None:
    (terminal.folder / "tsig").write_text(TSIG)
    match = ("--match", "corp.test, *.corp.test")
    terminal.ok("challenge", "add", name, *match, *ZONE, "--set", "key_secret=file:tsig", *more)


# -------------------------------------------------------------------------------------------------- principals


def test_a_principal_is_added_listed_shown_changed_and_removed(terminal: Terminal) -> None:
    assert "roles      managed_acme_consumer" in terminal.ok(
        "principal", "add", "firewall-01", "--role", "managed_acme_consumer"
    )
    assert [item["name"] for item in terminal.json("principal", "list")] == ["administrator", "firewall-01"]
    changed = terminal.json("principal", "set", "firewall-01", "--disable", "--role", "managed_acme_consumer:lab,iot")
    assert changed["enabled"] is False
    assert changed["roles"] == [{"role": "managed_acme_consumer", "tags": ["lab", "iot"], "names": ""}]
    assert terminal.json("principal", "set", "firewall-01", "--no-roles", "--enabled")["roles"] == []
    assert terminal.json("principal", "set", "firewall-01", "--name", "fw", "--type", "user")["type"] == "user"
    assert terminal.json("principal", "remove", "fw") == {"removed": "fw"}
    assert terminal.refused(3, "principal", "show", "fw").startswith("acmehub: there is no principal 'fw'")


def test_a_name_that_is_taken_is_a_conflict(terminal: Terminal) -> None:
    terminal.ok("principal", "add", "a")
    assert "already" in terminal.refused(4, "principal", "add", "a")


def test_an_unknown_role_lists_those_there_are(terminal: Terminal) -> None:
    assert "managed_acme_consumer" in terminal.refused(2, "principal", "add", "a", "--role", "king")


def test_the_last_administrator_stays(terminal: Terminal) -> None:
    assert "last administrator" in terminal.refused(1, "principal", "set", "administrator", "--disable")


def test_a_principal_with_tokens_is_in_use(terminal: Terminal) -> None:
    terminal.ok("token", "add", "t")
    assert "in use by token 't'" in terminal.refused(4, "principal", "remove", "t")


# ------------------------------------------------------------------------------------------------------ tokens


def test_a_token_alone_gives_working_credentials(terminal: Terminal) -> None:
    said = terminal.ok("token", "add", "Firewall 01", "--names", "*.corp.test")
    assert "API secret (shown once): " in said
    shown = terminal.json("token", "eab", "Firewall 01")
    assert set(shown) == {"kid", "hmac_key", "directory"}
    assert shown["directory"] == "https://localhost:8443/acme/directory"
    assert terminal.json("principal", "show", "Firewall 01")["tokens"] == ["Firewall 01"]
    assert terminal.json("check", "www.corp.test", "--token", "Firewall 01")["good"] is True


def test_a_second_token_without_a_principal_belongs_to_the_one_of_that_name(terminal: Terminal) -> None:
    terminal.ok("principal", "add", "printers", "--role", "managed_acme_consumer")
    assert terminal.json("token", "add", "printers")["principal"] == "printers"
    assert len(terminal.json("principal", "list")) == 2


def test_eab_is_shown_with_commands_for_clients_and_is_audited(terminal: Terminal) -> None:
    terminal.ok("token", "add", "Firewall 01", "--names", "*.corp.test")
    shown = terminal.json("token", "eab", "Firewall 01")
    said = terminal.ok("token", "eab", "Firewall 01")
    for words in (
        f"--eab-kid {shown['kid']} --eab-hmac-key {shown['hmac_key']} --standalone -d host.corp.test",
        f"--eab --kid {shown['kid']} --hmac {shown['hmac_key']}",
        f"mac_key {shown['hmac_key']}",
        "acme.sh --issue --stateless -d host.corp.test",
        f"REQUESTS_CA_BUNDLE={terminal.folder / 'data' / 'ca.pem'}",
    ):
        assert words in said


@pytest.mark.on_machine
def test_behind_a_proxy_no_ca_file_is_named(terminal: Terminal) -> None:
    (terminal.folder / "acmehub.toml").write_text('public_url = "https://hub.test"\n[tls]\nmode = "off"\n')
    terminal.ok("token", "add", "t", "--names", "a.test")
    said = terminal.ok("token", "eab", "t")
    assert "ca.pem" not in said
    assert "--server https://hub.test/acme/directory" in said
    assert "-d a.test" in said


@pytest.mark.on_machine
def test_the_url_that_serve_was_given_as_an_option_is_known_to_other_commands(terminal: Terminal) -> None:
    terminal.ok("token", "add", "t", "--names", "a.test")
    (terminal.folder / "data" / "url").write_text("https://hub.test:9443\n")
    assert terminal.json("token", "eab", "t")["directory"] == "https://hub.test:9443/acme/directory"


def test_a_token_has_limits_of_its_own_on_what_its_clients_do(terminal: Terminal) -> None:
    terminal.json("token", "add", "t", "--limit", "new_orders=5")
    changed = terminal.json("token", "set", "t", "--limit", "token_names=0", "--limit", "new_orders=7")
    assert changed["limits"] == {"new_orders": 7, "token_names": 0}
    assert "new_orders 7, token_names unlimited" in terminal.ok("token", "show", "t")
    assert terminal.json("token", "set", "t", "--no-limits", "--limit", "names=9")["limits"] == {"names": 9}
    assert terminal.json("token", "set", "t", "--no-limits")["limits"] == {}
    for wrong in ("new_orders", "new_accounts=5", "new_orders=-1", "names=many"):
        assert "is not like new_orders=5000" in terminal.refused(2, "token", "set", "t", "--limit", wrong)


def test_the_limits_of_a_token_are_set_and_taken_away(terminal: Terminal) -> None:
    terminal.ok("token", "add", "t")
    limits = ("--network", "10.0.0.0/8", "--use-limit", "3", "--expires", "2031-01-31", "--authorization", "accept")
    changed = terminal.json("token", "set", "t", "--names", "a.test", "--title", "new", *limits)
    assert changed["networks"] == ["10.0.0.0/8"]
    assert changed["expires"] == "2031-01-31T00:00:00Z"
    assert (changed["title"], changed["use_limit"], changed["authorization"]) == ("new", 3, "accept")
    freed = terminal.json("token", "set", "new", "--no-networks", "--no-use-limit", "--no-expires", "--names", "")
    assert (freed["networks"], freed["use_limit"], freed["expires"], freed["names"]) == ([], None, None, "")


def test_days_from_now_and_rfc_3339_are_times_and_other_words_are_not(terminal: Terminal) -> None:
    terminal.ok("token", "add", "t", "--expires", "90d")
    assert terminal.json("token", "set", "t", "--expires", "2031-01-31T10:00:00+02:00")["expires"] in (
        "2031-01-31T10:00:00+02:00",
        "2031-01-31T08:00:00Z",
    )
    assert "2027-01-31T12:00:00Z" in terminal.refused(2, "token", "set", "t", "--expires", "soon")


def test_a_token_is_disabled_enabled_and_revoked_for_good(terminal: Terminal) -> None:
    terminal.ok("token", "add", "t")
    assert terminal.json("token", "set", "t", "--disable")["state"] == "disabled"
    assert terminal.json("token", "set", "t", "--enable")["state"] == "active"
    assert terminal.json("token", "set", "t", "--revoke")["state"] == "revoked"
    assert "revoked" in terminal.refused(1, "token", "set", "t", "--names", "a.test")
    assert "revoked" in terminal.refused(1, "token", "eab", "t")
    terminal.ok("token", "add", "u")
    assert terminal.json("token", "set", "u", "--title", "v", "--revoke")["title"] == "v"
    assert terminal.json("token", "revoke", "v")["state"] == "revoked"
    assert [item["title"] for item in terminal.json("token", "list", "--principal", "t")] == ["t"]
    assert terminal.json("token", "remove", "v") == {"removed": "v"}


def test_a_set_that_names_nothing_shows_the_token_as_it_is(terminal: Terminal) -> None:
    terminal.ok("token", "add", "t")
    assert terminal.json("token", "set", "t")["state"] == "active"


def test_a_token_of_an_unknown_principal_is_refused(terminal: Terminal) -> None:
    assert "there is no principal 'nobody'" in terminal.refused(3, "token", "add", "t", "--principal", "nobody")


# ------------------------------------------------------------------------------- authorities, managed challenges


def test_an_authority_is_added_made_the_default_changed_and_removed(terminal: Terminal) -> None:
    add = ("authority", "add", "pebble", "--plugin", "ca_acme", "--set", "directory=https://127.0.0.1:14000/dir")
    assert terminal.json(*add, "--tag", "lab")["default"] is False
    changed = terminal.json("authority", "set", "pebble", "--default", "--set", "email=ops@example.test", "--no-tags")
    assert changed["default"] is True
    assert changed["settings"]["email"] == "ops@example.test"
    assert changed["tags"] == []
    assert [item["default"] for item in terminal.json("authority", "list")] == [False, True]
    back = terminal.json("authority", "set", "pebble", "--set", "email=", "--name", "ca", "--disable")
    assert back["settings"].get("email", "") == ""
    assert (back["name"], back["enabled"]) == ("ca", False)
    assert "make another one the default" in terminal.refused(1, "authority", "remove", "ca")
    terminal.ok("authority", "set", "local", "--default")
    terminal.ok("authority", "remove", "ca")
    assert "ca_local\n" in terminal.ok("authority", "show", "local")


def test_a_misspelt_setting_of_a_plugin_is_named(terminal: Terminal) -> None:
    said = terminal.refused(2, "authority", "add", "x", "--plugin", "ca_acme", "--set", "diretory=https://a.test")
    assert "diretory" in said


def test_a_plugin_that_is_not_installed_is_named_with_the_cure(terminal: Terminal) -> None:
    said = terminal.refused(2, "challenge", "add", "x", "--plugin", "dns_cloudfare", "--match", "a.test")
    assert "did you mean 'dns_cloudflare'" in said


def test_a_managed_challenge_keeps_its_secret_to_itself(terminal: Terminal) -> None:
    add_zone(terminal, "corp zone", "--tag", "production", "--cname-zone", "auth.test")
    shown = terminal.json("challenge", "show", "corp zone")
    assert shown["settings"]["key_secret"] is None
    assert shown["secrets"]["key_secret"]["set"]
    assert shown["settings"]["port"] == 5353
    assert (shown["tags"], shown["cname_zones"]) == (["production"], ["auth.test"])
    for said in (
        terminal.ok("challenge", "show", "corp zone"),
        terminal.ok("export"),
        (terminal.folder / "data" / "acmehub.db").read_bytes().decode("latin-1"),
    ):
        assert TSIG not in said


def test_a_managed_challenge_is_changed_and_removed(terminal: Terminal) -> None:
    add_zone(terminal)
    waits = ("--propagation", "delay", "--propagation-delay", "7", "--propagation-server", "ns1.corp.test")
    changed = terminal.json("challenge", "set", "corp zone", "--match", "*.lab.test", "--name", "lab", *waits)
    assert (changed["name"], changed["match"]) == ("lab", "*.lab.test")
    assert changed["propagation"] == {"mode": "delay", "limit": 120.0, "delay": 7.0, "servers": ["ns1.corp.test"]}
    kept = terminal.json("challenge", "set", "lab", "--propagation-limit", "9", "--set", "port=53", "--disable")
    assert kept["propagation"]["delay"] == 7.0
    assert kept["propagation"]["limit"] == 9.0
    assert kept["secrets"]["key_secret"]["set"]
    assert [item["enabled"] for item in terminal.json("challenge", "list")] == [False]
    terminal.ok("challenge", "remove", "lab")
    assert terminal.ok("challenge", "list") == "no managed challenges\n"


def test_settings_can_come_from_a_file(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSIG", TSIG)
    (terminal.folder / "zone.toml").write_text(
        'server = "127.0.0.1"\nkey_name = "hub."\nkey_secret = "env:TSIG"\nport = 1\n'
    )
    add = ("challenge", "add", "z", "--plugin", "dns_rfc2136", "--match", "a.test", "--settings", "zone.toml")
    assert terminal.json(*add, "--set", "port=2")["settings"]["port"] == 2
    (terminal.folder / "zone.toml").write_text("[")
    assert "zone.toml" in terminal.refused(2, *add)


def test_a_secret_whose_source_is_missing_is_named(terminal: Terminal) -> None:
    said = terminal.refused(2, "challenge", "add", "z", "--match", "a.test", *ZONE, "--set", "key_secret=env:NONE")
    assert "settings.key_secret: the environment has no variable NONE" in said


def test_an_option_that_is_no_pair_is_a_usage_error(terminal: Terminal) -> None:
    assert "KEY=VALUE" in terminal.refused(2, "authority", "add", "x", "--plugin", "ca_acme", "--set", "directory")


def test_a_wrong_match_rule_names_the_part(terminal: Terminal) -> None:
    said = terminal.refused(2, "challenge", "add", "z", *ZONE, "--set", "key_secret=x", "--match", "a.test, *b.test")
    assert "*b.test" in said


# ---------------------------------------------------------------------------------------------- apply and export

FILE = """
[[authority]]
name = "pebble"
plugin = "ca_acme"
default = true
settings = { directory = "https://127.0.0.1:14000/dir" }

[[managed_challenge]]
name = "corp zone"
plugin = "dns_rfc2136"
match = "corp.test, *.corp.test"
settings = { server = "127.0.0.1", key_name = "hub.", key_secret = "file:tsig" }

[[principal]]
name = "firewall-01"
roles = ["managed_acme_consumer"]

[[token]]
title = "Firewall 01"
principal = "firewall-01"
names = "*.corp.test"
"""


@pytest.fixture
def resources(terminal: Terminal) -> Path:
    folder = terminal.folder / "resources"
    folder.mkdir()
    (folder / "tsig").write_text(TSIG)
    (folder / "resources.toml").write_text(FILE)
    return folder / "resources.toml"


def test_a_file_is_applied_once_and_then_changes_nothing(terminal: Terminal, resources: Path) -> None:
    dry = terminal.json("apply", str(resources), "--dry-run")
    assert [item["step"] for item in dry["changes"]] == ["create"] * 4
    assert terminal.json("token", "list") == []
    first = terminal.ok("apply", str(resources))
    assert "+ managed challenge 'corp zone'" in first
    assert "4 changed, 0 as they should be" in first
    assert "API secret of token 'Firewall 01' (shown once): " in first
    second = terminal.json("apply", str(resources))
    assert {item["step"] for item in second["changes"]} == {"unchanged"}
    assert second["tokens"] == []
    resources.write_text(FILE.replace('"*.corp.test"', '"a.corp.test"'))
    assert "~ token 'Firewall 01': names" in terminal.ok("apply", str(resources))


def test_what_was_exported_applies_without_a_change(terminal: Terminal, resources: Path) -> None:
    terminal.ok("apply", str(resources))
    text = terminal.ok("export")
    assert TSIG not in text
    (terminal.folder / "exported.toml").write_text(text)
    again = terminal.json("apply", str(terminal.folder / "exported.toml"))
    assert {item["step"] for item in again["changes"]} == {"unchanged"}
    assert terminal.json("export")["toml"] == text


def test_every_fault_of_a_file_is_told_with_its_place(terminal: Terminal, resources: Path) -> None:
    resources.write_text(FILE.replace('plugin = "ca_acme"', 'plugin = "ca_none"').replace("firewall-01", "", 1))
    said = terminal.refused(2, "apply", str(resources))
    assert "'pebble'" in said
    assert "ca_none" in said
    assert len(said.splitlines()) >= 2
    assert terminal.json("token", "list") == []


@pytest.mark.parametrize("text", ["[[token", "[[tokn]]\n", "\udcff"])
def test_a_file_that_is_not_one_is_named(terminal: Terminal, text: str) -> None:
    path = terminal.folder / "r.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert terminal.refused(2, "apply", "r.toml").startswith("acmehub: r.toml:")


def test_a_file_that_is_missing_is_named(terminal: Terminal) -> None:
    assert "none.toml: No such file" in terminal.refused(2, "apply", "none.toml")


def test_json_is_readable_by_machines_also_when_names_are_not_ascii(terminal: Terminal) -> None:
    terminal.ok("principal", "add", "Gerät 1")
    assert json.loads(terminal.ok("principal", "show", "Gerät 1", "--json"))["name"] == "Gerät 1"


def test_a_setting_that_is_a_list_of_texts_is_given_as_one(terminal: Terminal) -> None:
    add = ("authority", "add", "away", "--plugin", "ca_acme", "--set", "directory=https://ca.test/dir")
    shown = terminal.json(*add, "--set", 'url_hosts=["acme.ca.test", "ca.test:8443"]')
    assert shown["settings"]["url_hosts"] == ["acme.ca.test", "ca.test:8443"]
    assert "url_hosts: 'https://x' is not HOST or HOST:PORT" in terminal.refused(
        2, "authority", "set", "away", "--set", 'url_hosts=["https://x"]'
    )
    assert terminal.json("authority", "set", "away", "--set", "url_hosts=")["settings"]["url_hosts"] == []

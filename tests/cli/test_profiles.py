"""`acmehub profile`, profiles of principals, `check --profile`, and profiles in files."""

import asyncio
from pathlib import Path

from acmehub.app.hub import build_hub
from acmehub.config import load_config
from acmehub.models import Account
from acmehub.models.identifiers import Identifier
from acmehub.models.wire import NewOrder
from tests.cli.conftest import Terminal

ADD = ("profile", "add", "internal", "--description", "Our own CA")
RULES = ("--authority", "local", "--lifetime-days", "30", "--key-type", "P-256", "--key-type", "RSA")


def test_a_profile_is_added_listed_shown_changed_and_removed(terminal: Terminal) -> None:
    made = terminal.json(*ADD, *RULES)
    assert (made["authority"], made["lifetime_days"], made["key_types"]) == ("local", 30, ["P-256", "RSA"])
    said = terminal.ok("profile", "list")
    assert [line.split()[0] for line in said.splitlines()] == ["NAME", "internal"]
    assert "keys         P-256, RSA" in terminal.ok("profile", "show", "internal")
    changed = terminal.json("profile", "set", "internal", "--name", "inside", "--no-key-types", "--no-lifetime")
    assert (changed["name"], changed["key_types"], changed["lifetime_days"]) == ("inside", [], None)
    upstream = terminal.json("profile", "set", "inside", "--authority", "", "--upstream-profile", "tls", "--disable")
    assert (upstream["authority"], upstream["upstream_profile"], upstream["enabled"]) == ("", "tls", False)
    back = terminal.json("profile", "set", "inside", "--upstream-profile", "", "--description", "Any", "--enabled")
    assert (back["upstream_profile"], back["description"], back["enabled"]) == (None, "Any", True)
    assert terminal.json("profile", "remove", "inside") == {"removed": "inside"}
    assert "there is no profile 'inside'" in terminal.refused(3, "profile", "show", "inside")


def test_what_does_not_fit_is_named(terminal: Terminal) -> None:
    assert "key_types: 'DSA'" in terminal.refused(2, *ADD, "--key-type", "DSA")
    assert "there is no authority 'loacl'" in terminal.refused(2, *ADD, "--authority", "loacl")
    assert "signs for 90 days at most" in terminal.refused(2, *ADD, "--authority", "local", "--lifetime-days", "91")
    assert "--description" in terminal.refused(2, "profile", "add", "x")
    terminal.ok(*ADD)
    assert "already" in terminal.refused(4, *ADD)


def test_a_principal_is_limited_to_profiles_and_freed(terminal: Terminal) -> None:
    terminal.ok(*ADD)
    assert "there is no profile 'other'" in terminal.refused(2, "principal", "add", "app", "--profile", "other")
    said = terminal.ok("principal", "add", "app", "--role", "managed_acme_consumer", "--profile", "internal")
    assert "profiles   internal" in said
    assert "in use by principal 'app'" in terminal.refused(4, "profile", "remove", "internal")
    assert terminal.json("principal", "set", "app", "--no-profiles")["profiles"] == []
    assert terminal.json("principal", "set", "app", "--profile", "internal")["profiles"] == ["internal"]


def test_check_explains_what_a_profile_leads_to(terminal: Terminal) -> None:
    terminal.ok(*ADD, *RULES)
    terminal.ok("token", "add", "t", "--names", "a.test")
    said = terminal.ok("check", "a.test", "--token", "t", "--profile", "internal")
    assert "profile   internal: Our own CA" in said
    assert "keys      P-256, RSA" in said
    assert "lifetime  30 days" in said
    assert "authority  local (ca_local): the client named internal" in said
    found = terminal.json("check", "a.test", "--token", "t", "--profile", "internal")
    assert (found["good"], found["profile"]["name"]) == (True, "internal")
    assert terminal.json("check", "a.test", "--token", "t")["profile"] is None


def test_check_says_what_stands_against_a_profile(terminal: Terminal) -> None:
    terminal.ok("token", "add", "t", "--names", "a.test")
    check = ("check", "a.test", "--token", "t", "--profile", "internal")
    refused = terminal.json(*check, status=1)
    assert "is not offered to this account" in refused["profile"]["error"]
    terminal.ok(*ADD, *RULES)
    terminal.ok("authority", "set", "local", "--disable")
    assert terminal.json(*check, status=1)["authority"]["error"] == "local is disabled"
    assert terminal.json("profile", "show", "internal")["problem"] == "its authority 'local' is disabled"
    terminal.ok("authority", "set", "local", "--enable", "--set", "lifetime_days=7")
    assert terminal.json(*check, status=1)["authority"]["error"] == "local signs for 7 days at most"


FILE = """
[[profile]]
name = "internal"
description = "Our own CA"
authority = "local"
lifetime_days = 30

[[principal]]
name = "app"
roles = ["managed_acme_consumer"]
profiles = ["internal"]
"""


def test_profiles_stand_in_files(terminal: Terminal) -> None:
    (terminal.folder / "r.toml").write_text(FILE)
    assert "+ profile 'internal'" in terminal.ok("apply", "r.toml")
    assert "~ profile 'internal': lifetime_days" in _applied(terminal, FILE.replace("30", "40"))
    (terminal.folder / "e.toml").write_text(terminal.ok("export"))
    assert {item["step"] for item in terminal.json("apply", "e.toml")["changes"]} == {"unchanged"}


def _applied(terminal: Terminal, text: str) -> str:
    (terminal.folder / "r.toml").write_text(text)
    return terminal.ok("apply", "r.toml")


def test_an_orders_profile_is_shown(terminal: Terminal) -> None:
    terminal.ok(*ADD, "--authority", "local")
    terminal.ok("token", "add", "t", "--names", "a.test")
    order_id = asyncio.run(_order())
    assert "profile         internal\n" in terminal.ok("order", "show", order_id)
    assert terminal.json("order", "show", order_id)["profile"] == "internal"


async def _order() -> str:
    """An order of token `t` that names the profile; its id."""
    hub = build_hub(load_config(None, environ={}, overrides={"data_dir": Path("data")}))
    async with hub.running():
        token = (await hub.store.tokens.named("t"))[0]
        account = Account(
            jwk=b"{}", thumbprint="t", token_id=token.id, principal_id=token.principal_id, created=token.created
        )
        await hub.store.accounts.bind(account, lambda row, _: row)
        actor = await hub.store.accounts.actor(account.id)
        assert actor is not None
        asked = NewOrder(identifiers=(Identifier("dns", "a.test"),), profile="internal")
        return (await hub.orders.open(actor, asked)).order.id

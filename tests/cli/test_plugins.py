"""`acmehub plugin`: what is installed is listed and shown, with or without a hub, whatever is wrong with one."""

import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import pytest

from acmehub.cli.root import root
from acmehub.ports.setting_fields import setting_fields
from acmehub.runtime.plugins import BUILT_INS, build_registry
from tests.cli.conftest import Terminal
from tests.installed_plugins import install_plugin

pytestmark = pytest.mark.on_machine

Install = Callable[..., None]
OWN = (*BUILT_INS, "ca_letsencrypt", "ca_zerossl", "dns_cloudflare", "dns_rfc2136", "storage_postgres")
SOURCE = """
    from typing import Annotated, Literal

    from msgspec import Meta

    from acmehub import PluginSettings, Secret, hookimpl

    class Settings(PluginSettings):
        place: Annotated[str, Meta(description="where it is\\x1b[2J")]
        token: Annotated[Secret, Meta(description="of the API")] = Secret("hunter2-hunter2")
        port: Annotated[int, Meta(ge=1, le=65535)] = 53
        kind: Literal["a", "b"] = "a"
        tags: tuple[str, ...] = ("x", "y")
        keys: tuple[Secret, ...] = ()
        more: float | None = None
        strict: bool = False

    @hookimpl
    def register_dns_providers(register):
        register("dns_x", object, Settings, "for tests")
        register("dns_x.second", object, PluginSettings)

    @hookimpl
    def order_finished(event): ...
"""
BAD = {
    "dns_gone": ("plugins = ['dns_gone']", "missing", "is not installed"),
    "dns_bad": ("plugins = ['dns_bad']", "broken", "no_such_module"),
    "storage_bad": ("[storage]\nplugin = 'storage_bad'", "broken", "no_such_module"),
    "notify_bad": ("[[notifier]]\nplugin = 'notify_bad'", "broken", "no_such_module"),
}


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    return partial(install_plugin, site)


def test_a_plugin_is_shown_with_its_settings(terminal: Terminal, install: Install) -> None:
    install("dns_x", SOURCE)
    shown = terminal.json("plugin", "show", "dns_x")
    assert {name: shown[name] for name in ("name", "state", "distribution", "version", "summary", "built_in")} == {
        "name": "dns_x",
        "state": "installed",
        "distribution": "third-dns-x",
        "version": "1.2",
        "summary": "a test",
        "built_in": False,
    }
    assert shown["entry_point"] == "plugin_third_dns_x"
    assert shown["hooks"] == ["register_dns_providers", "order_finished"]
    first, second = shown["offers"]
    assert (first["name"], first["kind"], first["summary"]) == ("dns_x", "DNS provider", "for tests")
    assert (second["name"], second["settings"]) == ("dns_x.second", [])
    found = {
        item["name"]: (item["type"], item["required"], item["default"], item["secret"]) for item in first["settings"]
    }
    assert found == {
        "place": ("text", True, None, False),
        "token": ("secret text", False, None, True),
        "port": ("integer, at least 1, at most 65535", False, 53, False),
        "kind": ("one of a, b", False, "a", False),
        "tags": ("list of text", False, ["x", "y"], False),
        "keys": ("list of secret text", False, None, True),
        "more": ("number", False, None, False),
        "strict": ("true or false", False, False, False),
    }
    assert first["settings"][0]["description"] == "where it is\x1b[2J"


def test_a_plugin_is_shown_to_people_line_by_line(empty_terminal: Terminal, install: Install) -> None:
    install("dns_x", SOURCE)
    text = empty_terminal.ok("plugin", "show", "dns_x.second")
    assert "hunter2" not in text
    assert "\x1b" not in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "from third-dns-x 1.2" in lines
    assert "DNS provider dns_x: for tests" in lines
    assert "place text required where it is\\x1b[2J" in lines
    assert "token secret text - of the API" in lines
    assert "strict true or false false" in lines
    assert lines[-2:] == ["DNS provider dns_x.second", "no settings"]
    assert not any(line.endswith(" ") for line in text.splitlines())
    assert {path.name for path in empty_terminal.folder.iterdir()} == {"site"}  # no hub was founded


def test_a_plugin_that_does_not_load_is_shown_with_the_reason(terminal: Terminal, install: Install) -> None:
    install("dns_bad", "import no_such_module")
    status, out, _ = terminal("plugin", "show", "dns_bad")
    assert status == 1
    assert "ModuleNotFoundError: No module named 'no_such_module' (plugin_third_dns_bad.py:1)" in out
    shown = terminal.json("plugin", "show", "dns_bad", status=1)
    assert (shown["state"], shown["distribution"], shown["offers"]) == ("broken", "third-dns-bad", [])


def test_a_plugin_that_is_not_installed_is_not_found(terminal: Terminal) -> None:
    said = terminal.refused(3, "plugin", "show", "dns_cloudfare")
    assert said == "acmehub: plugin 'dns_cloudfare' is not installed; did you mean 'dns_cloudflare'?"


@pytest.mark.parametrize("name", BAD)
def test_one_bad_plugin_does_not_break_the_list(terminal: Terminal, install: Install, name: str) -> None:
    config, state, reason = BAD[name]
    if state == "broken":
        install(name, "import no_such_module")
    (terminal.folder / "acmehub.toml").write_text(config)
    lines = {item["name"]: item for item in terminal.json("plugin", "list")}
    assert (lines[name]["state"], reason in lines[name]["reason"]) == (state, True)
    assert lines["ca_local"]["state"] == "active"
    assert terminal.json("plugin", "show", "ca_local")["state"] == "active"


def test_stored_resources_make_plugins_active_and_missing_ones_are_told(terminal: Terminal) -> None:
    settings = ("--set", "server=127.0.0.1", "--set", "key_name=hub.", "--set", "key_secret=aGVsbG8=")
    terminal.ok("challenge", "add", "one", "--plugin", "dns_rfc2136", "--match", "a.test", *settings)
    terminal.ok("challenge", "add", "two", "--plugin", "dns_rfc2136", "--match", "b.test", *settings)
    (database,) = terminal.folder.rglob("acmehub.db")
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE managed_challenge SET plugin = 'dns_gone' WHERE name = 'two'")
    connection.close()
    lines = {item["name"]: item["state"] for item in terminal.json("plugin", "list")}
    assert (lines["dns_rfc2136"], lines["dns_gone"], lines["dns_cloudflare"]) == ("active", "missing", "installed")
    assert terminal.json("plugin", "show", "dns_rfc2136")["state"] == "active"


def test_a_storage_that_cannot_be_read_is_told_beside_the_list(terminal: Terminal) -> None:
    terminal.ok("authority", "list")
    (database,) = terminal.folder.rglob("acmehub.db")
    for path in database.parent.glob("acmehub.db*"):
        path.unlink()
    database.write_bytes(b"not a database, " * 512)
    status, out, err = terminal("plugin", "list")
    assert status == 0
    assert "ca_acme" in out
    assert err.startswith("acmehub: which plugins stored resources name is not known: ")
    assert len(err.splitlines()) == 1


def test_a_plugin_whose_verbs_fail_is_named(terminal: Terminal, install: Install) -> None:
    begin = "from acmehub import hookimpl\n    @hookimpl\n    def register_commands(cli):\n        "
    install("hello", f"    {begin}raise KeyError('x')\n")
    (terminal.folder / "acmehub.toml").write_text("plugins = ['hello']\n")
    said = terminal.refused(1, "greet")
    assert said.startswith("acmehub: plugin 'hello' is broken: register_commands raised KeyError: 'x' (plugin_third_")
    with click.Context(root) as context:
        assert "authority" in root.list_commands(context)


@pytest.mark.parametrize("name", OWN)
def test_every_setting_of_this_repositorys_plugins_has_a_description(name: str) -> None:
    registry = build_registry([name])
    for _kind, offered in registry.registrations(name):
        assert [item.name for item in setting_fields(offered.settings) if not item.description] == []

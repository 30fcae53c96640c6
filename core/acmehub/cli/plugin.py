"""`acmehub plugin`. On this machine its verbs need no hub: an author uses them before there is one."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acmehub.cli.shared.exit_status import Exit
from acmehub.cli.shared.session import (
    Result,
    Session,
    config_options,
    fields,
    json_option,
    over_api,
    quiet_config,
    remote_hub,
    show,
    table,
)
from acmehub.cli.shared.terminal import say
from acmehub.config import Config

if TYPE_CHECKING:
    from acmehub.runtime.plugin_details import Offered, PluginDetails
    from acmehub.runtime.plugins import InstalledPlugin, Registry

SHOW = """\b
Examples:
  acmehub plugin show dns_rfc2136
  acmehub plugin show ca_acme --json
"""


@click.group()
def plugin() -> None:
    """Plugins: what is installed, and what of it is in use."""


@plugin.command(name="list", epilog="\b\nExample:\n  acmehub plugin list --json")
@config_options
@json_option
def list_(config_file: Path | None, data_dir: Path | None, as_json: bool) -> int:
    """All installed plugins; one is active when the configuration or a stored resource names it."""
    remote = remote_hub(config_file, data_dir)
    found: Sequence[InstalledPlugin]
    if remote is None:
        found = asyncio.run(_installed(quiet_config(config_file, data_dir)))
    else:
        found = asyncio.run(over_api(_listed, remote))
    rows = [
        (item.name, item.state, f"{item.distribution} {item.version}".strip(), item.reason or ", ".join(item.offers))
        for item in found
    ]
    show(Result(found, table(("NAME", "STATE", "FROM", "OFFERS"), rows, "no plugins")), as_json)
    return Exit.DONE


@plugin.command(name="show", epilog=SHOW)
@click.argument("name")
@config_options
@json_option
def show_(name: str, config_file: Path | None, data_dir: Path | None, as_json: bool) -> int:
    """One plugin, which is loaded for it: what it offers, with which settings. Fails for one that does not load."""
    remote = remote_hub(config_file, data_dir)
    if remote is None:
        details = _details(quiet_config(config_file, data_dir), name)
    else:
        details = asyncio.run(over_api(_shown, remote, name=name))
    lines = fields(
        [
            ("plugin", details.name),
            ("state", details.state),
            ("✗", details.reason),
            ("from", f"{details.distribution} {details.version}".strip() + (" (built in)" if details.built_in else "")),
            ("summary", "" if details.built_in else details.summary),
            ("entry point", details.entry_point),
            ("hooks", details.hooks),
        ]
    )
    for offered in details.offers:
        lines += ["", *_offered(offered)]
    show(Result(details, lines), as_json)
    return Exit.FAILED if details.reason else Exit.DONE


async def _listed(session: Session) -> Sequence["InstalledPlugin"]:
    return await session.admin.plugins.list(session.acting)


async def _shown(session: Session, name: str) -> "PluginDetails":
    return await session.admin.plugins.show(name, session.acting)


def _registry(config: Config) -> "Registry":
    """The plugins that the configuration names, as far as they load: the registry remembers what is wrong."""
    from acmehub.runtime.plugin_details import load_named
    from acmehub.runtime.plugins import BUILT_INS, Registry

    registry = Registry()
    load_named(registry, (*BUILT_INS, *_named(config)))
    return registry


def _named(config: Config) -> Iterator[str]:
    yield from config.plugins
    yield config.storage.plugin
    yield from (item.plugin for item in config.notifier)


async def _installed(config: Config) -> Sequence["InstalledPlugin"]:
    """The plugins that are installed, and those that are named and are not."""
    from acmehub.runtime.plugin_details import installed_plugins

    registry = _registry(config)
    return installed_plugins(registry, [*_named(config), *await _stored(config, registry)])


def _details(config: Config, name: str) -> "PluginDetails":
    from acmehub.runtime.plugin_details import load_named, plugin_details

    registry = _registry(config)
    load_named(registry, asyncio.run(_stored(config, registry)))
    return plugin_details(registry, name)


async def _stored(config: Config, registry: "Registry") -> Sequence[str]:
    """The plugins that stored resources name; none where there is no hub yet, or its storage cannot be read."""
    from acmehub.app.bootstrap import MASTER_KEY_FILE
    from acmehub.app.hub import open_store
    from acmehub.ports.clock import SystemClock
    from acmehub.ports.settings import SettingsError
    from acmehub.ports.store import StoreError
    from acmehub.runtime.plugins import PluginError

    if not (config.master_keys or (config.data_dir / MASTER_KEY_FILE).exists()):
        return ()
    try:
        store = open_store(config, registry, SystemClock())
        await store.open()
        try:
            rows: list[Any] = [*await store.authorities.list(), *await store.managed_challenges.list()]
        finally:
            await store.close()
    except (StoreError, SettingsError, PluginError) as error:
        say(f"acmehub: which plugins stored resources name is not known: {error}", err=True)
        return ()
    return [row.plugin for row in rows]


def _offered(offered: "Offered") -> list[str]:
    head = f"{offered.kind} {offered.name}{': ' if offered.summary else ''}{offered.summary}"
    rows = [
        (
            f"  {item.name}",
            item.type,
            "required" if item.required else _default(item.default),
            item.description,
        )
        for item in offered.settings
    ]
    return [head, *table(("  SETTING", "TYPE", "DEFAULT", "DESCRIPTION"), rows, "  no settings")]


def _default(value: Any) -> str:
    if value is None or value in ("", [], (), {}):
        return "-"
    return str(value).lower() if isinstance(value, bool) else str(value)

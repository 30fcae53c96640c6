"""`acmehub authority`."""

import shlex
from pathlib import Path
from typing import Any

import click
from msgspec import UNSET

from acmehub.admin.resources.authorities import AuthorityPatch, AuthorityView, NewAuthority
from acmehub.cli.shared.remarks import authority_name, remark_authorities
from acmehub.cli.shared.resource_options import add_options, new_of, other_fields, patch_from, set_options
from acmehub.cli.shared.session import Result, Session, fields, hub_verb, moment, table
from acmehub.cli.shared.settings import read_plugin_options, settings_options, shown_settings


@click.group()
def authority() -> None:
    """Certificate authorities that the hub orders from."""


KIND = "authority"  # of what plugins offer
ADD = """\b
Examples:
  acmehub authority add pebble --plugin ca_acme --set directory=https://127.0.0.1:14000/dir --set ca_file=pebble.pem
  acmehub authority add "Let's Encrypt" --plugin ca_letsencrypt --settings letsencrypt.toml --default
"""
SET = """\b
Examples:
  acmehub authority set pebble --default
  acmehub authority set pebble --set email=ops@example.com --set preferred_chain=
"""


@authority.command(epilog=ADD)
@add_options(NewAuthority)
@settings_options
@hub_verb
async def add(
    session: Session, plugin: str, pairs: tuple[str, ...], settings_file: Path | None, **options: Any
) -> Result:
    """Add an authority. The hub registers its account there at the first order."""
    service = session.admin.authorities
    settings = await read_plugin_options(session, KIND, plugin, pairs, settings_file)
    new = new_of(NewAuthority, options, plugin=plugin, settings=settings)
    before = await service.list(session.acting)
    added = await service.add(new, session.acting, sources=session.sources)
    await remark_authorities(session, before, added.name)
    return _shown(added)


@authority.command(name="list", epilog="\b\nExample:\n  acmehub authority list --json")
@hub_verb
async def list_(session: Session) -> Result:
    """All authorities."""
    found = await session.admin.authorities.list(session.acting)
    rows = [(item.name, item.plugin, _state(item), item.account_url or "-", ", ".join(item.tags)) for item in found]
    return Result(found, table(("NAME", "PLUGIN", "STATE", "ACCOUNT", "TAGS"), rows, "no authorities"))


@authority.command(epilog="\b\nExample:\n  acmehub authority show pebble")
@click.argument("name")
@hub_verb
async def show(session: Session, name: str) -> Result:
    """One authority, its secrets left out."""
    return _shown(await session.admin.authorities.show(name, session.acting))


@authority.command(name="set", epilog=SET)
@set_options(NewAuthority)
@settings_options
@hub_verb
async def set_(
    session: Session, name: str, pairs: tuple[str, ...], settings_file: Path | None, **options: Any
) -> Result:
    """Change an authority; what is not named stays."""
    service = session.admin.authorities
    kind = options["plugin"] or (await service.show(name, session.acting)).plugin
    settings = await read_plugin_options(session, KIND, kind, pairs, settings_file) if pairs or settings_file else {}
    patch = patch_from(AuthorityPatch, NewAuthority, options, settings=settings or UNSET)
    before = await service.list(session.acting)
    item = await service.set(name, patch, session.acting, sources=session.sources)
    await remark_authorities(session, before, authority_name(before, name), item.name)
    if options["enabled"] is False and (count := (await session.admin.campaigns.in_use(item.id, session.acting)).count):
        command = f"acmehub certificate renew-by DATE --authority {shlex.quote(item.name)}"
        return _shown(item, f"{count} certificates of it are in use; to have them renewed elsewhere: {command}")
    return _shown(item)


@authority.command(name="clear-pause", epilog="\b\nExample:\n  acmehub authority clear-pause letsencrypt")
@click.argument("name")
@hub_verb
async def clear_pause(session: Session, name: str) -> Result:
    """Order again from a CA that had paused the hub's account or names, once a person has done there what it asks."""
    return _shown(await session.admin.authorities.clear_pause(name, session.acting))


@authority.command(epilog="\b\nExample:\n  acmehub authority remove pebble")
@click.argument("name")
@hub_verb
async def remove(session: Session, name: str) -> Result:
    """Remove an authority that no order went to; one that is in use can be disabled."""
    before = await session.admin.authorities.list(session.acting)
    await session.admin.authorities.remove(name, session.acting)
    await remark_authorities(session, before, authority_name(before, name))
    return Result({"removed": name}, [f"removed authority {name}"])


KNOWN = (
    "name",
    "id",
    "plugin",
    "settings",
    "secrets",
    "default",
    "enabled",
    "tags",
    "account_url",
    "created",
    "problem",
    "pauses",
    "signs_own_tls",
)


def _state(item: AuthorityView) -> str:
    state = "disabled" if not item.enabled else "default" if item.default else "enabled"
    return f"{state}, paused by the CA" if item.pauses else state


def _shown(item: AuthorityView, *remarks: str) -> Result:
    lines = fields(
        [
            ("authority", item.name),
            ("id", item.id),
            ("plugin", item.plugin),
            ("state", _state(item)),
            ("tags", item.tags),
            ("account", item.account_url),
            ("signs", "the hub's own TLS certificate" if item.signs_own_tls else ""),
            *other_fields(item, *KNOWN),
            ("created", moment(item.created)),
            *shown_settings(item),
            ("✗", item.problem),
        ]
    )
    return Result(item, [*lines, *_paused(item), *remarks])


def _paused(item: AuthorityView) -> list[str]:
    if not item.pauses:
        return []
    lines = [
        f"paused since {moment(pause.since)} for {', '.join(pause.names) or 'the account'}: {pause.detail}"
        for pause in item.pauses
    ]
    command = f"acmehub authority clear-pause {shlex.quote(item.name)}"
    return [*lines, f"new orders for that are refused; do what the CA asks for, then: {command}"]

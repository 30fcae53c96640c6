"""`acmehub authority`."""

import shlex
from pathlib import Path

import click
from msgspec import UNSET

from acmehub.admin.authorities import AuthorityPatch, AuthorityView, NewAuthority
from acmehub.cli.session import Result, Session, fields, hub_verb, moment, table
from acmehub.cli.settings import read_options, settings_options


@click.group()
def authority() -> None:
    """Certificate authorities that the hub orders from."""


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
@click.argument("name")
@click.option("--plugin", required=True, help="Its kind: ca_acme, ca_local, ca_letsencrypt, …")
@settings_options
@click.option("--default", is_flag=True, help="Orders go here unless a policy says otherwise.")
@click.option("--tag", "tags", multiple=True, help="A tag; may be repeated.")
@click.option("--disabled", is_flag=True, help="Not to be used yet.")
@hub_verb
async def add(
    session: Session,
    name: str,
    plugin: str,
    pairs: tuple[str, ...],
    settings_file: Path | None,
    default: bool,
    tags: tuple[str, ...],
    disabled: bool,
) -> Result:
    """Add an authority. The hub registers its account there at the first order."""
    service = session.hub.admin.authorities
    settings = read_options(service.registration(plugin).settings, pairs, settings_file)
    new = NewAuthority(name=name, plugin=plugin, settings=settings, default=default, enabled=not disabled, tags=tags)
    return _shown(await service.add(new, session.acting, sources=session.sources))


@authority.command(name="list", epilog="\b\nExample:\n  acmehub authority list --json")
@hub_verb
async def list_(session: Session) -> Result:
    """All authorities."""
    found = await session.hub.admin.authorities.list(session.acting)
    rows = [(item.name, item.plugin, _state(item), item.account_url or "-", ", ".join(item.tags)) for item in found]
    return Result(found, table(("NAME", "PLUGIN", "STATE", "ACCOUNT", "TAGS"), rows, "no authorities"))


@authority.command(epilog="\b\nExample:\n  acmehub authority show pebble")
@click.argument("name")
@hub_verb
async def show(session: Session, name: str) -> Result:
    """One authority, its secrets left out."""
    return _shown(await session.hub.admin.authorities.show(name, session.acting))


@authority.command(name="set", epilog=SET)
@click.argument("name")
@click.option("--name", "new_name", help="Rename it.")
@click.option("--plugin", help="Another kind; its settings begin anew.")
@settings_options
@click.option("--default", is_flag=True, help="Make it the default.")
@click.option("--tag", "tags", multiple=True, help="The tags, instead of those there are; may be repeated.")
@click.option("--no-tags", is_flag=True, help="Take all tags away.")
@click.option("--enable/--disable", "--enabled/--disabled", "enabled", default=None, help="Whether it may be used.")
@hub_verb
async def set_(
    session: Session,
    name: str,
    new_name: str | None,
    plugin: str | None,
    pairs: tuple[str, ...],
    settings_file: Path | None,
    default: bool,
    tags: tuple[str, ...],
    no_tags: bool,
    enabled: bool | None,
) -> Result:
    """Change an authority; what is not named stays."""
    service = session.hub.admin.authorities
    kind = plugin or (await service.show(name, session.acting)).plugin
    settings = read_options(service.registration(kind).settings, pairs, settings_file) if pairs or settings_file else {}
    patch = AuthorityPatch(
        name=new_name or UNSET,
        plugin=plugin or UNSET,
        settings=settings or UNSET,
        default=True if default else UNSET,
        tags=tags if tags or no_tags else UNSET,
        enabled=UNSET if enabled is None else enabled,
    )
    item = await service.set(name, patch, session.acting, sources=session.sources)
    if enabled is False and (count := await session.hub.admin.campaigns.in_use(item.id, session.acting)):
        command = f"acmehub certificate renew-by DATE --authority {shlex.quote(item.name)}"
        return _shown(item, f"{count} certificates of it are in use; to have them renewed elsewhere: {command}")
    return _shown(item)


@authority.command(epilog="\b\nExample:\n  acmehub authority remove pebble")
@click.argument("name")
@hub_verb
async def remove(session: Session, name: str) -> Result:
    """Remove an authority that no order went to; one that is in use can be disabled."""
    await session.hub.admin.authorities.remove(name, session.acting)
    return Result({"removed": name}, [f"removed authority {name}"])


def _state(item: AuthorityView) -> str:
    return "disabled" if not item.enabled else "default" if item.default else "enabled"


def _shown(item: AuthorityView, *remarks: str) -> Result:
    lines = fields(
        [
            ("authority", item.name),
            ("id", item.id),
            ("plugin", item.plugin),
            ("state", _state(item)),
            ("tags", item.tags),
            ("account", item.account_url),
            ("created", moment(item.created)),
            *((f"  {key}", value) for key, value in item.settings.items()),
            ("✗", item.problem),
        ]
    )
    return Result(item, [*lines, *remarks])

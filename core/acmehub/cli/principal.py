"""`acmehub principal`."""

import click
from msgspec import UNSET

from acmehub.admin.principals import NewPrincipal, PrincipalPatch, PrincipalView, parse_role, role_text
from acmehub.cli.session import Result, Session, fields, hub_verb, moment, table
from acmehub.models import PrincipalType, Role

ROLES = f"A role ({', '.join(Role)}), or ROLE:TAG,TAG; may be repeated."
PROFILES = "The only profiles that it may ask for; may be repeated."
TYPES = click.Choice([item.value for item in PrincipalType])


@click.group()
def principal() -> None:
    """Who may use the hub: people, and applications such as ACME clients."""


ADD = """\b
Examples:
  acmehub principal add firewall-01 --role managed_acme_consumer
  acmehub principal add alice --type user --role operator
  acmehub principal add printers --role managed_acme_consumer:production,lab
"""


@principal.command(epilog=ADD)
@click.argument("name")
@click.option(
    "--type", "kind", type=TYPES, default=PrincipalType.APPLICATION.value, show_default=True, help="Its type."
)
@click.option("--role", "roles", multiple=True, help=ROLES)
@click.option("--profile", "profiles", multiple=True, help=PROFILES)
@click.option("--disabled", is_flag=True, help="Refused until it is enabled.")
@hub_verb
async def add(
    session: Session, name: str, kind: str, roles: tuple[str, ...], profiles: tuple[str, ...], disabled: bool
) -> Result:
    """Add a principal."""
    new = NewPrincipal(
        name=name,
        type=PrincipalType(kind),
        roles=tuple(parse_role(text) for text in roles),
        enabled=not disabled,
        profiles=profiles,
    )
    return _shown(await session.hub.admin.principals.add(new, session.acting))


@principal.command(name="list", epilog="\b\nExample:\n  acmehub principal list --json")
@hub_verb
async def list_(session: Session) -> Result:
    """All principals."""
    found = await session.hub.admin.principals.list(session.acting)
    rows = [
        (item.name, item.type, "enabled" if item.enabled else "disabled", _roles(item), ", ".join(item.tokens))
        for item in found
    ]
    return Result(found, table(("NAME", "TYPE", "STATE", "ROLES", "TOKENS"), rows, "no principals"))


@principal.command(epilog="\b\nExample:\n  acmehub principal show firewall-01")
@click.argument("name")
@hub_verb
async def show(session: Session, name: str) -> Result:
    """One principal, with its tokens."""
    return _shown(await session.hub.admin.principals.show(name, session.acting))


@principal.command(name="set", epilog="\b\nExample:\n  acmehub principal set firewall-01 --disable")
@click.argument("name")
@click.option("--name", "new_name", help="Rename it.")
@click.option("--type", "kind", type=TYPES, help="Its type.")
@click.option("--role", "roles", multiple=True, help=f"The roles, instead of those there are. {ROLES}")
@click.option("--no-roles", is_flag=True, help="Take all roles away.")
@click.option("--profile", "profiles", multiple=True, help=f"Instead of those before. {PROFILES}")
@click.option("--no-profiles", is_flag=True, help="It may ask for any profile.")
@click.option("--enable/--disable", "--enabled/--disabled", "enabled", default=None, help="Whether it may do anything.")
@hub_verb
async def set_(
    session: Session,
    name: str,
    new_name: str | None,
    kind: str | None,
    roles: tuple[str, ...],
    no_roles: bool,
    profiles: tuple[str, ...],
    no_profiles: bool,
    enabled: bool | None,
) -> Result:
    """Change a principal; what is not named stays. A disabled one is refused at its next request."""
    patch = PrincipalPatch(
        name=new_name or UNSET,
        type=PrincipalType(kind) if kind else UNSET,
        roles=tuple(parse_role(text) for text in roles) if roles or no_roles else UNSET,
        enabled=UNSET if enabled is None else enabled,
        profiles=profiles if profiles or no_profiles else UNSET,
    )
    return _shown(await session.hub.admin.principals.set(name, patch, session.acting))


@principal.command(epilog="\b\nExample:\n  acmehub principal remove firewall-01")
@click.argument("name")
@hub_verb
async def remove(session: Session, name: str) -> Result:
    """Remove a principal that has no tokens."""
    await session.hub.admin.principals.remove(name, session.acting)
    return Result({"removed": name}, [f"removed principal {name}"])


def _roles(item: PrincipalView) -> str:
    return ", ".join(role_text(role) for role in item.roles)


def _shown(item: PrincipalView) -> Result:
    lines = fields(
        [
            ("principal", item.name),
            ("id", item.id),
            ("type", item.type),
            ("state", "enabled" if item.enabled else "disabled"),
            ("roles", _roles(item) or "none"),
            ("profiles", item.profiles),
            ("tokens", item.tokens),
            ("created", moment(item.created)),
        ]
    )
    return Result(item, lines)

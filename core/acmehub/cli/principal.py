"""`acmehub principal`."""

from typing import Any

import click

from acmehub.admin.resources.principals import NewPrincipal, PrincipalPatch, PrincipalView, role_text
from acmehub.cli.shared.remarks import remark
from acmehub.cli.shared.resource_options import add_options, new_of, other_fields, patch_from, set_options
from acmehub.cli.shared.session import Result, Session, fields, hub_verb, moment, table


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
@add_options(NewPrincipal)
@hub_verb
async def add(session: Session, **options: Any) -> Result:
    """Add a principal."""
    added = await session.admin.principals.add(new_of(NewPrincipal, options), session.acting)
    remark(added)
    return _shown(added)


@principal.command(name="list", epilog="\b\nExample:\n  acmehub principal list --json")
@hub_verb
async def list_(session: Session) -> Result:
    """All principals."""
    found = await session.admin.principals.list(session.acting)
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
    return _shown(await session.admin.principals.show(name, session.acting))


@principal.command(name="set", epilog="\b\nExample:\n  acmehub principal set firewall-01 --disable")
@set_options(NewPrincipal)
@hub_verb
async def set_(session: Session, name: str, **options: Any) -> Result:
    """Change a principal; what is not named stays. A disabled one is refused at its next request."""
    patch = patch_from(PrincipalPatch, NewPrincipal, options)
    changed = await session.admin.principals.set(name, patch, session.acting)
    remark(changed)
    return _shown(changed)


@principal.command(epilog="\b\nExample:\n  acmehub principal remove firewall-01")
@click.argument("name")
@hub_verb
async def remove(session: Session, name: str) -> Result:
    """Remove a principal that has no tokens."""
    await session.admin.principals.remove(name, session.acting)
    return Result({"removed": name}, [f"removed principal {name}"])


@principal.command(epilog="\b\nExample:\n  acmehub principal forget alice")
@click.argument("name")
@hub_verb
async def forget(session: Session, name: str) -> Result:
    """Replace the name of a disabled or removed principal by a pseudonym, in the audit too; it cannot be undone.

    Contacts and User-Agents of its accounts go, and the addresses in the audit's entries of what it did.
    """
    done = await session.admin.forgetting.forget(name, session.acting)
    return Result(
        done, [f"{done.pseudonym} stands for it now: in {done.entries} entries of the audit, {done.accounts} accounts"]
    )


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
            *other_fields(item, "name", "id", "type", "enabled", "roles", "profiles", "tokens", "created"),
            ("created", moment(item.created)),
        ]
    )
    return Result(item, lines)

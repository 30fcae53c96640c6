"""`acmehub profile`."""

from typing import Any

import click

from acmehub.admin.resources.profiles import NewProfile, ProfilePatch, ProfileView
from acmehub.cli.shared.resource_options import add_options, new_of, other_fields, patch_from, set_options
from acmehub.cli.shared.session import Result, Session, fields, hub_verb, moment, table


@click.group()
def profile() -> None:
    """Profiles that clients may name in an order: each leads to an authority, with rules of its own."""


ADD = """\b
Examples:
  acmehub profile add public --description "Let's Encrypt" --authority letsencrypt
  acmehub profile add short --description "Six days" --authority letsencrypt --upstream-profile shortlived
  acmehub profile add internal --description "Our own CA" --authority local --lifetime-days 30 --key-type P-256
"""
SET = """\b
Examples:
  acmehub profile set internal --lifetime-days 14
  acmehub profile set short --disable
"""


@profile.command(epilog=ADD)
@add_options(NewProfile)
@hub_verb
async def add(session: Session, **options: Any) -> Result:
    """Add a profile. Clients see it in the directory at once."""
    return _shown(await session.admin.profiles.add(new_of(NewProfile, options), session.acting))


@profile.command(name="list", epilog="\b\nExample:\n  acmehub profile list --json")
@hub_verb
async def list_(session: Session) -> Result:
    """All profiles."""
    found = await session.admin.profiles.list(session.acting)
    rows = [
        (item.name, item.authority or "(policy)", item.upstream_profile or "-", _state(item), item.description)
        for item in found
    ]
    return Result(found, table(("NAME", "AUTHORITY", "UPSTREAM", "STATE", "DESCRIPTION"), rows, "no profiles"))


@profile.command(epilog="\b\nExample:\n  acmehub profile show internal")
@click.argument("name")
@hub_verb
async def show(session: Session, name: str) -> Result:
    """One profile."""
    return _shown(await session.admin.profiles.show(name, session.acting))


@profile.command(name="set", epilog=SET)
@set_options(NewProfile)
@hub_verb
async def set_(session: Session, name: str, **options: Any) -> Result:
    """Change a profile; what is not named stays. Orders that are under way keep what they were opened with."""
    patch = patch_from(ProfilePatch, NewProfile, options)
    return _shown(await session.admin.profiles.set(name, patch, session.acting))


@profile.command(epilog="\b\nExample:\n  acmehub profile remove short")
@click.argument("name")
@hub_verb
async def remove(session: Session, name: str) -> Result:
    """Remove a profile. Orders that named it are finished nonetheless; renewals that name it are refused."""
    await session.admin.profiles.remove(name, session.acting)
    return Result({"removed": name}, [f"removed profile {name}"])


KNOWN = (
    "name",
    "id",
    "description",
    "enabled",
    "authority",
    "upstream_profile",
    "key_types",
    "lifetime_days",
    "created",
    "problem",
)


def _state(item: ProfileView) -> str:
    return item.problem or ("enabled" if item.enabled else "disabled")


def _shown(item: ProfileView) -> Result:
    lines = fields(
        [
            ("profile", item.name),
            ("id", item.id),
            ("description", item.description),
            ("state", "enabled" if item.enabled else "disabled"),
            ("authority", item.authority or "where the policy says"),
            ("asked upstream", f"profile {item.upstream_profile}" if item.upstream_profile else ""),
            ("keys", item.key_types),
            ("lifetime", f"{item.lifetime_days} days" if item.lifetime_days else ""),
            *other_fields(item, *KNOWN),
            ("created", moment(item.created)),
            ("✗", item.problem),
        ]
    )
    return Result(item, lines)

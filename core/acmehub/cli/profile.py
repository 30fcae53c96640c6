"""`acmehub profile`."""

import click
from msgspec import UNSET

from acmehub.admin.profiles import NewProfile, ProfilePatch, ProfileView
from acmehub.cli.session import Result, Session, fields, hub_verb, moment, table

KEY_TYPES = "A kind of certificate key that it takes (RSA, RSA-2048, P-256, P-384 …), others are refused; repeatable."


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
@click.argument("name")
@click.option("--description", required=True, help="Words for the people who choose, or a URL with them.")
@click.option("--authority", default="", help="Where its orders go  [default: where the policy says]")
@click.option("--upstream-profile", help="The profile that is asked for at that authority.")
@click.option("--key-type", "key_types", multiple=True, help=KEY_TYPES)
@click.option("--lifetime-days", type=click.IntRange(1), help="Validity, where the authority grants one (ca_local).")
@click.option("--disabled", is_flag=True, help="Not offered yet.")
@hub_verb
async def add(
    session: Session,
    name: str,
    description: str,
    authority: str,
    upstream_profile: str | None,
    key_types: tuple[str, ...],
    lifetime_days: int | None,
    disabled: bool,
) -> Result:
    """Add a profile. Clients see it in the directory at once."""
    new = NewProfile(
        name=name,
        description=description,
        authority=authority,
        upstream_profile=upstream_profile,
        key_types=key_types,
        lifetime_days=lifetime_days,
        enabled=not disabled,
    )
    return _shown(await session.hub.admin.profiles.add(new, session.acting))


@profile.command(name="list", epilog="\b\nExample:\n  acmehub profile list --json")
@hub_verb
async def list_(session: Session) -> Result:
    """All profiles."""
    found = await session.hub.admin.profiles.list(session.acting)
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
    return _shown(await session.hub.admin.profiles.show(name, session.acting))


@profile.command(name="set", epilog=SET)
@click.argument("name")
@click.option("--name", "new_name", help="Rename it.")
@click.option("--description", help="Words for the people who choose, or a URL with them.")
@click.option("--authority", help="Where its orders go; '' for where the policy says.")
@click.option("--upstream-profile", help="The profile that is asked for at that authority; '' for none.")
@click.option("--key-type", "key_types", multiple=True, help=f"Instead of those before. {KEY_TYPES}")
@click.option("--no-key-types", is_flag=True, help="It takes any kind of key.")
@click.option("--lifetime-days", type=click.IntRange(1), help="Validity, where the authority grants one (ca_local).")
@click.option("--no-lifetime", is_flag=True, help="The authority's own validity.")
@click.option("--enable/--disable", "--enabled/--disabled", "enabled", default=None, help="Whether it is offered.")
@hub_verb
async def set_(
    session: Session,
    name: str,
    new_name: str | None,
    description: str | None,
    authority: str | None,
    upstream_profile: str | None,
    key_types: tuple[str, ...],
    no_key_types: bool,
    lifetime_days: int | None,
    no_lifetime: bool,
    enabled: bool | None,
) -> Result:
    """Change a profile; what is not named stays. Orders that are under way keep what they were opened with."""
    patch = ProfilePatch(
        name=new_name or UNSET,
        description=UNSET if description is None else description,
        authority=UNSET if authority is None else authority,
        upstream_profile=UNSET if upstream_profile is None else upstream_profile or None,
        key_types=key_types if key_types or no_key_types else UNSET,
        lifetime_days=None if no_lifetime else lifetime_days or UNSET,
        enabled=UNSET if enabled is None else enabled,
    )
    return _shown(await session.hub.admin.profiles.set(name, patch, session.acting))


@profile.command(epilog="\b\nExample:\n  acmehub profile remove short")
@click.argument("name")
@hub_verb
async def remove(session: Session, name: str) -> Result:
    """Remove a profile. Orders that named it are finished nonetheless; renewals that name it are refused."""
    await session.hub.admin.profiles.remove(name, session.acting)
    return Result({"removed": name}, [f"removed profile {name}"])


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
            ("created", moment(item.created)),
            ("✗", item.problem),
        ]
    )
    return Result(item, lines)

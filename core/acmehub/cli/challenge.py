"""`acmehub challenge`: managed challenges."""

from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import UNSET, UnsetType

from acmehub.admin.resources.managed_challenges import ManagedChallengePatch, ManagedChallengeView, NewManagedChallenge
from acmehub.cli.shared.remarks import remark
from acmehub.cli.shared.resource_options import add_options, new_of, other_fields, patch_from, set_options
from acmehub.cli.shared.session import Result, Session, fields, hub_verb, moment, table
from acmehub.cli.shared.settings import read_plugin_options, settings_options, shown_settings
from acmehub.models import Propagation, PropagationMode


@click.group()
def challenge() -> None:
    """Managed challenges: for which names the hub answers DNS challenges, and with which credentials."""


KIND = "DNS provider"  # of what plugins offer
ADD = """\b
Examples:
  acmehub challenge add "corp zone" --plugin dns_rfc2136 --match "corp.test, *.corp.test" \\
      --set server=127.0.0.1 --set key_name=hub. --set key_secret=env:TSIG
  acmehub challenge add shop --plugin dns_cloudflare --match "*.shop.example" --set api_token=file:token
"""
SET = """\b
Examples:
  acmehub challenge set "corp zone" --match "corp.test, *.corp.test, *.lab.test"
  acmehub challenge set "corp zone" --propagation delay --propagation-delay 60
"""


def propagation_options(function: Any) -> Any:
    """How long, and by asking whom, to wait for a record."""
    for option in (
        click.option(
            "--propagation-server", "servers", multiple=True, metavar="HOST[:PORT]", help="Ask these instead."
        ),
        click.option("--propagation-delay", "delay", type=float, help="Seconds to wait when nobody can be asked."),
        click.option("--propagation-limit", "limit", type=float, help="Seconds until the order fails for lack of it."),
        click.option(
            "--propagation",
            "mode",
            type=click.Choice([item.value for item in PropagationMode]),
            help="How the hub learns that a record can be seen.",
        ),
    ):
        function = option(function)
    return function


@challenge.command(epilog=ADD)
@add_options(NewManagedChallenge)
@settings_options
@propagation_options
@hub_verb
async def add(
    session: Session, plugin: str, pairs: tuple[str, ...], settings_file: Path | None, **options: Any
) -> Result:
    """Add a managed challenge."""
    service = session.admin.managed_challenges
    new = new_of(
        NewManagedChallenge,
        options,
        plugin=plugin,
        settings=await read_plugin_options(session, KIND, plugin, pairs, settings_file),
        propagation=_propagation(Propagation(), options) or Propagation(),
    )
    added = await service.add(new, session.acting, sources=session.sources)
    remark(added)
    return _shown(added)


@challenge.command(name="list", epilog="\b\nExample:\n  acmehub challenge list --json")
@hub_verb
async def list_(session: Session) -> Result:
    """All managed challenges."""
    found = await session.admin.managed_challenges.list(session.acting)
    rows = [
        (item.name, item.plugin, "enabled" if item.enabled else "disabled", item.match, ", ".join(item.tags))
        for item in found
    ]
    return Result(found, table(("NAME", "PLUGIN", "STATE", "MATCH", "TAGS"), rows, "no managed challenges"))


@challenge.command(epilog='\b\nExample:\n  acmehub challenge show "corp zone"')
@click.argument("name")
@hub_verb
async def show(session: Session, name: str) -> Result:
    """One managed challenge, its secrets left out."""
    return _shown(await session.admin.managed_challenges.show(name, session.acting))


@challenge.command(name="set", epilog=SET)
@set_options(NewManagedChallenge)
@settings_options
@propagation_options
@hub_verb
async def set_(
    session: Session, name: str, pairs: tuple[str, ...], settings_file: Path | None, **options: Any
) -> Result:
    """Change a managed challenge; what is not named stays. Orders under way take it at their next step."""
    service = session.admin.managed_challenges
    before = await service.show(name, session.acting)
    kind = options["plugin"] or before.plugin
    settings = await read_plugin_options(session, KIND, kind, pairs, settings_file) if pairs or settings_file else {}
    patch = patch_from(
        ManagedChallengePatch,
        NewManagedChallenge,
        options,
        settings=settings or UNSET,
        propagation=_propagation(before.propagation, options),
    )
    changed = await service.set(name, patch, session.acting, sources=session.sources)
    remark(changed)
    return _shown(changed)


@challenge.command(epilog='\b\nExample:\n  acmehub challenge remove "corp zone"')
@click.argument("name")
@hub_verb
async def remove(session: Session, name: str) -> Result:
    """Remove a managed challenge that has no record in DNS."""
    await session.admin.managed_challenges.remove(name, session.acting)
    return Result({"removed": name}, [f"removed managed challenge {name}"])


def _propagation(before: Propagation, options: dict[str, Any]) -> Propagation | UnsetType:
    names = Propagation.__struct_fields__
    given = {name: options[name] for name in names if options[name] not in (None, ())}
    if "mode" in given:
        given["mode"] = PropagationMode(given["mode"])
    return msgspec.structs.replace(before, **given) if given else UNSET


KNOWN = (
    "name",
    "id",
    "plugin",
    "match",
    "settings",
    "secrets",
    "tags",
    "cname_zones",
    "zone",
    "resolvers",
    "propagation",
    "enabled",
    "created",
    "problem",
)


def _shown(item: ManagedChallengeView) -> Result:
    waits = item.propagation
    lines = fields(
        [
            ("managed challenge", item.name),
            ("id", item.id),
            ("plugin", item.plugin),
            ("match", item.match),
            ("state", "enabled" if item.enabled else "disabled"),
            ("tags", item.tags),
            ("CNAME zones", item.cname_zones),
            ("zone", item.zone),
            ("resolvers", item.resolvers),
            ("propagation", f"{waits.mode}, limit {waits.limit:g} s, delay {waits.delay:g} s"),
            ("ask", waits.servers),
            *other_fields(item, *KNOWN),
            ("created", moment(item.created)),
            *shown_settings(item),
            ("✗", item.problem),
        ]
    )
    return Result(item, lines)

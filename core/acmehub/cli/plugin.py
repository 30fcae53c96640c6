"""`acmehub plugin`."""

from collections.abc import Iterable

import click

from acmehub.cli.shared.session import Result, Session, hub_verb, table


@click.group()
def plugin() -> None:
    """Plugins: what is installed, and what of it is in use."""


@plugin.command(name="list", epilog="\b\nExample:\n  acmehub plugin list --json")
@hub_verb
async def list_(session: Session) -> Result:
    """All installed plugins; one is active when the configuration or a stored resource names it."""
    await session.hub.load_named_plugins()
    installed = session.hub.registry.installed()
    rows = [
        (item.name, item.state, f"{item.distribution} {item.version}", _described(item.offers, item.reason))
        for item in installed
    ]
    return Result(list(installed), table(("NAME", "STATE", "FROM", "OFFERS"), rows, "no plugins"))


def _described(offers: Iterable[str], reason: str) -> str:
    return reason or ", ".join(offers)

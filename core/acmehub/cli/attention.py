"""`acmehub attention`."""

import click

from acmehub.admin.operations.attention.item import AttentionItem, Severity
from acmehub.cli.shared.exit_status import Exit
from acmehub.cli.shared.session import Result, Session, fields, hub_verb, moment

EPILOG = """\b
Examples:
  acmehub attention
  acmehub attention --json | jq '.[] | select(.severity == "page")'
"""


@click.command(epilog=EPILOG)
@hub_verb
async def attention(session: Session) -> Result:
    """What needs you now: what fails, since when, in whose words, what to do; the worst first.

    Exit status 7 when something of severity page is there, else 0: for cron and monitoring.
    """
    items = await session.admin.attention.list(session.acting)
    urgent = any(item.severity is Severity.PAGE for item in items)
    lines = [line for item in items for line in _lines(item)] or ["nothing needs you"]
    return Result(list(items), lines, Exit.URGENT if urgent else Exit.DONE)


def _lines(item: AttentionItem) -> list[str]:
    said = f"{item.whose}: {item.words}" if item.whose and item.words else item.words
    known = fields(
        [
            ("since", moment(item.since) if item.since is not None else ""),
            ("said", said),
            ("concerns", item.principals),
            ("to do", item.to_do),
        ]
    )
    return [f"{item.severity.value.upper()}  {item.what}", *(f"  {line}" for line in known), ""]

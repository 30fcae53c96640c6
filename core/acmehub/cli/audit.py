"""`acmehub audit`."""

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import click

from acmehub.cli.shared.exit_status import Failed
from acmehub.cli.shared.session import Result, Session, fields, hub_verb, table
from acmehub.cli.shared.times import PAST
from acmehub.models import AuditFilter, AuditRecord
from acmehub.models.text import json_line

LIST = """\b
Examples:
  acmehub audit list --refused --since 24h
  acmehub audit list --object "token Firewall 01"
  acmehub audit list --action token --actor cli:alice
"""
EXPORT = """\b
Examples:
  acmehub audit export audit.jsonl --since 2026-11-01
  acmehub audit export --action order.refused | jq .detail
"""

LAST_ENTRY = 2**63 - 1  # what a database can count to


@click.group()
def audit() -> None:
    """Who did what to which object, and what was refused to whom."""


def filters(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which entries are meant, as `filter`."""
    for option in (
        click.option("--refused", is_flag=True, help="Only what was refused, or failed."),
        click.option("--until", type=PAST, help="Only entries before then."),
        click.option("--since", type=PAST, help="Only entries from then on: 12h ago, 30d, 2027-01-31, …"),
        click.option("--object", default="", help="Only entries whose object contains this text."),
        click.option("--action", default="", help="Only this action (order.cancel), or all of a noun (order)."),
        click.option("--actor", default="", help="Only entries whose actor contains this text."),
    ):
        verb = option(verb)
    return verb


@audit.command(name="list", epilog=LIST)
@filters
@click.option("--before", type=click.IntRange(1, LAST_ENTRY), help="Go on behind this entry (its id).")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@hub_verb
async def list_(session: Session, before: int | None, limit: int, **given: Any) -> Result:
    """Entries, newest first."""
    found = await session.admin.audit.list(session.acting, filter=AuditFilter(**given), before=before, limit=limit)
    rows = [
        (item.id, second(item.at), item.actor, item.action, item.object, "" if item.allowed else "refused", item.detail)
        for item in found
    ]
    heads = ("ENTRY", "TIME (UTC)", "ACTOR", "ACTION", "OBJECT", "", "DETAIL")
    more = [f"older ones: the same with --before {found[-1].id}"] if len(found) == limit else []
    return Result(list(found), [*table(heads, rows, "no entries"), *more])


@audit.command(epilog="\b\nExample:\n  acmehub audit show 1042")
@click.argument("entry", metavar="ENTRY", type=click.IntRange(1, LAST_ENTRY))
@hub_verb
async def show(session: Session, entry: int) -> Result:
    """One entry."""
    item = await session.admin.audit.show(entry, session.acting)
    lines = fields(
        [
            ("entry", item.id),
            ("time", item.at.isoformat(timespec="milliseconds")),
            ("actor", item.actor),
            ("action", item.action),
            ("object", item.object),
            ("allowed", item.allowed),
            ("detail", item.detail),
        ]
    )
    return Result(item, lines)


@audit.command(epilog=EXPORT)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), default="-")
@filters
@hub_verb
async def export(session: Session, file: Path, **given: Any) -> Result:
    """All entries as JSON Lines, oldest first, to FILE (mode 0600; one that exists is replaced) or standard output."""
    entries = await session.admin.audit.export(session.acting, filter=AuditFilter(**given))
    if str(file) == "-":
        await _write(entries, sys.stdout)
        return Result(None)
    if not file.name:
        raise Failed("FILE is empty: name a file, or - for standard output")
    new = file.with_name(f".{file.name}.{os.getpid()}")
    with ExitStack() as stack:
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise Failed(f"{file}: cannot be written: {error.strerror}") from None
        stack.callback(new.unlink, missing_ok=True)
        with os.fdopen(descriptor, "w", encoding="utf-8") as lines:
            count = await _write(entries, lines)
            lines.flush()
            os.fsync(lines.fileno())
        new.replace(file)
    return Result({"file": str(file), "entries": count}, [f"{count} entries are in {file}"])


async def _write(entries: AsyncIterator[AuditRecord], to: IO[str]) -> int:
    count = 0
    async for entry in entries:
        to.write(json_line(entry) + "\n")
        count += 1
    to.flush()
    return count


def second(at: datetime) -> str:
    """A time as the audit shows it: UTC, whole seconds."""
    return at.strftime("%Y-%m-%d %H:%M:%S")

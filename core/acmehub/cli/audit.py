"""`acmehub audit`."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NoReturn

import click

from acmehub.admin.operations.audit import AuditNews, AuditView
from acmehub.cli.shared.choices import one_of
from acmehub.cli.shared.exit_status import Exit, Failed
from acmehub.cli.shared.progress import CountLine
from acmehub.cli.shared.session import Result, Session, fields, hub_verb, table
from acmehub.cli.shared.times import PAST
from acmehub.models import ActorKind, AuditFilter, AuditRecord, Seal, Via
from acmehub.models.text import escape_controls, json_line

LIST = """\b
Examples:
  acmehub audit list --refused --since 24h
  acmehub audit list --object "token Firewall 01"
  acmehub audit list --via acme --address 192.0.2.7
  acmehub audit list --action token --actor cli:alice
  acmehub audit list --follow --json
"""
EXPORT = """\b
Examples:
  acmehub audit export audit.jsonl
  acmehub audit export november.jsonl --since 2026-11-01 --until 2026-12-01
  acmehub audit export --action order.refused | jq .detail
"""
VERIFY = """\b
Examples:
  acmehub audit verify
  acmehub audit verify --mac 6f1c... (of a line of the log: its end is there, too)
"""

LAST_ENTRY = 2**63 - 1  # what a database can count to
POLL_SECONDS = 1.0


@click.group()
def audit() -> None:
    """Who did what to which object, what was refused to whom, and whether the record is as it was sealed."""


def filters(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which entries are meant, as `filter`."""
    for option in (
        click.option("--refused", is_flag=True, help="Only what was refused, or failed."),
        click.option("--until", type=PAST, help="Only entries before then."),
        click.option("--since", type=PAST, help="Only entries from then on: 12h ago, 30d, 2027-01-31, …"),
        click.option("--request", default="", help="Only entries of the request with this id."),
        click.option("--credential", default="", help="Only entries of this API token or session (its id)."),
        click.option("--address", default="", help="Only what came from this address."),
        one_of("--via", Via, "Only what came this way."),
        click.option("--object", default="", help="Only entries whose object contains this text, or has this id."),
        click.option("--action", default="", help="Only this action (order.cancel), or all of a noun (order)."),
        one_of("--actor-kind", ActorKind, "Only what such actors did."),
        click.option("--actor", default="", help="Only entries whose actor contains this text, or has this id."),
    ):
        verb = option(verb)
    return verb


@audit.command(name="list", epilog=LIST)
@filters
@click.option("--before", type=click.IntRange(1, LAST_ENTRY), help="Go on behind this entry (its id).")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@click.option("--follow", is_flag=True, help="Go on with what comes, until Ctrl-C; JSON Lines with --json.")
@hub_verb
async def list_(session: Session, before: int | None, limit: int, follow: bool, **given: Any) -> Result:
    """Entries, newest first; with --follow oldest first, and new ones as they come."""
    wanted, entries = AuditFilter(**given), session.admin.audit
    if follow:
        if before is not None:
            raise click.UsageError("--follow goes on with new entries: it takes no --before")
        await _follow(session, wanted, limit)
    found = await entries.list(session.acting, filter=wanted, before=before, limit=limit)
    more = [f"older ones: the same with --before {found[-1].id}"] if len(found) == limit else []
    return Result(list(found), [*table(HEADS, [_row(item) for item in found], "no entries"), *more])


HEADS = ("ENTRY", "TIME (UTC)", "ACTOR", "VIA", "ACTION", "OBJECT", "", "DETAIL")


def _row(item: AuditView) -> tuple[object, ...]:
    return (
        item.id,
        second(item.at),
        item.actor,
        f"{item.via or ''} {item.address}".strip(),
        item.action,
        item.object,
        "" if item.allowed else "refused",
        "; ".join(filter(None, (item.detail, item.difference))),
    )


async def _follow(session: Session, wanted: AuditFilter, limit: int) -> NoReturn:
    """The latest entries, then what comes."""
    as_json = click.get_current_context().params["as_json"]
    entries = session.admin.audit
    latest = await entries.list(session.acting, filter=wanted, limit=limit)
    news = AuditNews(tuple(reversed(latest)), max((item.id for item in latest), default=0))
    while True:
        for item in news.entries:
            click.echo(
                json_line(item) if as_json else "  ".join(escape_controls(str(cell)) for cell in _row(item) if cell)
            )
        sys.stdout.flush()
        if not news.entries:
            await asyncio.sleep(POLL_SECONDS)
        news = await entries.follow(session.acting, after=news.last, filter=wanted)


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
            ("actor id", item.actor_id),
            ("actor kind", item.actor_kind),
            ("via", item.via),
            ("address", item.address),
            ("credential", item.credential),
            ("request", item.request),
            ("action", item.action),
            ("object", item.object),
            ("object kind", item.object_kind),
            ("object id", item.object_id),
            ("object name", item.object_name),
            ("allowed", item.allowed),
            ("difference", item.difference),
            ("detail", item.detail),
        ]
    )
    return Result(item, lines)


@audit.command(epilog=VERIFY)
@click.option("--mac", default="", help="A MAC that was noted elsewhere: the chain must have it.")
@hub_verb
async def verify(session: Session, mac: str) -> Result:
    """Check that no sealed entry was altered, deleted or inserted; exit status 1 names the first range that was."""
    progress = CountLine("entries")
    try:
        done = await session.admin.audit.verify(session.acting, mac=mac, progress=progress)
    finally:
        progress.end()
    lines = [f"{done.entries} entries under {done.seals} seals are as they were sealed"]
    if done.pruned:
        lines.append(f"{done.pruned} ranges were pruned; their seals stay")
    if done.mac:
        lines.append(f"newest seal: {done.seals}, {second(done.sealed_at)}, mac {done.mac}" if done.sealed_at else "")
    if done.unsealed and done.unsealed_since is not None:
        lines.append(f"{done.unsealed} entries are not sealed yet, the first of {second(done.unsealed_since)}")
    if done.flaw is None:
        return Result(done, lines)
    flaw = done.flaw
    lines[0] = f"✗ seal {flaw.seal}, entries {flaw.first} to {flaw.last}: {flaw.what}"
    if done.seals:
        lines.insert(1, f"what stands before is as it was sealed: {done.entries} entries, {done.seals} seals")
    return Result(done, lines, Exit.FAILED)


@audit.command(epilog=EXPORT)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), default="-")
@filters
@hub_verb
async def export(session: Session, file: Path, **given: Any) -> Result:
    """All entries as JSON Lines, oldest first, to FILE (mode 0600; one that exists is replaced) or standard output.

    Without a filter their seals follow, so that docs/audit.md's script can verify the file.
    """
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


async def _write(items: AsyncIterator[AuditRecord | Seal], to: IO[str]) -> int:
    """How many entries were written."""
    count = 0
    async for item in items:
        if isinstance(item, Seal):
            proof = {name: getattr(item, name) for name in ("first", "last", "entries", "at", "key")}
            pruned = None if item.pruned is None else item.pruned.hex()
            line = json_line({"seal": item.id, **proof, "mac": item.mac.hex(), "pruned": pruned})
        else:
            count += 1
            line = json_line(item)
        to.write(line + "\n")
    to.flush()
    return count


def second(at: datetime) -> str:
    """A time as the audit shows it: UTC, whole seconds."""
    return at.strftime("%Y-%m-%d %H:%M:%S")

"""`acmehub apply` and `acmehub export`: resources in a file."""

import os
import sys
from pathlib import Path

import click
import msgspec

from acmehub.admin.resources.document import name_of, read_document
from acmehub.admin.resources.file import Applied, PlannedChange, Step
from acmehub.admin.resources.with_plugins import Sources
from acmehub.cli.shared.exit_status import Exit, Failed
from acmehub.cli.shared.remarks import remark, remark_authorities
from acmehub.cli.shared.session import Result, Session, hub_verb
from acmehub.models.text import escape_encoded

APPLY = """\b
Examples:
  acmehub apply --dry-run resources.toml
  acmehub apply resources.toml
  sops -d resources.enc.toml | acmehub apply -
"""
_SIGNS = {Step.CREATE: "+", Step.CHANGE: "~", Step.UNCHANGED: " "}


@click.command(epilog=APPLY)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@click.option("--owner", default="", help="Who manages what it changes  [default: the name of the file]")
@click.option("--take-over", is_flag=True, help="Change what another owner has set, too.")
@hub_verb
async def apply(session: Session, file: Path, dry_run: bool, owner: str, take_over: bool) -> Result:
    """Bring resources to what a TOML file declares, by name; a second time changes nothing.

    Secrets may be env:NAME or file:PATH, relative to the file. Resources that it does not name stay as they are. What
    it changes bears its name as `managed_by`.
    """
    document = read_document(_text(file), "standard input" if str(file) == "-" else str(file))
    sources = Sources(os.environ, Path.cwd() if str(file) == "-" else file.parent)
    before = await session.admin.authorities.list(session.acting)
    applied = await session.admin.resources_file.apply(
        document,
        session.acting,
        sources=sources,
        dry_run=dry_run,
        owner=owner or ("" if str(file) == "-" else file.name),
        take_over=take_over,
    )
    changed = {(item.kind, item.name) for item in applied.changes if item.step is not Step.UNCHANGED}
    remark(*(new for kind, new in document.entries() if (kind, name_of(new)) in changed))
    await remark_authorities(session, before, *(name for kind, name in changed if kind == "authority"))
    return Result(_data(applied, dry_run), _lines(applied, dry_run))


@click.command(epilog="\b\nExample:\n  acmehub export > resources.toml")
@hub_verb
async def export(session: Session) -> Result:
    """Print the resources as a file for `acmehub apply`, with secrets left out."""
    text = await session.admin.resources_file.export(session.acting)
    return Result({"toml": text}, escape_encoded(text).removesuffix("\n").split("\n"))


def _text(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    except UnicodeDecodeError:
        raise Failed(f"{file}: it is not UTF-8 text", Exit.USAGE) from None
    except OSError as error:
        raise Failed(f"{file}: {error.strerror}", Exit.USAGE) from None


def _data(applied: Applied, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "changes": applied.changes,
        "tokens": [{**msgspec.structs.asdict(item.token), "secret": item.secret.reveal()} for item in applied.tokens],
    }


def _lines(applied: Applied, dry_run: bool) -> list[str]:
    lines = [_line(item) for item in applied.changes if item.step is not Step.UNCHANGED]
    unchanged = len(applied.changes) - len(lines)
    done = "would be changed" if dry_run else "changed"
    lines.append(f"{len(lines)} {done}, {unchanged} as they should be")
    secrets = [
        f"API secret of token {item.token.title!r} (shown once): {item.secret.reveal()}" for item in applied.tokens
    ]
    return [*lines, *secrets]


def _line(item: PlannedChange) -> str:
    fields = f": {', '.join(item.fields)}" if item.fields else ""
    other = f" (managed by {item.managed_by!r})" if item.managed_by else ""
    return f"{_SIGNS[item.step]} {item.kind.replace('_', ' ')} {item.name!r}{fields}{other}"

"""`acmehub token`."""

import csv
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

import click
import msgspec
from msgspec import UNSET, UnsetType

from acmehub.acme.server.urls import Urls
from acmehub.admin.resources.principals import NewPrincipal
from acmehub.admin.resources.tokens import NewToken, TokenPatch, TokenView
from acmehub.cli.eab import commands, example_name
from acmehub.cli.shared.remarks import remark
from acmehub.cli.shared.resource_options import add_options, new_of, other_fields, patch_from, set_options
from acmehub.cli.shared.session import Result, Session, fields, hub_verb, moment, table
from acmehub.cli.shared.terminal import say
from acmehub.cli.snippets import Values, snippets
from acmehub.models import Role, RoleAssignment, TokenLimits


@click.group()
def token() -> None:
    """API tokens: the credentials of principals, which for ACME clients are shown as EAB."""


class LimitNumber(click.ParamType[tuple[str, int]]):
    """A limit of its own: `new_orders=5000`; 0 is none."""

    name = "NAME=NUMBER"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        name, _, number = value.partition("=")
        if name not in TokenLimits.__struct_fields__ or not (number.isascii() and number.isdecimal()):
            known = ", ".join(TokenLimits.__struct_fields__)
            self.fail(f"{value!r} is not like new_orders=5000; limits: {known}", param, ctx)
        return name, int(number)


limit_option = click.option(
    "--limit",
    type=LimitNumber(),
    multiple=True,
    help="A limit of its own instead of the one in [limits]: new_orders=5000; 0: no limit.",
)

ADD = """\b
Examples:
  acmehub token add "Firewall 01" --names "*.corp.test"
  acmehub token add "Printers" --principal printers --network 10.1.0.0/16 --use-limit 20 --expires 90d
  acmehub token add "NAS" --names nas.corp.test --secret-directory --pin
  acmehub token add "alice's laptop" --principal alice --scope operator --out hub.token
"""
COLUMNS = ("title", "kid", "hmac_key", "directory", "expires")
EAB = """\b
Examples:
  acmehub token eab "Firewall 01"
  acmehub token eab "Firewall 01" --client mod_md --client uacme
  acmehub token eab "Firewall 01" --json
  acmehub token eab --principal printers --csv printers.csv
"""
SET = """\b
Examples:
  acmehub token set "Firewall 01" --names "*.corp.test, corp.test"
  acmehub token set "Firewall 01" --disable
  acmehub token set "Firewall 01" --revoke
  acmehub token set "NAS" --secret-directory
  acmehub token set "Cluster" --limit new_orders=5000 --limit names=50000
"""


@token.command(epilog=ADD)
@add_options(NewToken)
@limit_option
@click.option("--principal", help="Whose token it is  [default: an application of the same name, made when missing]")
@click.option("--pin", is_flag=True, help="Only the first account key may be bound; the same as --use-limit 1.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the API token to this new file, which only its owner can read, and do not show the secret.",
)
@hub_verb
async def add(
    session: Session,
    principal: str | None,
    pin: bool,
    limit: tuple[tuple[str, int], ...],
    out: Path | None,
    **options: Any,
) -> Result:
    """Add a token. Its API secret is shown now and never again; EAB credentials by `token eab`.

    As `Authorization: Bearer acmehub_ID_SECRET` it opens the API to a token whose scope has an operator's role.
    """
    if pin and options["use_limit"] not in (None, 1):
        raise click.UsageError("--pin is a limit of one use: it cannot stand beside another --use-limit")
    options["use_limit"] = 1 if pin else options["use_limit"]
    title: str = options["title"]
    new = new_of(NewToken, options, principal=principal or title, limits=TokenLimits(**dict(limit)))
    with ExitStack() as stack:
        file = stack.enter_context(_private_file(out)) if out is not None else None  # before the secret is made
        if principal is None:
            await _make_application(session, title, new.scope)
        added = await session.admin.tokens.add(new, session.acting)
        secret = added.secret.reveal()
        if file is not None:
            file.write(f"{bearer(added.token.id, secret)}\n")
    remark(added.token)
    shown = await _shown(session, added.token)
    if out is None:
        data, told = {"secret": secret}, f"API secret (shown once): {secret}"
    else:
        data, told = {"file": str(out)}, f"its API token is in {out}: acmehub --hub URL --token-file {out} …"
    lines = [*shown.lines, told]
    if Role.MANAGED_ACME_CONSUMER in new.scope:
        lines.append(f"for an ACME client: acmehub token eab {title!r}")
    return Result({**shown.data, **data}, lines)


def bearer(id: str, secret: str) -> str:
    """A token as the API takes it."""
    return f"acmehub_{id}_{secret}"


async def _make_application(session: Session, name: str, roles: tuple[Role, ...]) -> None:
    """The application that a token without `--principal` belongs to."""
    if not any(item.name == name for item in await session.admin.principals.list(session.acting)):
        new = NewPrincipal(name=name, roles=tuple(RoleAssignment(role) for role in roles))
        await session.admin.principals.add(new, session.acting)


@token.command(name="list", epilog="\b\nExample:\n  acmehub token list --principal firewall-01")
@click.option("--principal", default="", help="Only those of this principal.")
@hub_verb
async def list_(session: Session, principal: str) -> Result:
    """All tokens."""
    found = await session.admin.tokens.list(session.acting, principal=principal)
    rows = [(item.title, item.principal, item.state, _uses(item), item.names or "-", item.id) for item in found]
    return Result(found, table(("TITLE", "PRINCIPAL", "STATE", "USES", "NAMES", "ID"), rows, "no tokens"))


@token.command(epilog='\b\nExample:\n  acmehub token show "Firewall 01"')
@click.argument("title")
@hub_verb
async def show(session: Session, title: str) -> Result:
    """One token, without its secrets but the URL of its secret directory, which is audited."""
    return await _shown(session, await session.admin.tokens.show(title, session.acting))


@token.command(name="set", epilog=SET)
@set_options(NewToken)
@limit_option
@click.option("--no-limits", is_flag=True, help="The hub's limits instead of its own.")
@click.option("--revoke", "end", is_flag=True, help="End it and its accounts, for good.")
@hub_verb
async def set_(
    session: Session, title: str, end: bool, limit: tuple[tuple[str, int], ...], no_limits: bool, **options: Any
) -> Result:
    """Change a token; what is not named stays. A disabled or revoked one is refused at its next request."""
    patch = patch_from(
        TokenPatch,
        NewToken,
        options,
        new_directory=options["secret_directory"] or UNSET,
        limits=await _limits(session, title, dict(limit), clear=no_limits),
    )
    changed = await session.admin.tokens.set(title, patch, session.acting) if patch.given() or not end else None
    if end:
        changed = await session.admin.tokens.revoke(changed.id if changed else title, session.acting)
    assert changed is not None
    if changed.revoked is None:
        remark(changed)
    return await _shown(session, changed)


async def _limits(session: Session, title: str, given: dict[str, int], *, clear: bool) -> TokenLimits | UnsetType:
    """The token's limits with those that are given laid over them."""
    if not given and not clear:
        return UNSET
    before = TokenLimits() if clear else (await session.admin.tokens.show(title, session.acting)).limits
    return msgspec.structs.replace(before, **given)


@token.command(epilog='\b\nExample:\n  acmehub token revoke "Firewall 01"')
@click.argument("title")
@hub_verb
async def revoke(session: Session, title: str) -> Result:
    """End a token and its accounts, for good; the same as `token set --revoke`."""
    changed = await session.admin.tokens.revoke(title, session.acting)
    return Result(changed, _lines(changed))


@token.command(epilog='\b\nExample:\n  acmehub token remove "Firewall 01"')
@click.argument("title")
@hub_verb
async def remove(session: Session, title: str) -> Result:
    """Remove a token that has bound no account; one that has can be revoked."""
    await session.admin.tokens.remove(title, session.acting)
    return Result({"removed": title}, [f"removed token {title}"])


@token.command(epilog=EAB)
@click.argument("title", metavar="[TITLE]", default="")
@click.option("--client", "clients", multiple=True, metavar="NAME", help="Only for this client: see the last line.")
@click.option("--principal", default="", help="All tokens of this principal that can bind an account now.")
@click.option(
    "--csv",
    "csv_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write those of --principal to this new file, which only its owner can read.",
)
@hub_verb
async def eab(session: Session, title: str, clients: tuple[str, ...], principal: str, csv_file: Path | None) -> Result:
    """Show a token as EAB credentials, and what to paste into ACME clients; or write those of a principal to a file.

    Each token that is shown has an entry in the audit.
    """
    if bool(principal) != (csv_file is not None) or bool(principal) == bool(title) or (principal and clients):
        raise click.UsageError("either TITLE, or --principal with --csv FILE")
    if csv_file is not None:
        return await _eab_file(session, principal, csv_file)
    urls = Urls(await session.public_url())
    found = await session.admin.tokens.eab(title, session.acting)
    shown = await session.admin.tokens.show(found.kid, session.acting)
    directory = urls.directory
    key = found.hmac_key.reveal()
    data = {"kid": found.kid, "hmac_key": key, "directory": directory}
    if found.directory_key is not None:
        data["secret_directory"] = urls.secret_directory(found.directory_key.reveal())
    secret = data.get("secret_directory")
    lines = fields(
        [
            ("key id", found.kid),
            ("HMAC key", key),
            ("directory", directory),
            ("secret directory", secret),
            ("trust", session.root_file),
        ]
    )
    values = Values(
        directory=directory,
        kid=found.kid,
        hmac_key=key,
        name=example_name(shown.names),
        ca=str(session.root_file or ""),
        secret_directory=secret or "",
    )
    return Result(data, [*lines, *_pasted(values, clients)])


async def _eab_file(session: Session, principal: str, path: Path) -> Result:
    """The file is made first, so that nothing is revealed that cannot be written."""
    directory = Urls(await session.public_url()).directory
    with _private_file(path) as file:
        found = await session.admin.tokens.eab_of(principal, session.acting)
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for item in found.shown:
            expires = item.expires.isoformat() if item.expires else ""
            rows.writerow((item.title, item.kid, item.hmac_key.reveal(), directory, expires))
    for name, why in found.left_out.items():
        say(f"acmehub: left out: {name}: {why}", err=True)
    written = [{"title": item.title, "kid": item.kid} for item in found.shown]
    data = {"file": str(path), "tokens": written, "left_out": found.left_out}
    return Result(data, [f"{len(written)} tokens written to {path}"])


@contextmanager
def _private_file(path: Path) -> Iterator[TextIO]:
    """A new file that only its owner can read from its first byte on; `FileExistsError`. It is on the disk in the end,
    or, after an error, not there."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    done = False
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        done = True
    finally:
        if not done:
            path.unlink(missing_ok=True)


def _pasted(values: Values, clients: tuple[str, ...]) -> list[str]:
    try:
        return commands(values, clients)
    except KeyError as unknown:
        known = ", ".join(item.client for item in snippets())
        raise click.UsageError(f"no client {unknown.args[0]!r}; there are: {known}") from None


async def _shown(session: Session, item: TokenView) -> Result:
    """A token, with the URL of its secret directory for those who may see it."""
    if not item.secret_directory:
        return Result(msgspec.structs.asdict(item), _lines(item))
    key = (await session.admin.tokens.directory(item.id, session.acting)).directory_key
    assert key is not None
    url = Urls(await session.public_url()).secret_directory(key.reveal())
    data = {**msgspec.structs.asdict(item), "secret_directory_url": url}
    return Result(data, _lines(item, url))


def _limits_text(limits: TokenLimits) -> str:
    given = msgspec.structs.asdict(limits).items()
    return ", ".join(f"{name} {number or 'unlimited'}" for name, number in given if number is not None)


def _uses(item: TokenView) -> str:
    return f"{item.uses} of {item.use_limit}" if item.use_limit else str(item.uses)


KNOWN = (
    "title",
    "id",
    "principal",
    "state",
    "scope",
    "names",
    "authorization",
    "networks",
    "use_limit",
    "uses",
    "enabled",
    "secret_directory",
    "limits",
    "expires",
    "revoked",
    "created",
)


def _lines(item: TokenView, directory: str = "") -> list[str]:
    return fields(
        [
            ("token", item.title),
            ("id", item.id),
            ("principal", item.principal),
            ("state", item.state),
            ("scope", item.scope),
            ("names", item.names),
            ("authorization", item.authorization),
            ("networks", item.networks),
            ("accounts bound", _uses(item)),
            ("secret directory", directory or ("yes" if item.secret_directory else "")),
            ("limits", _limits_text(item.limits)),
            ("expires", moment(item.expires) if item.expires else ""),
            ("revoked", moment(item.revoked) if item.revoked else ""),
            *other_fields(item, *KNOWN),
            ("created", moment(item.created)),
        ]
    )

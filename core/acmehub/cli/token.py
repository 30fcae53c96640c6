"""`acmehub token`."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import msgspec
from msgspec import UNSET

from acmehub.acme.server.urls import Urls
from acmehub.admin.errors import NotFound
from acmehub.admin.principals import NewPrincipal
from acmehub.admin.tokens import NewToken, TokenPatch, TokenView
from acmehub.cli.eab import commands, example_name
from acmehub.cli.session import Result, Session, fields, hub_verb, moment, table
from acmehub.cli.snippets import Values, snippets
from acmehub.models import AuthorizationMode, Role, RoleAssignment
from acmehub.ports.settings import Secret
from acmehub.serving.data_dir import ROOT_FILE

ROLES = click.Choice([item.value for item in Role])
MODES = click.Choice([item.value for item in AuthorizationMode])


class Moment(click.ParamType[datetime]):
    """A time: `30d` from now, a date (its begin, UTC), or RFC 3339."""

    name = "WHEN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """See `click.ParamType.convert`."""
        if isinstance(value, datetime):
            return value
        if days := re.fullmatch(r"(\d{1,5})d", value):
            return datetime.now(UTC).replace(microsecond=0) + timedelta(days=int(days[1]))
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not like 30d, 2027-01-31 or 2027-01-31T12:00:00Z", param, ctx)
        return at if at.tzinfo else at.replace(tzinfo=UTC)


@click.group()
def token() -> None:
    """API tokens: the credentials of principals, which for ACME clients are shown as EAB."""


ADD = """\b
Examples:
  acmehub token add "Firewall 01" --names "*.corp.test"
  acmehub token add "Printers" --principal printers --network 10.1.0.0/16 --use-limit 20 --expires 90d
  acmehub token add "NAS" --names nas.corp.test --secret-directory --pin
"""
EAB = """\b
Examples:
  acmehub token eab "Firewall 01"
  acmehub token eab "Firewall 01" --client mod_md --client uacme
  acmehub token eab "Firewall 01" --json
"""
SET = """\b
Examples:
  acmehub token set "Firewall 01" --names "*.corp.test, corp.test"
  acmehub token set "Firewall 01" --disable
  acmehub token set "Firewall 01" --revoke
  acmehub token set "NAS" --secret-directory
"""


@token.command(epilog=ADD)
@click.argument("title")
@click.option("--principal", help="Whose token it is  [default: an application of the same name, made when missing]")
@click.option("--scope", "scope", multiple=True, type=ROLES, help="What it is for  [default: managed_acme_consumer]")
@click.option("--names", default="", help="Domain match rule of the names it may have; networks, too.")
@click.option("--authorization", type=MODES, default="auto", show_default=True, help="How authorizations turn valid.")
@click.option("--network", "networks", multiple=True, metavar="CIDR", help="Accounts may be bound from here only.")
@click.option("--use-limit", type=click.IntRange(1), help="How many accounts it may bind.")
@click.option("--expires", type=Moment(), help="Until when it may bind accounts: 90d, 2027-01-31, …")
@click.option("--secret-directory", is_flag=True, help="Make a directory URL for clients that cannot do EAB.")
@click.option("--pin", is_flag=True, help="Only the first account key may be bound; the same as --use-limit 1.")
@click.option("--disabled", is_flag=True, help="Refused until it is enabled.")
@hub_verb
async def add(
    session: Session,
    title: str,
    principal: str | None,
    scope: tuple[str, ...],
    authorization: str,
    secret_directory: bool,
    pin: bool,
    disabled: bool,
    **limits: Any,
) -> Result:
    """Add a token. Its API secret is shown now and never again; EAB credentials by `token eab`."""
    roles = tuple(Role(item) for item in scope) or (Role.MANAGED_ACME_CONSUMER,)
    if pin and limits["use_limit"] not in (None, 1):
        raise click.UsageError("--pin is a limit of one use: it cannot stand beside another --use-limit")
    limits["use_limit"] = 1 if pin else limits["use_limit"]
    if principal is None:
        await _make_application(session, title, roles)
    new = NewToken(
        title=title,
        principal=principal or title,
        scope=roles,
        authorization=AuthorizationMode(authorization),
        enabled=not disabled,
        secret_directory=secret_directory,
        **limits,
    )
    added = await session.hub.admin.tokens.add(new, session.acting)
    secret = added.secret.reveal()
    shown = await _shown(session, added.token)
    lines = [*shown.lines, f"API secret (shown once): {secret}"]
    if Role.MANAGED_ACME_CONSUMER in roles:
        lines.append(f"for an ACME client: acmehub token eab {title!r}")
    return Result({**shown.data, "secret": secret}, lines)


async def _make_application(session: Session, name: str, roles: tuple[Role, ...]) -> None:
    """The application that a token without `--principal` belongs to."""
    try:
        await session.hub.admin.principals.show(name, session.acting)
    except NotFound:
        new = NewPrincipal(name=name, roles=tuple(RoleAssignment(role) for role in roles))
        await session.hub.admin.principals.add(new, session.acting)


@token.command(name="list", epilog="\b\nExample:\n  acmehub token list --principal firewall-01")
@click.option("--principal", default="", help="Only those of this principal.")
@hub_verb
async def list_(session: Session, principal: str) -> Result:
    """All tokens."""
    found = await session.hub.admin.tokens.list(session.acting, principal=principal)
    rows = [(item.title, item.principal, item.state, _uses(item), item.names or "-", item.id) for item in found]
    return Result(found, table(("TITLE", "PRINCIPAL", "STATE", "USES", "NAMES", "ID"), rows, "no tokens"))


@token.command(epilog='\b\nExample:\n  acmehub token show "Firewall 01"')
@click.argument("title")
@hub_verb
async def show(session: Session, title: str) -> Result:
    """One token, without its secrets but the URL of its secret directory, which is audited."""
    return await _shown(session, await session.hub.admin.tokens.show(title, session.acting))


@token.command(name="set", epilog=SET)
@click.argument("title")
@click.option("--title", "new_title", help="Rename it.")
@click.option("--scope", "scope", multiple=True, type=ROLES, help="What it is for, instead of before.")
@click.option("--names", help="Domain match rule of the names it may have; '' for all that its principal may.")
@click.option("--authorization", type=MODES, help="How authorizations turn valid.")
@click.option("--network", "networks", multiple=True, metavar="CIDR", help="The networks, instead of those before.")
@click.option("--no-networks", is_flag=True, help="Accounts may be bound from anywhere.")
@click.option("--use-limit", type=click.IntRange(1), help="How many accounts it may bind.")
@click.option("--no-use-limit", is_flag=True, help="It may bind any number of accounts.")
@click.option("--expires", type=Moment(), help="Until when it may bind accounts: 90d, 2027-01-31, …")
@click.option("--no-expires", is_flag=True, help="It may bind accounts at any time.")
@click.option("--enable/--disable", "--enabled/--disabled", "enabled", default=None, help="Whether it may do anything.")
@click.option(
    "--secret-directory/--no-secret-directory",
    "secret_directory",
    default=None,
    help="Make a directory URL for clients that cannot do EAB (the one before is over), or take it away.",
)
@click.option("--revoke", "end", is_flag=True, help="End it and its accounts, for good.")
@hub_verb
async def set_(session: Session, title: str, end: bool, **options: Any) -> Result:
    """Change a token; what is not named stays. A disabled or revoked one is refused at its next request."""
    patch = _patch(**options)
    changed = (
        await session.hub.admin.tokens.set(title, patch, session.acting) if patch != TokenPatch() or not end else None
    )
    if end:
        changed = await session.hub.admin.tokens.revoke(changed.id if changed else title, session.acting)
    assert changed is not None
    return await _shown(session, changed)


def _patch(
    new_title: str | None,
    scope: tuple[str, ...],
    names: str | None,
    authorization: str | None,
    networks: tuple[str, ...],
    no_networks: bool,
    use_limit: int | None,
    no_use_limit: bool,
    expires: datetime | None,
    no_expires: bool,
    enabled: bool | None,
    secret_directory: bool | None,
) -> TokenPatch:
    return TokenPatch(
        title=new_title or UNSET,
        scope=tuple(Role(item) for item in scope) or UNSET,
        names=UNSET if names is None else names,
        authorization=AuthorizationMode(authorization) if authorization else UNSET,
        networks=networks if networks or no_networks else UNSET,
        use_limit=None if no_use_limit else use_limit or UNSET,
        expires=None if no_expires else expires or UNSET,
        enabled=UNSET if enabled is None else enabled,
        secret_directory=UNSET if secret_directory is None else secret_directory,
        new_directory=secret_directory or UNSET,
    )


@token.command(epilog='\b\nExample:\n  acmehub token revoke "Firewall 01"')
@click.argument("title")
@hub_verb
async def revoke(session: Session, title: str) -> Result:
    """End a token and its accounts, for good; the same as `token set --revoke`."""
    changed = await session.hub.admin.tokens.revoke(title, session.acting)
    return Result(changed, _lines(changed))


@token.command(epilog='\b\nExample:\n  acmehub token remove "Firewall 01"')
@click.argument("title")
@hub_verb
async def remove(session: Session, title: str) -> Result:
    """Remove a token that has bound no account; one that has can be revoked."""
    await session.hub.admin.tokens.remove(title, session.acting)
    return Result({"removed": title}, [f"removed token {title}"])


@token.command(epilog=EAB)
@click.argument("title")
@click.option("--client", "clients", multiple=True, metavar="NAME", help="Only for this client: see the last line.")
@hub_verb
async def eab(session: Session, title: str, clients: tuple[str, ...]) -> Result:
    """Show a token as EAB credentials, and what to paste into ACME clients. Audited."""
    hub = session.hub
    found = await hub.admin.tokens.eab(title, session.acting)
    shown = await hub.admin.tokens.show(found.kid, session.acting)
    directory = f"{hub.config.public_url}/acme/directory"
    key = found.hmac_key.reveal()
    root = (hub.config.data_dir / ROOT_FILE).absolute() if hub.config.tls.mode == "auto" else None
    data = {"kid": found.kid, "hmac_key": key, "directory": directory}
    if found.directory_key is not None:
        data["secret_directory"] = directory_url(session, found.directory_key)
    secret = data.get("secret_directory")
    lines = fields(
        [
            ("key id", found.kid),
            ("HMAC key", key),
            ("directory", directory),
            ("secret directory", secret),
            ("trust", root),
        ]
    )
    values = Values(
        directory=directory,
        kid=found.kid,
        hmac_key=key,
        name=example_name(shown.names),
        ca=str(root or ""),
        secret_directory=secret or "",
    )
    return Result(data, [*lines, *_pasted(values, clients)])


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
    key = await session.hub.admin.tokens.directory(item.id, session.acting)
    assert key is not None
    url = directory_url(session, key)
    data = {**msgspec.structs.asdict(item), "secret_directory_url": url}
    return Result(data, _lines(item, url))


def directory_url(session: Session, key: Secret) -> str:
    """The secret directory with this key, as clients are given it."""
    return Urls(session.hub.config.base_url).secret_directory(key.reveal())


def _uses(item: TokenView) -> str:
    return f"{item.uses} of {item.use_limit}" if item.use_limit else str(item.uses)


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
            ("expires", moment(item.expires) if item.expires else ""),
            ("revoked", moment(item.revoked) if item.revoked else ""),
            ("created", moment(item.created)),
        ]
    )

"""`acmehub account`."""

import click

from acmehub.admin.operations.accounts import AccountPatch, AccountSummary
from acmehub.cli.shared.session import Result, Session, fields, hub_verb, moment, table
from acmehub.models import AuthorizationMode


@click.group()
def account() -> None:
    """ACME accounts that clients have bound with tokens."""


@account.command(name="list", epilog="\b\nExample:\n  acmehub account list --json")
@click.option("--after", default="", help="Go on behind this account (its id).")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000))
@hub_verb
async def list_(session: Session, after: str, limit: int) -> Result:
    """All accounts."""
    found = await session.admin.accounts.list(session.acting, after=after, limit=limit)
    rows = [(item.id, item.status, item.principal, item.token, moment(item.created), item.user_agent) for item in found]
    heads = ("ACCOUNT", "STATUS", "PRINCIPAL", "TOKEN", "CREATED", "CLIENT")
    return Result(list(found), table(heads, rows, "no accounts"))


@account.command(epilog="\b\nExample:\n  acmehub account show 5ab1…")
@click.argument("account_id", metavar="ACCOUNT")
@hub_verb
async def show(session: Session, account_id: str) -> Result:
    """One account."""
    found = await session.admin.accounts.show(account_id, session.acting)
    return Result(found, _lines(found))


@account.command(
    name="set",
    epilog="\b\nExamples:\n  acmehub account set 5ab1… --learned accept\n  acmehub account set 5ab1… --learned none",
)
@click.argument("account_id", metavar="ACCOUNT")
@click.option(
    "--learned",
    type=click.Choice(["preapproved", "accept", "none"]),
    required=True,
    help="The mode that `auto` is to use for it until another kind of client does; none: forget what was learned.",
)
@hub_verb
async def set_(session: Session, account_id: str, learned: str) -> Result:
    """Correct what mode `auto` has learned about a client (docs/slow-upstreams.md)."""
    mode = None if learned == "none" else AuthorizationMode(learned)
    found = await session.admin.accounts.set(account_id, AccountPatch(learned=mode), session.acting)
    return Result(found, _lines(found))


@account.command(epilog="\b\nExample:\n  acmehub account deactivate 5ab1…")
@click.argument("account_id", metavar="ACCOUNT")
@hub_verb
async def deactivate(session: Session, account_id: str) -> Result:
    """Refuse an account for good; its device must register again with EAB credentials."""
    found = await session.admin.accounts.deactivate(account_id, session.acting)
    return Result(found, [f"account {account_id} is {found.status}"])


def _lines(item: AccountSummary) -> list[str]:
    return fields(
        [
            ("account", item.id),
            ("status", item.status),
            ("principal", item.principal),
            ("token", item.token),
            ("contact", item.contact),
            ("client", item.user_agent),
            ("thumbprint", item.thumbprint),
            ("created", moment(item.created)),
            ("authorization", f"{item.authorization.value} ({item.authorization_why})"),
        ]
    )

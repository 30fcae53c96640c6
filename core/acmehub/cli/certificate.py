"""`acmehub certificate`."""

from typing import Any

import click
import msgspec

from acmehub.admin.operations.certificates import REASONS, CertificateSummary, Revocation
from acmehub.admin.operations.queries import CertificateQuery
from acmehub.cli.campaigns import campaigns, end_campaign, renew_by
from acmehub.cli.shared.session import Result, Session, fields, hub_verb, moment, table
from acmehub.cli.shared.terminal import say
from acmehub.cli.shared.times import DURATION
from acmehub.rules.renewal import WindowOrigin

_BY = {
    WindowOrigin.REVOCATION: "its revocation",
    WindowOrigin.CAMPAIGN: "a campaign",
    WindowOrigin.UPSTREAM: "the CA's word",
    WindowOrigin.DATES: "its dates",
}


@click.group()
def certificate() -> None:
    """Certificates that were issued through the hub."""


for command in (renew_by, campaigns, end_campaign):
    certificate.add_command(command)


HEADS = ("CERTIFICATE", "VALID", "AUTHORITY", "PRINCIPAL", "SERIAL", "NAMES")
LIST = """\b
Examples:
  acmehub certificate list --name www.corp.test
  acmehub certificate list --expires-within 30d --uncovered
"""


@certificate.command(name="list", epilog=LIST)
@click.option("--name", default="", help="Only certificates with this name.")
@click.option("--principal", default="", help="Only those of this principal's accounts.")
@click.option("--token", default="", help="Only those of accounts that this token (its title) has bound.")
@click.option("--authority", default="", help="Only those of this authority.")
@click.option("--expires-within", type=DURATION, help="Only those that end within this time, or have ended: 30d, 12h.")
@click.option("--uncovered", is_flag=True, help="Of these, only those without a successor for the same names.")
@click.option("--after", default="", help="Go on behind this certificate (its id).")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@hub_verb
async def list_(session: Session, after: str, limit: int, **wanted: Any) -> Result:
    """Certificates, newest first; with --expires-within, those that end first come first.

    With --uncovered, revoked certificates are left out, and those for whose set of names another certificate that is
    not revoked is valid longer.
    """
    page = await session.admin.certificates.list(
        session.acting, filter=CertificateQuery(**wanted), after=after, limit=limit
    )
    found = page.items
    if not page.complete:
        say("acmehub: certificates of an earlier release are missing until `serve` or `worker` has run", err=True)
    rows = [
        (
            item.id,
            "revoked" if item.revoked else f"until {moment(item.not_after)}",
            item.authority,
            item.principal,
            item.serial,
            ", ".join(item.names),
        )
        for item in found
    ]
    return Result(
        list(found),
        table(HEADS, rows, "no certificates"),
    )


@certificate.command(epilog="\b\nExample:\n  acmehub certificate show 04:d2:… --pem")
@click.argument("certificate_id", metavar="CERTIFICATE")
@click.option("--pem", is_flag=True, help="Print the chain and nothing else.")
@hub_verb
async def show(session: Session, certificate_id: str, pem: bool) -> Result:
    """One certificate, by id or serial number."""
    line = await session.admin.certificates.show(certificate_id, session.acting)
    advice = await session.admin.campaigns.advice(line.id, session.acting)
    data = {**msgspec.structs.asdict(line), "renewal": advice}
    if pem:
        return Result(data, line.chain.splitlines())
    lines = fields(
        [
            ("certificate", line.id),
            ("names", line.names),
            ("serial", line.serial),
            ("issuer", line.issuer),
            ("authority", line.authority),
            ("principal", line.principal),
            ("valid from", moment(line.not_before)),
            ("valid until", moment(line.not_after)),
            ("revoked", _revoked(line)),
            ("to renew", f"{moment(advice.window.start)} to {moment(advice.window.end)}, by {_BY[advice.origin]}"),
            ("replaced by", f"order {line.replaced_by}" if line.replaced_by else ""),
            ("order", line.order),
            ("account", line.account),
        ]
    )
    return Result(data, lines)


@certificate.command(epilog="\b\nExample:\n  acmehub certificate revoke 04:d2:… --reason superseded")
@click.argument("certificate_id", metavar="CERTIFICATE")
@click.option("--reason", default="", type=click.Choice(["", *REASONS]), help="Why (RFC 5280).")
@hub_verb
async def revoke(session: Session, certificate_id: str, reason: str) -> Result:
    """Revoke a certificate at the authority that issued it."""
    found = await session.admin.certificates.revoke(certificate_id, Revocation(reason=reason), session.acting)
    return Result(found, [f"certificate {found.id} is revoked"])


def _revoked(line: CertificateSummary) -> str:
    """When, and for which reason if one was given."""
    if line.revoked is None:
        return ""
    names = {code: name for name, code in REASONS.items()}
    code = line.revocation_reason
    return moment(line.revoked) + (f" ({names.get(code, f'reason {code}')})" if code is not None else "")

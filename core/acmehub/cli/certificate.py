"""`acmehub certificate`."""

import click
import msgspec

from acmehub.admin.operations.certificates import REASONS, CertificateSummary
from acmehub.cli.campaigns import campaigns, end_campaign, renew_by
from acmehub.cli.shared.session import Result, Session, fields, hub_verb, moment, table
from acmehub.rules.renewal import Origin

_BY = {
    Origin.REVOCATION: "its revocation",
    Origin.CAMPAIGN: "a campaign",
    Origin.UPSTREAM: "the CA's word",
    Origin.DATES: "its dates",
}


@click.group()
def certificate() -> None:
    """Certificates that were issued through the hub."""


for command in (renew_by, campaigns, end_campaign):
    certificate.add_command(command)


@certificate.command(name="list", epilog="\b\nExample:\n  acmehub certificate list --name www.corp.test")
@click.option("--name", default="", help="Only certificates with this name.")
@click.option("--after", default="", help="Go on behind this certificate (its id).")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@hub_verb
async def list_(session: Session, name: str, after: str, limit: int) -> Result:
    """Certificates, newest first."""
    found = await session.hub.admin.certificates.list(session.acting, name=name, after=after, limit=limit)
    rows = [
        (
            item.id,
            "revoked" if item.revoked else f"until {moment(item.not_after)}",
            item.authority,
            item.serial,
            ", ".join(item.names),
        )
        for item in found
    ]
    return Result(list(found), table(("CERTIFICATE", "VALID", "AUTHORITY", "SERIAL", "NAMES"), rows, "no certificates"))


@certificate.command(epilog="\b\nExample:\n  acmehub certificate show 04:d2:… --pem")
@click.argument("certificate_id", metavar="CERTIFICATE")
@click.option("--pem", is_flag=True, help="Print the chain and nothing else.")
@hub_verb
async def show(session: Session, certificate_id: str, pem: bool) -> Result:
    """One certificate, by id or serial number."""
    line, stored = await session.hub.admin.certificates.show(certificate_id, session.acting)
    advice = await session.hub.admin.campaigns.advice(stored, session.acting)
    data = {
        **msgspec.structs.asdict(line),
        "order": stored.order_id,
        "account": stored.account_id,
        "chain": stored.chain,
        "replaced_by": stored.replaced_by,
        "renewal": advice,
    }
    if pem:
        return Result(data, stored.chain.splitlines())
    lines = fields(
        [
            ("certificate", line.id),
            ("names", line.names),
            ("serial", line.serial),
            ("issuer", line.issuer),
            ("authority", line.authority),
            ("valid from", moment(line.not_before)),
            ("valid until", moment(line.not_after)),
            ("revoked", _revoked(line)),
            ("to renew", f"{moment(advice.window.start)} to {moment(advice.window.end)}, by {_BY[advice.origin]}"),
            ("replaced by", f"order {stored.replaced_by}" if stored.replaced_by else ""),
            ("order", stored.order_id),
            ("account", stored.account_id),
        ]
    )
    return Result(data, lines)


@certificate.command(epilog="\b\nExample:\n  acmehub certificate revoke 04:d2:… --reason superseded")
@click.argument("certificate_id", metavar="CERTIFICATE")
@click.option("--reason", default="", type=click.Choice(["", *REASONS]), help="Why (RFC 5280).")
@hub_verb
async def revoke(session: Session, certificate_id: str, reason: str) -> Result:
    """Revoke a certificate at the authority that issued it."""
    found = await session.hub.admin.certificates.revoke(certificate_id, reason, session.acting)
    return Result(found, [f"certificate {found.id} is revoked"])


def _revoked(line: CertificateSummary) -> str:
    """When, and for which reason if one was given."""
    if line.revoked is None:
        return ""
    names = {code: name for name, code in REASONS.items()}
    code = line.revocation_reason
    return moment(line.revoked) + (f" ({names.get(code, f'reason {code}')})" if code is not None else "")

"""`acmehub certificate renew-by`, `campaigns`, `end-campaign`: to have clients renew early."""

from typing import Any

import click

from acmehub.admin.resources.campaigns import CampaignPlan, CampaignView, NewCampaign
from acmehub.cli.shared.resource_options import add_options, new_of, other_fields
from acmehub.cli.shared.session import Result, Session, fields, hub_verb, moment, table

RENEW_BY = """\b
Examples:
  acmehub certificate renew-by 2026-11-27 --authority letsencrypt --dry-run
  acmehub certificate renew-by 2026-11-27T18:00Z --authority letsencrypt --name incident-42 --reason "mass revocation"
  acmehub certificate renew-by +12h --names "*.shop.example.com" --principal firewall-01
"""


@click.command(name="renew-by", epilog=RENEW_BY)
@add_options(NewCampaign)
@click.option("--dry-run", is_flag=True, help="Only say which certificates it would be.")
@hub_verb
async def renew_by(session: Session, dry_run: bool, **options: Any) -> Result:
    """Have certificates renewed before DATE: a campaign.

    Clients that ask when to renew (ARI, RFC 9773) are told a time between the start and DATE, evenly spread. What is
    issued from now on is not concerned. DATE is UTC; a date alone means its first moment.
    """
    new = new_of(NewCampaign, options)
    plan = await session.admin.campaigns.add(new, session.acting, dry_run=dry_run)
    return Result({**_data(plan), "dry_run": dry_run}, _lines(plan, dry_run))


@click.command(epilog="\b\nExample:\n  acmehub certificate campaigns --json")
@hub_verb
async def campaigns(session: Session) -> Result:
    """Campaigns, oldest first, and how many certificates are still to be renewed."""
    found = await session.admin.campaigns.list(session.acting)
    rows = [
        (item.name, item.state, f"{item.left} of {item.total}", moment(item.renew_by), _for(item)) for item in found
    ]
    return Result(list(found), table(("CAMPAIGN", "STATE", "LEFT", "RENEW BY", "FOR"), rows, "no campaigns"))


@click.command(name="end-campaign", epilog="\b\nExample:\n  acmehub certificate end-campaign incident-42")
@click.argument("name")
@hub_verb
async def end_campaign(session: Session, name: str) -> Result:
    """Call a campaign off: clients that have not renewed yet are told their ordinary time again."""
    item = await session.admin.campaigns.end(name, session.acting)
    return Result(item, [f"ended campaign {item.name}; {item.left} of {item.total} certificates were not renewed"])


KNOWN = (
    "renew_by",
    "name",
    "reason",
    "authority",
    "profile",
    "names",
    "principal",
    "starts",
    "explanation_url",
    "id",
    "created",
    "ended",
    "total",
    "left",
    "state",
)


def _data(plan: CampaignPlan) -> dict[str, object]:
    return {"campaign": plan.campaign, "principals": plan.principals, "first": plan.first}


def _lines(plan: CampaignPlan, dry_run: bool) -> list[str]:
    item = plan.campaign
    lines = fields(
        [
            ("campaign", f"{item.name} (dry run: nothing is changed)" if dry_run else item.name),
            ("reason", item.reason),
            ("for", _for(item)),
            ("from", moment(item.starts)),
            ("renew by", moment(item.renew_by)),
            ("explanation", item.explanation_url),
            *other_fields(item, *KNOWN),
            ("certificates", str(item.left)),
            *((f"  {name}", str(count)) for name, count in plan.principals.items()),
        ]
    )
    if plan.first:
        rows = [(moment(one.window.start), one.principal, ", ".join(one.names)) for one in plan.first]
        lines += ["", *table(("FROM", "PRINCIPAL", "NAMES"), rows, "")]
        if item.left > len(rows):
            lines.append(f"… and {item.left - len(rows)} more")
    return lines


def _for(item: CampaignView) -> str:
    criteria = (
        ("authority", item.authority),
        ("profile", item.profile),
        ("names", item.names),
        ("principal", item.principal),
    )
    return ", ".join(f"{noun} {value}" for noun, value in criteria if value) or "all certificates"

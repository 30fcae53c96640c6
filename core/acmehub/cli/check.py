"""`acmehub check`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
import msgspec

from acmehub.admin.operations.queries import CheckRequest
from acmehub.cli.shared.exit_status import Exit
from acmehub.cli.shared.session import Result, Session, fields, hub_verb
from acmehub.cli.shared.terminal import say

if TYPE_CHECKING:
    from acmehub.admin.operations.check_results import AuthorityCheck, Check, NameCheck, ProfileCheck, TokenCheck

MOST = 10  # tokens or principals in one line
EPILOG = """\b
Examples:
  acmehub check www.corp.test
  acmehub check corp.test "*.corp.test" --token "Firewall 01" --live
  acmehub check www.corp.test --principal firewall-01 --profile shortlived
  acmehub check www.corp.test --challenge "corp zone" --live
"""


@click.command(epilog=EPILOG)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--principal", default="", help="Which token of this principal may have the names.")
@click.option("--token", default="", help="Whether this token (its title) may have the names.")
@click.option("--profile", default="", help="What an order that names this profile would lead to.")
@click.option("--challenge", default="", help="Try this managed challenge instead of the one that would be used.")
@click.option(
    "--live",
    is_flag=True,
    help="Write a TXT record for each name, wait until it is seen, remove it; ask the CA for the hub's account.",
)
@hub_verb
async def check(session: Session, names: tuple[str, ...], live: bool, **wanted: str) -> Result:
    """What would happen to an order for these names: token, rule, managed challenge, zone, CNAME, CAA, authority.

    Exit status 1 when something stands against it (✗); ⚠ does not. Nothing is ordered.
    """
    if live:
        say("trying DNS and the authority …", err=True)
    found = await session.admin.check.check(CheckRequest(names=names, live=live, **wanted), session.acting)
    return Result({"good": found.good, **msgspec.structs.asdict(found)}, _lines(found), _status(found))


def _status(found: "Check") -> int:
    return Exit.DONE if found.good else Exit.FAILED


def _lines(found: "Check") -> list[str]:
    stopped = fields([("✗", found.requester_error), ("✗", found.objection)])
    lines = [*stopped, *_tokens(found.tokens), *_profile(found.profile), *_authority(found.authority)]
    for item in found.names:
        lines += ["", *_name(item)]
    return lines


def _tokens(tokens: Sequence["TokenCheck"]) -> list[str]:
    """The one that fits and how many others there are, or why none does."""
    fitting = [item for item in tokens if item.fits]
    if not fitting:
        shown = [("token", f"{item.title} ({item.principal}): {item.why}") for item in tokens[:MOST]]
        return fields([*shown, ("", f"and {len(tokens) - MOST} more" if len(tokens) > MOST else "")])
    first, others = fitting[0], [item.title for item in fitting[1:MOST]]
    more = f" and {len(fitting) - MOST} more" if len(fitting) > MOST else ""
    return fields(
        [
            ("token", f"{first.title} ({first.principal}) fits"),
            ("⚠", f"token {first.title} {first.warning}" if first.warning else ""),
            ("fit as well", f"{', '.join(others)}{more}" if others else ""),
        ]
    )


def _profile(item: "ProfileCheck | None") -> list[str]:
    if item is None:
        return []
    return fields(
        [
            ("profile", f"{item.name}: {item.description}" if item.description else item.name),
            ("asked upstream", f"profile {item.upstream_profile}" if item.upstream_profile else ""),
            ("keys", item.key_types),
            ("lifetime", f"{item.lifetime_days} days" if item.lifetime_days else ""),
            ("✗", item.error),
        ]
    )


def _authority(item: "AuthorityCheck") -> list[str]:
    account = "signs by itself" if item.signing else item.account or "made on first use"
    return fields(
        [
            ("authority", f"{item.name} ({item.plugin}): {item.reason}" if item.name else ""),
            ("server", item.server),
            ("account", account if item.name and not item.error else ""),
            ("live", item.live),
            ("✗", item.error),
        ]
    )


def _principals(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return f"principal {', '.join(names[:MOST])}{more}" if names else ""


def _name(item: "NameCheck") -> list[str]:
    dns, seen = item.dns, item.rehearsal
    servers = [
        f"{server.name} ({', '.join(map(str, server.addresses)) or 'no address'})"
        for server in (dns.servers if dns else ())
    ]
    caa = [f"{record.name}: {record.tag} {record.value!r}" for record in (dns.caa if dns else ())]
    known = fields(
        [
            ("managed challenge", f"{item.managed_challenge} ({item.plugin})" if item.managed_challenge else ""),
            ("rule", item.rule),
            ("cover it, too", item.others),
            ("could have it", _principals(item.principals or ())),
            ("⚠", "no token of any principal may have it" if item.principals == () else ""),
            ("record", dns.effective if dns else ""),
            ("CNAME", " → ".join(dns.chain) if dns and len(dns.chain) > 1 else ""),
            ("zone", dns.zone if dns else ""),
            ("servers", servers),
            ("CAA", caa or ("none: any CA may issue" if dns and not dns.error and not dns.caa_error else "")),
            ("⚠", f"CAA: {dns.caa_error}; the CA may refuse" if dns and dns.caa_error else ""),
            ("live", f"{'seen' if seen.seen else 'not seen'} after {seen.seconds:.1f} s: {seen.words}" if seen else ""),
            ("✗", "; ".join(filter(None, (item.refusal, dns.error if dns else "", item.rehearsal_error)))),
        ]
    )
    mark = "✓" if item.good else "✗"
    return [f"{mark} {item.name}", *(f"  {line}" for line in known)]

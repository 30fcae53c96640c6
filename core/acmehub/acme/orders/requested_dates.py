"""notBefore and notAfter of a newOrder: refused at once where it is clear that they cannot be had (RFC 8555, 7.4)."""

from datetime import datetime, timedelta

from acmehub.models.problems import Problem, ProblemType
from acmehub.ports.authority import CertificateAuthority, GrantsLifetimes
from acmehub.rules.times import parse_time


def requested_date(member: str, text: str | None, *, signing: bool) -> datetime | None:
    """A date that the client asks for: RFC 3339, and only where the authority grants dates (`signing`)."""
    if text is None:
        return None
    moment = parse_time(text)
    if moment is None:
        raise Problem(ProblemType.MALFORMED, f"'{member}' is not a time of RFC 3339, as in 2026-11-24T06:00:00Z")
    if not signing:
        raise Problem(ProblemType.MALFORMED, f"the authority of this order sets dates itself; leave '{member}' out")
    return moment


def check_dates(
    not_before: datetime | None, not_after: datetime | None, authority: CertificateAuthority, now: datetime
) -> None:
    """Raise `malformed` for a period that is empty or over, or beyond what the authority signs for."""
    if not_before is None and not_after is None:
        return
    longest = now + timedelta(days=authority.longest_days) if isinstance(authority, GrantsLifetimes) else None
    if not_before is not None and longest is not None and not_before >= longest:
        raise Problem(ProblemType.MALFORMED, "'notBefore' is later than the authority signs for")
    if not_after is None:
        return
    if not_after <= max(now, not_before or now):
        raise Problem(ProblemType.MALFORMED, "'notAfter' is not later than 'notBefore' and now")
    if isinstance(authority, GrantsLifetimes) and longest is not None and not_after > longest:
        days = f"{authority.longest_days:g}"
        raise Problem(ProblemType.MALFORMED, f"'notAfter' is later than the {days} days that the authority signs for")

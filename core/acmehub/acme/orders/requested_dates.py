"""notBefore and notAfter of a newOrder: refused at once where it is clear that they cannot be had (RFC 8555, 7.4)."""

from datetime import datetime, timedelta

from acmehub.models.problems import Problem, ProblemType
from acmehub.ports.authority import CertificateAuthority, GrantsLifetimes


def check_dates(
    not_before: datetime | None, not_after: datetime | None, authority: CertificateAuthority, now: datetime
) -> None:
    """Raise `malformed` for a period that is empty or over, or beyond what the authority signs for."""
    if not_after is None:
        return
    if not_after <= max(now, not_before or now):
        raise Problem(ProblemType.MALFORMED, "'notAfter' is not later than 'notBefore' and now")
    if isinstance(authority, GrantsLifetimes) and not_after > now + timedelta(days=authority.longest_days):
        days = f"{authority.longest_days:g}"
        raise Problem(ProblemType.MALFORMED, f"'notAfter' is later than the {days} days that the authority signs for")

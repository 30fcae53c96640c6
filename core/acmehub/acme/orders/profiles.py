"""Profiles as clients see them (draft-ietf-acme-profiles): advertised, named in newOrder, enforced at finalize."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from acmehub.models import Principal, Profile
from acmehub.models.problems import Problem, ProblemType
from acmehub.ports.authority import CertificateAuthority, lifetime_flaw
from acmehub.rules.keys import PublicKey, fits, kind
from acmehub.rules.rights import is_open

_RETRY_AFTER = 60


def advertised(enabled: Mapping[str, Profile], principal: Principal | None = None) -> dict[str, str]:
    """Names and descriptions for the directory: of all that are enabled, or of those open to a principal."""
    return {
        item.name: item.description for item in enabled.values() if principal is None or is_open(item.name, principal)
    }


def check_key(profile: Profile | None, key: PublicKey) -> None:
    """`badCSR` unless the profile of an order takes this kind of certificate key; one that is gone takes any."""
    if profile is not None and profile.key_types and not fits(key, profile.key_types):
        raise Problem(
            ProblemType.BAD_CSR,
            f"the CSR is not accepted: its key is {kind(key)}, "
            f"and the profile {profile.name} takes {' or '.join(profile.key_types)} only",
        )


def last_moment(
    profile: Profile | None,
    authority: CertificateAuthority,
    not_before: datetime | None,
    not_after: datetime | None,
    now: datetime,
) -> datetime | None:
    """The `notAfter` to ask for: the client's, which may not be beyond what the profile grants, else the profile's.

    The profile's days count from `not_before`, or from `now`. Raises `invalidProfile` (section 4 of the draft); with
    status 503 when the authority does not grant lifetimes (any more), which is the operator's to repair.
    """
    if profile is None or profile.lifetime_days is None:
        return not_after
    flaw = lifetime_flaw(profile.lifetime_days, authority)
    if flaw is not None:
        raise Problem(
            ProblemType.SERVER_INTERNAL,
            f"the profile {profile.name} cannot be used at present: its authority {flaw}",
            status=503,
            retry_after=_RETRY_AFTER,
        )
    try:
        latest = (not_before or now) + timedelta(days=profile.lifetime_days)
    except OverflowError:
        raise Problem(ProblemType.MALFORMED, "'notBefore' is later than any certificate can begin") from None
    if not_after is not None and not_after > latest:
        raise Problem(
            ProblemType.INVALID_PROFILE,
            f"'notAfter' is later than the {profile.lifetime_days} days that the profile {profile.name} grants",
        )
    return not_after or latest.replace(microsecond=0)

"""Which challenges can prove control of a name."""

from acmehub.models import Authorization, AuthorizationMode, ChallengeType

BY_NAME = tuple(ChallengeType)
BY_DNS = (ChallengeType.DNS_01,)
BY_ADDRESS = (ChallengeType.HTTP_01, ChallengeType.TLS_ALPN_01)


def challenges_of(authorization: Authorization, mode: AuthorizationMode) -> tuple[ChallengeType, ...]:
    """The challenges that an authorization can be answered by (docs/client-rules.md rules 8, 9).

    All of them, also for a wildcard, since nobody looks at the response; where the hub does look (mode `verify`), only
    dns-01 proves a wildcard (RFC 8555 section 8.3). An address has no place in DNS for dns-01 (RFC 8738 section 7).
    """
    if authorization.identifier.type == "ip":
        return BY_ADDRESS
    return BY_DNS if authorization.wildcard and mode is AuthorizationMode.VERIFY else BY_NAME

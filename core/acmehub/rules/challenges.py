"""The challenge types that an authorization offers."""

from acmehub.models import Authorization, AuthorizationMode, ChallengeType

BY_NAME = tuple(ChallengeType)
BY_DNS = (ChallengeType.DNS_01,)
BY_ADDRESS = (ChallengeType.HTTP_01, ChallengeType.TLS_ALPN_01)


def challenges_of(authorization: Authorization, mode: AuthorizationMode) -> tuple[ChallengeType, ...]:
    """The challenge types of an authorization (docs/client-rules.md rules 8, 9).

    A DNS name has all types. So has a wildcard, except in mode `verify`: there the hub validates, and only dns-01 can
    prove a wildcard (RFC 8555 section 8.3). An address has no dns-01 (RFC 8738 section 7).
    """
    if authorization.identifier.type == "ip":
        return BY_ADDRESS
    return BY_DNS if authorization.wildcard and mode is AuthorizationMode.VERIFY else BY_NAME

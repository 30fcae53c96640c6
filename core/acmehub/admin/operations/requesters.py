"""With which token an order might be made, and what of the token itself stands against it."""

from datetime import datetime

import msgspec

from acmehub.models import Principal, PrincipalType, Role, RoleAssignment, Token, TokenState
from acmehub.rules.eab import token_state


class Requester(msgspec.Struct, frozen=True):
    """A token and its principal; one that `stands_in` is no stored token: its principal has none."""

    principal: Principal
    token: Token
    stands_in: bool = False


def anybody(now: datetime) -> Requester:
    """A principal with a token that no rule narrows."""
    role = Role.MANAGED_ACME_CONSUMER
    owner = Principal(name="anybody", type=PrincipalType.APPLICATION, roles=(RoleAssignment(role),), created=now)
    token = Token(title="any", principal_id=owner.id, scope=(role,), secret_hash=b"", sealed_hmac_key=b"", created=now)
    return Requester(owner, token)


def refusal_of(requester: Requester, names: int, now: datetime) -> str:
    """Why accounts of the token may not order so many names at all; empty when they may."""
    principal, token = requester.principal, requester.token
    if not principal.enabled:
        return f"principal {principal.name!r} is disabled"
    if requester.stands_in:
        return f"principal {principal.name!r} has no token (`acmehub token add TITLE --principal {principal.name}`)"
    state = token_state(token, principal, now)
    if state in (TokenState.DISABLED, TokenState.REVOKED):
        return f"token {token.title!r} is {state}"
    if state is TokenState.EXPIRED and token.uses == 0:
        return f"token {token.title!r} has expired, and has bound no account"
    for name in ("names", "token_names"):
        limit = getattr(token.limits, name)
        if limit and limit < names:
            return f"token {token.title!r} has the limit {name} = {limit}, and the order has {names} names"
    return ""


def warning_of(requester: Requester, now: datetime) -> str:
    """What the token cannot do, although its accounts may order; empty when nothing."""
    token = requester.token
    state = token_state(token, requester.principal, now)
    if state is TokenState.EXPIRED:
        return f"has expired: accounts that it has bound ({token.uses}) may order, it binds no other one"
    if state is TokenState.USED_UP:
        return f"is used up: accounts that it has bound ({token.uses}) may order, it binds no other one"
    if token.networks:
        return f"binds accounts from {', '.join(token.networks)} only"
    return ""

"""External account binding (RFC 8555 section 7.3.4), and the states of its token.

`token_state` computes a token's state; `TOKEN_MOVES` lists the moves between states, named as in the command line.
"""

import enum
import hmac
import json
import secrets
from datetime import datetime

import msgspec
from msgspec.structs import replace

from acmehub.models import AccountStatus, Actor, Principal, Role, Token, TokenState
from acmehub.models.addresses import parse_address, parse_network
from acmehub.models.problems import Problem, ProblemType
from acmehub.rules.jws import canonical_jwk, encode_base64url, malformed, read_flattened, text_member, unique_members

MAC_ALGORITHMS = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
HMAC_KEY_BYTES = 32


class TokenMove(enum.StrEnum):
    """What changes a token's state; moves by operators are named as in `acmehub token set …`."""

    USE = "use"  # a client binds an account; the limit allows more
    USE_LAST = "use_last"  # a client binds the last account that the limit allows
    LAPSE = "lapse"  # the token expires
    DISABLE = "disable"
    ENABLE = "enable"
    EXTEND = "extend"  # a later expiry, or a higher limit of uses
    REVOKE = "revoke"


ACTIVE, USED_UP, EXPIRED, DISABLED, REVOKED = TokenState  # in the order of their declaration

# For each state, its moves and the states that they lead to; no other moves exist. If several states apply to a token,
# it has the one that is last in this table, so `enable` and `extend` may lead to any earlier one.
TOKEN_MOVES: dict[TokenState, dict[TokenMove, frozenset[TokenState]]] = {
    ACTIVE: {
        TokenMove.USE: frozenset({ACTIVE}),
        TokenMove.USE_LAST: frozenset({USED_UP}),
        TokenMove.LAPSE: frozenset({EXPIRED}),
        TokenMove.DISABLE: frozenset({DISABLED}),
        TokenMove.EXTEND: frozenset({ACTIVE}),
        TokenMove.REVOKE: frozenset({REVOKED}),
    },
    USED_UP: {
        TokenMove.LAPSE: frozenset({EXPIRED}),
        TokenMove.DISABLE: frozenset({DISABLED}),
        TokenMove.EXTEND: frozenset({ACTIVE, USED_UP}),
        TokenMove.REVOKE: frozenset({REVOKED}),
    },
    EXPIRED: {
        TokenMove.DISABLE: frozenset({DISABLED}),
        TokenMove.EXTEND: frozenset({ACTIVE, USED_UP, EXPIRED}),
        TokenMove.REVOKE: frozenset({REVOKED}),
    },
    DISABLED: {
        TokenMove.LAPSE: frozenset({DISABLED}),
        TokenMove.ENABLE: frozenset({ACTIVE, USED_UP, EXPIRED}),
        TokenMove.EXTEND: frozenset({DISABLED}),
        TokenMove.REVOKE: frozenset({REVOKED}),
    },
    REVOKED: {},
}

_WHY = {
    TokenState.USED_UP: "has been used as often as it may",
    TokenState.EXPIRED: "has expired",
    TokenState.DISABLED: "is disabled",
    TokenState.REVOKED: "is revoked",
}


class Binding(msgspec.Struct, frozen=True):
    """An external account binding that matches its request; its MAC is not verified yet. `kid` is the token's id."""

    kid: str
    alg: str
    signing_input: bytes
    mac: bytes


def token_state(token: Token, principal: Principal, now: datetime) -> TokenState:
    """The state of a token; a disabled principal disables its tokens."""
    if token.revoked is not None:
        return TokenState.REVOKED
    if not (token.enabled and principal.enabled):
        return TokenState.DISABLED
    if token.expires is not None and token.expires <= now:
        return TokenState.EXPIRED
    if token.use_limit is not None and token.uses >= token.use_limit:
        return TokenState.USED_UP
    return TokenState.ACTIVE


def parse_binding(raw: bytes, *, account_jwk: bytes, new_account_url: str) -> Binding:
    """Read a binding and check algorithm, URL and account key, but not the MAC.

    `account_jwk` is the canonical JWK of the outer JWS. Raises `malformed`, `badSignatureAlgorithm`.
    """
    parts = read_flattened(raw)
    alg = text_member(parts.header, "alg")
    if alg not in MAC_ALGORITHMS:
        raise Problem(
            ProblemType.BAD_SIGNATURE_ALGORITHM,
            f"external account binding: algorithm {alg[:32]!a}; use one of {', '.join(MAC_ALGORITHMS)}",
            algorithms=tuple(MAC_ALGORITHMS),
        )
    if "nonce" in parts.header or "jwk" in parts.header:
        raise malformed("external account binding: its header must have neither 'nonce' nor 'jwk'")
    if text_member(parts.header, "url") != new_account_url:
        raise malformed("external account binding: 'url' is not the newAccount URL of this server")
    if _payload_jwk(parts.payload) != account_jwk:
        raise malformed("external account binding: its payload is not the key that signs the request")
    return Binding(text_member(parts.header, "kid"), alg, parts.signing_input, parts.signature)


def verify_binding(binding: Binding, hmac_key: bytes | None) -> None:
    """Verify the MAC in constant time, with a key of any length. Raises `unauthorized`.

    `hmac_key` is None for an unknown key id. Time and error are the same as for a wrong MAC, so that a client cannot
    find out which ids exist.
    """
    key = hmac_key if hmac_key is not None else secrets.token_bytes(HMAC_KEY_BYTES)
    right = hmac.digest(key, binding.signing_input, MAC_ALGORITHMS[binding.alg])
    if not hmac.compare_digest(right, binding.mac) or hmac_key is None:
        raise Problem(
            ProblemType.UNAUTHORIZED,
            "external account binding: the key id is not known here, or the HMAC key is not the one that goes with it",
        )


def use_token(token: Token, principal: Principal, *, address: str, now: datetime) -> Token:
    """The token after it has bound one more account; `Accounts.bind` applies it in its transaction.

    `address` is the client's IP address. Raises `unauthorized` with the reason.
    """
    state = token_state(token, principal, now)
    if state is not TokenState.ACTIVE:
        raise _refused(_why(token, principal, state))
    if not may_use(token, principal, Role.MANAGED_ACME_CONSUMER):
        raise _refused("it is not for ACME: token and principal both need the role managed_acme_consumer")
    if token.networks and not within(address, token.networks):
        raise _refused(f"it may not be used from {address or 'an unknown address'}")
    return replace(token, uses=token.uses + 1)


def require_active(actor: Actor, now: datetime) -> None:
    """Raise `unauthorized` unless the account is valid and its token and principal may be used.

    An expired or used-up token binds no more accounts, but accounts that it has bound keep working, so that devices can
    renew. A disabled or revoked token, a disabled principal and a removed role end both at once.
    """
    if actor.account.status is not AccountStatus.VALID:  # 401: RFC 8555 section 7.3.6
        raise Problem(ProblemType.UNAUTHORIZED, f"the account is {actor.account.status.value}", status=401)
    state = token_state(actor.token, actor.principal, now)
    if state in (TokenState.DISABLED, TokenState.REVOKED):
        raise _refused(_why(actor.token, actor.principal, state))
    if not may_use(actor.token, actor.principal, Role.MANAGED_ACME_CONSUMER):
        raise _refused("it is not for ACME: token and principal both need the role managed_acme_consumer")


def may_use(token: Token, principal: Principal, role: Role) -> bool:
    """Whether `role` is in the token's scope and a role of its principal."""
    return role in token.scope and bool(principal.assignments(role))


def new_hmac_key() -> bytes:
    """A new key whose text starts alphanumeric, as command lines need it (docs/client-rules.md rule 26)."""
    while True:
        key = secrets.token_bytes(HMAC_KEY_BYTES)
        if eab_text(key)[0].isalnum():
            return key


def eab_text(key: bytes) -> str:
    """An HMAC key for clients: base64url without padding."""
    return encode_base64url(key)


def _payload_jwk(payload: bytes) -> bytes:
    try:
        jwk = json.loads(payload.decode(), object_pairs_hook=unique_members)
    except (ValueError, RecursionError) as error:
        raise malformed("external account binding: its payload is not a JWK") from error
    return canonical_jwk(jwk)


def within(address: str, networks: tuple[str, ...]) -> bool:
    """Whether an address is in one of the networks (CIDR)."""
    try:
        place = parse_address(address)
    except ValueError:
        return False  # an address that is not known is in no network
    return any(place in parse_network(network) for network in networks)


def _refused(reason: str) -> Problem:
    return Problem(ProblemType.UNAUTHORIZED, f"the API token behind this account binding cannot be used: {reason}")


def _why(token: Token, principal: Principal, state: TokenState) -> str:
    if state is TokenState.DISABLED and token.enabled:
        return f"its principal {principal.name!a} is disabled"
    return f"it {_WHY[state]}"

"""ACME accounts."""

import enum
from datetime import datetime

import msgspec

from acmehub.models.base import Model
from acmehub.models.principals import Principal
from acmehub.models.tokens import AuthorizationMode, Token


class AccountStatus(enum.StrEnum):
    """RFC 8555 section 7.1.6."""

    VALID = "valid"
    DEACTIVATED = "deactivated"
    REVOKED = "revoked"


MOST_FORMER_KEYS = 1000  # per account; the oldest are forgotten, so that a row stays small


class Account(Model, frozen=True, kw_only=True):
    """An ACME account.

    `jwk`: its public key as canonical JSON (RFC 7638); `thumbprint`: the SHA-256 of that, unique. `binding`: the EAB
    object as the client sent it (RFC 8555 section 7.3.4); `token_id`: the token that it names. `user_agent`: the last
    one that was recorded. `learned`: the authorization mode that mode `auto` has learned for this account (None: none
    yet); `learned_why`: the reason, for people. `former_keys`: thumbprints of the keys that it had before, the newest
    last, at most `MOST_FORMER_KEYS`.
    """

    status: AccountStatus = AccountStatus.VALID
    jwk: bytes
    thumbprint: str
    contact: tuple[str, ...] = ()
    token_id: str
    principal_id: str
    binding: bytes = b""
    user_agent: str = ""
    created: datetime
    learned: AuthorizationMode | None = None
    learned_why: str = ""
    former_keys: tuple[str, ...] = ()


class Actor(msgspec.Struct, frozen=True):
    """The signer of a request: an account, the token that bound it, and that token's principal, read together."""

    account: Account
    token: Token
    principal: Principal

"""API tokens, which are also the EAB credentials of clients."""

import enum
from datetime import datetime
from typing import Annotated

import msgspec

from acmehub.models.base import Model
from acmehub.models.principals import Role

Number = Annotated[int, msgspec.Meta(ge=0)] | None


class AuthorizationMode(enum.StrEnum):
    """How an order's authorizations turn valid (docs/vocabulary.md, "Authorization modes")."""

    AUTO = "auto"
    PREAPPROVED = "preapproved"
    ACCEPT = "accept"
    VERIFY = "verify"


class TokenState(enum.StrEnum):
    """Whether a token can be used at a given time, or why not; computed by `rules.eab.token_state`."""

    ACTIVE = "active"
    USED_UP = "used_up"
    EXPIRED = "expired"
    DISABLED = "disabled"
    REVOKED = "revoked"


class TokenLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Limits of one token instead of those of `[limits]`, by the same names; 0: no limit, None: that of `[limits]`.

    Those that begin with `token_` are for all accounts of the token together, the others for each account.
    """

    new_orders: Number = None
    names: Number = None
    open_orders: Number = None
    same_names: Number = None
    challenge_answers: Number = None
    revocations: Number = None
    key_changes: Number = None
    token_new_accounts: Number = None
    token_new_orders: Number = None
    token_names: Number = None
    token_orders_per_second: Number = None


class Token(Model, frozen=True, kw_only=True):
    """An API token: a credential of one principal. Its `id` is the client id and the EAB key id.

    `scope`: the roles of its principal that it may use. `names`: a domain match rule that narrows the names it may
    order, or empty. `networks`: addresses (CIDR) from which it may bind an account. `use_limit`: how many accounts it
    may bind. A token with a secret directory URL (`/acme/<key>/directory`, for clients without EAB) has the SHA-256 of
    the key in `directory_hash` and the sealed key in `sealed_directory_key`. `limits`: its own instead of the hub's.

    `tags`: what narrowed roles find it by, with those of its principal. At the API it acts with the roles of its scope;
    `reveal`: it may do there what takes a fresh proof of a person; `delegates`: it may make tokens.
    """

    title: str
    principal_id: str
    scope: tuple[Role, ...]
    names: str = ""
    authorization: AuthorizationMode = AuthorizationMode.AUTO
    networks: tuple[str, ...] = ()
    use_limit: int | None = None
    uses: int = 0
    expires: datetime | None = None
    enabled: bool = True
    revoked: datetime | None = None
    secret_hash: bytes
    sealed_hmac_key: bytes
    created: datetime
    directory_hash: bytes = b""
    sealed_directory_key: bytes = b""
    limits: TokenLimits = TokenLimits()
    tags: tuple[str, ...] = ()
    reveal: bool = False
    delegates: bool = False
    managed_by: str = ""

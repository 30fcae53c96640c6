"""Who may use the hub: principals, their roles, their API tokens."""

import enum
from datetime import datetime

import msgspec

from acmehub.models.base import Model


class Role(enum.StrEnum):
    """What a principal may do."""

    ADMINISTRATOR = "administrator"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    MANAGED_ACME_CONSUMER = "managed_acme_consumer"
    MANAGED_CHALLENGE_CONSUMER = "managed_challenge_consumer"


class RoleAssignment(msgspec.Struct, frozen=True):
    """A role of a principal; with `tags`, only for resources that bear at least one of them."""

    role: Role
    tags: tuple[str, ...] = ()


class PrincipalType(enum.StrEnum):
    """A person, or an ACME client (or a group of them)."""

    USER = "user"
    APPLICATION = "application"


class Principal(Model, frozen=True, kw_only=True):
    """Who may use the hub; `profiles` (names) are the only ones it may ask for, empty: any."""

    name: str
    type: PrincipalType
    roles: tuple[RoleAssignment, ...] = ()
    enabled: bool = True
    created: datetime
    profiles: tuple[str, ...] = ()

    def assignments(self, role: Role) -> tuple[RoleAssignment, ...]:
        """The principal's assignments of `role`; empty when it does not have it."""
        return tuple(item for item in self.roles if item.role is role)


class AuthorizationMode(enum.StrEnum):
    """How an order's authorizations turn valid (docs/vocabulary.md, "Authorization modes")."""

    AUTO = "auto"
    PREAPPROVED = "preapproved"
    ACCEPT = "accept"
    VERIFY = "verify"


class TokenState(enum.StrEnum):
    """What a token is at a moment; `eab.token_state` computes it."""

    ACTIVE = "active"
    USED_UP = "used_up"
    EXPIRED = "expired"
    DISABLED = "disabled"
    REVOKED = "revoked"


class Token(Model, frozen=True, kw_only=True):
    """An API token: a credential of one principal. Its `id` is the client id and the EAB key id.

    `scope` are the roles it may use of its principal's; `names` (a domain match rule, or empty) narrows the names it
    may ask for; `networks` (CIDR) the addresses it may bind an account from; `use_limit` how many accounts it may bind.
    With a secret directory URL (`/acme/<key>/directory`, for clients without EAB) `directory_hash` is the SHA-256 of
    its key, and the key itself is sealed.
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

"""What is stored: frozen Structs with a version, changed by `msgspec.structs.replace`.

Times are aware UTC datetimes; ids are made by `new_id` unless said otherwise; `version` starts at 1 and is moved by
the store alone, which refuses an update of a version that is no longer the current one. A field named `sealed_…`
holds bytes from `vault`, never clear text.
"""

import enum
import secrets
import time
from datetime import UTC, datetime

import msgspec

from acmehub.identifiers import Identifier
from acmehub.problems import ProblemDocument


def new_id() -> str:
    """A fresh id: 44 hexadecimal digits, the milliseconds since 1970 and then 128 random bits.

    Nobody guesses one, and what is made together lies together in every index: with wholly random ids an order costs
    a third more in a database of 100 000.
    """
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(16)}"


def made_at(id: str) -> datetime:
    """When `new_id` made this id, to the millisecond."""
    return datetime.fromtimestamp(int(id[:12], 16) / 1000, UTC)


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything that is stored."""

    id: str = msgspec.field(default_factory=new_id)
    version: int = 1


# ------------------------------------------------------------------------------------------ who may use the hub


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
    """How an order's authorizations turn valid (DESIGN.md, "One order's way", 3)."""

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


# ------------------------------------------------------------------------------- what operators configure


class PropagationMode(enum.StrEnum):
    """How the solver learns that a TXT record can be seen (RELIABILITY.md 2.9)."""

    AUTHORITATIVE = "authoritative"
    RESOLVERS = "resolvers"
    DELAY = "delay"
    NONE = "none"


class Propagation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long, and by asking whom, to wait for a record; `limit` and `delay` in seconds, `servers` as HOST[:PORT]."""

    mode: PropagationMode = PropagationMode.AUTHORITATIVE
    limit: float = 120.0
    delay: float = 30.0
    servers: tuple[str, ...] = ()


class ManagedChallenge(Model, frozen=True, kw_only=True):
    """A solver for some domains: a DNS plugin with its settings.

    `match` is a domain match rule; `cname_zones` (names of zones, `*` for any) are where a CNAME at `_acme-challenge`
    may lead besides the zone of the asked name; `sealed_settings` are the plugin's settings as JSON.
    """

    name: str
    plugin: str
    match: str
    tags: tuple[str, ...] = ()
    cname_zones: tuple[str, ...] = ()
    propagation: Propagation = Propagation()
    enabled: bool = True
    sealed_settings: bytes
    created: datetime


class Authority(Model, frozen=True, kw_only=True):
    """A configured upstream CA, with the hub's account there (`account_url` empty until first use)."""

    name: str
    plugin: str
    default: bool = False
    enabled: bool = True
    tags: tuple[str, ...] = ()
    sealed_settings: bytes
    account_url: str = ""
    sealed_account_key: bytes = b""
    created: datetime


class Profile(Model, frozen=True, kw_only=True):
    """An ACME profile that clients may name (draft-ietf-acme-profiles): so the client chooses its CA.

    `authority_id` is where its orders go (empty: the policy decides), `upstream_profile` the profile asked for there.
    `key_types` are the only kinds of certificate keys it takes (as `keys.kind` names them; empty: any);
    `lifetime_days` the validity asked of an authority that grants one.
    """

    name: str
    description: str
    authority_id: str = ""
    upstream_profile: str | None = None
    key_types: tuple[str, ...] = ()
    lifetime_days: int | None = None
    enabled: bool = True
    created: datetime


class Campaign(Model, frozen=True, kw_only=True):
    """An operator's wish that certificates be renewed between `starts` and `renew_by` (RFC 9773 windows say so).

    It is for the certificates issued before it was made that fit every criterion it has: authority, profile, a domain
    match rule on one of the names, principal (each empty: all). `explanation_url` is told to clients; `ended` when it
    was called off.
    """

    name: str
    reason: str = ""
    authority_id: str = ""
    profile: str = ""
    names: str = ""
    principal_id: str = ""
    starts: datetime
    renew_by: datetime
    explanation_url: str = ""
    ended: datetime | None = None
    created: datetime


# ------------------------------------------------------------------------------------------------- ACME objects


class AccountStatus(enum.StrEnum):
    """RFC 8555 section 7.1.6."""

    VALID = "valid"
    DEACTIVATED = "deactivated"
    REVOKED = "revoked"


class Account(Model, frozen=True, kw_only=True):
    """An ACME account; `jwk` is its public key as canonical JSON (RFC 7638), `thumbprint` the SHA-256 of that, unique.

    `binding` is the EAB object as it came (RFC 8555 section 7.3.4), `token_id` the token it named; `user_agent` is the
    latest that was taken note of. `learned` is the authorization mode that `auto` has learned for it (None: nothing),
    `learned_why` the reason for people.
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


class Actor(msgspec.Struct, frozen=True):
    """Who signed a request: an account with the token that bound it and that token's principal, read as one."""

    account: Account
    token: Token
    principal: Principal


class OrderStatus(enum.StrEnum):
    """RFC 8555 section 7.1.6."""

    PENDING = "pending"
    READY = "ready"
    PROCESSING = "processing"
    VALID = "valid"
    INVALID = "invalid"


class Stage(enum.StrEnum):
    """How far fulfilment is; the order it is declared in is the order it goes (see `orders.STAGE_MOVES`)."""

    ORDERING = "ordering"  # no upstream order yet
    AUTHORIZING = "authorizing"  # the upstream order stands; its authorizations are to be read
    PUBLISHING = "publishing"  # TXT records are in the ledger, to be created
    PROPAGATING = "propagating"  # created; not yet seen on all authoritative servers
    TRIGGERING = "triggering"  # seen; the upstream's challenges are to be answered
    VALIDATING = "validating"  # answered; the upstream validates
    AUTHORIZED = "authorized"  # the upstream would take a CSR; waits for the client's finalize
    FINALIZING = "finalizing"  # the CSR is to be sent (or was, and the answer is not known)
    ISSUING = "issuing"  # the upstream has it, `processing`
    DOWNLOADING = "downloading"  # the upstream order is valid; its chain is to be fetched
    DONE = "done"
    FAILED = "failed"


class Order(Model, frozen=True, kw_only=True):
    """A client's order and, in the same row, the job of fulfilling it.

    `mode` is the authorization mode that was settled for it. `name_set` is `identifiers.name_set`. `flight` is the
    single-flight key it holds (unique while not None): one upstream order at a time per account, names and profile.
    `client_profile` is the `Profile` that the client named, `profile` what is asked of the authority. With
    `preauthorization` it only carries the authorization that newAuthz made (RFC 8555 section 7.4.1): no client sees
    it as an order. `replaces` is the ARI identifier (RFC 9773) of the certificate it renews, checked to be one of ours.
    The job: due at `run_at` (None: nothing to do), owned by `lease_owner` until `lease_until`; `fence` grows with each
    claim and stands in the WHERE of each write; `give_up_at` is when retries end; `attempts` counts the failures of
    the present step.
    """

    account_id: str
    token_id: str
    principal_id: str
    status: OrderStatus
    identifiers: tuple[Identifier, ...]
    name_set: str
    mode: AuthorizationMode
    expires: datetime
    created: datetime
    profile: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    replaces: str | None = None
    error: ProblemDocument | None = None
    csr: bytes | None = None
    certificate_id: str | None = None
    # fulfilment
    authority_id: str
    stage: Stage
    flight: str | None = None
    upstream_url: str | None = None
    upstream_finalize: str | None = None
    upstream_certificate: str | None = None
    run_at: datetime | None = None
    lease_owner: str | None = None
    lease_until: datetime | None = None
    fence: int = 0
    attempts: int = 0
    give_up_at: datetime
    client_profile: str | None = None
    preauthorization: bool = False


class AuthorizationStatus(enum.StrEnum):
    """RFC 8555 section 7.1.6."""

    PENDING = "pending"
    VALID = "valid"
    INVALID = "invalid"
    DEACTIVATED = "deactivated"
    EXPIRED = "expired"
    REVOKED = "revoked"


class ChallengeType(enum.StrEnum):
    """The challenge types that the hub offers, in the order it lists them (CLIENTS.md rules 8 and 9)."""

    HTTP_01 = "http-01"
    DNS_01 = "dns-01"
    TLS_ALPN_01 = "tls-alpn-01"


class Authorization(Model, frozen=True, kw_only=True):
    """An authorization of one order for one identifier, with its challenges and its counterpart upstream.

    `identifier` has no wildcard label (`wildcard` says so). One `token` serves all challenge types; `answered` is the
    type that the client has responded to. `position` is its place in the order's list. `upstream_status` is the last
    status read there (empty: none); `triggered` says that the upstream's challenge was answered.
    """

    order_id: str
    account_id: str
    position: int
    identifier: Identifier
    wildcard: bool
    status: AuthorizationStatus
    expires: datetime
    token: str
    answered: ChallengeType | None = None
    validated: datetime | None = None
    error: ProblemDocument | None = None
    upstream_url: str | None = None
    upstream_challenge: str | None = None
    upstream_status: str = ""
    triggered: bool = False


class TxtState(enum.StrEnum):
    """A ledger row's state: `planned` before add_txt, `present` after it, `remove` when it is to go."""

    PLANNED = "planned"
    PRESENT = "present"
    REMOVE = "remove"


class TxtRecord(Model, frozen=True, kw_only=True):
    """One row of the TXT ledger: a value that the hub creates, or has, or must remove; deleted when it is gone.

    `run_at` is the earliest time of its removal, also before it is to be removed: a planned row's lies behind the end
    of an `add_txt` that may be under way, a present one's is when it became so. A change's `withdraw` leaves it as is.
    """

    order_id: str
    authorization_id: str
    managed_challenge_id: str
    zone: str
    name: str
    value: str
    state: TxtState = TxtState.PLANNED
    run_at: datetime | None = None
    lease_owner: str | None = None
    lease_until: datetime | None = None
    attempts: int = 0
    last_error: str = ""
    created: datetime


class Certificate(Model, frozen=True, kw_only=True):
    """An issued certificate. `chain` is PEM, leaf first; `alternates` are other chains for the same leaf (PEM).

    `serial` in lower-case hexadecimal; `spki_sha256` of the leaf's key, in hexadecimal; `revoked` when it was, for
    `revocation_reason` (RFC 5280 section 5.3.1). `account_url` is the hub's account at the authority that ordered it.
    For ARI (RFC 9773): `cert_id` is its identifier (empty: none can be made), the window and its `explanation_url` are
    the upstream's, to be asked for again at `window_until`; `replaced_by` is the order whose certificate replaces it.
    """

    order_id: str
    account_id: str
    authority_id: str
    names: tuple[str, ...]
    serial: str
    issuer: str
    spki_sha256: str
    not_before: datetime
    not_after: datetime
    chain: str
    alternates: tuple[str, ...] = ()
    revoked: datetime | None = None
    created: datetime
    principal_id: str = ""
    profile: str | None = None
    account_url: str = ""
    cert_id: str = ""
    window_start: datetime | None = None
    window_end: datetime | None = None
    window_until: datetime | None = None
    explanation_url: str = ""
    replaced_by: str | None = None
    revocation_reason: int | None = None


# ------------------------------------------------------------------------------------------------------ records


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an order's timeline: what happened, when, how long it took, which server said what.

    `what` is a short verb phrase of ours; `detail` the other side's words; `seconds` the duration of the exchange.
    """

    order_id: str
    at: datetime
    what: str
    detail: str = ""
    server: str = ""
    seconds: float | None = None


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what to which object, and whether it was allowed; never with a secret in it."""

    at: datetime
    actor: str
    action: str
    object: str
    detail: str = ""
    allowed: bool = True

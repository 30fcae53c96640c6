"""The ACME objects and the work for them: accounts, orders, authorizations, TXT records, certificates."""

import enum
from datetime import datetime
from typing import Annotated

import msgspec

from acmehub.models.access import AuthorizationMode, Principal, Token
from acmehub.models.base import Model
from acmehub.models.identifiers import Identifier
from acmehub.models.problems import ProblemDocument


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
    RESPONDING = "responding"  # seen; the upstream's challenges are to be answered
    VALIDATING = "validating"  # answered; the upstream validates
    AUTHORIZED = "authorized"  # the upstream would take a CSR; waits for the client's finalize
    FINALIZING = "finalizing"  # the CSR is to be sent (or was, and the answer is not known)
    ISSUING = "issuing"  # the upstream has it, `processing`
    DOWNLOADING = "downloading"  # the upstream order is valid; its chain is to be fetched
    DONE = "done"
    FAILED = "failed"


class Wish(enum.Enum):
    """What a field of an order says of its client's wish: order reuse compares these fields of two orders."""

    CERTIFICATE = "certificate"  # orders that differ in it ask for different certificates
    ORDER = "order"  # or for the same certificate, but they are not the same order
    NONE = "none"  # it is state, or (`mode`) has a rule of its own in `rules/order_reuse.py`


FOR_CERTIFICATE = msgspec.Meta(extra={"wish": Wish.CERTIFICATE})
FOR_ORDER = msgspec.Meta(extra={"wish": Wish.ORDER})
NO_WISH = msgspec.Meta(extra={"wish": Wish.NONE})


class Order(Model, frozen=True, kw_only=True):
    """A client's order and, in the same row, the job of fulfilling it.

    `mode` is the authorization mode that was settled for it. `name_set` is `identifiers.name_set`. `flight` is the
    single-flight key it holds (unique while not None): one upstream order at a time per account, names and profile.
    `client_profile` is the `Profile` that the client named, `profile` what is asked of the authority. With
    `preauthorization` it only carries the authorization that newAuthz made (RFC 8555 section 7.4.1): no client sees
    it as an order. `replaces` is the ARI identifier (RFC 9773) of the certificate it renews, checked to be one of ours.
    The job: due at `run_at` (None: nothing to do), owned by `lease_owner` until `lease_until`; `fence` grows with each
    claim and stands in the WHERE of each write; `deadline` is when retries end; `attempts` counts the failures of
    the present step. Every field says whether order reuse compares it (`Wish`).
    """

    account_id: Annotated[str, FOR_CERTIFICATE]
    token_id: Annotated[str, NO_WISH]
    principal_id: Annotated[str, NO_WISH]
    status: Annotated[OrderStatus, NO_WISH]
    identifiers: Annotated[tuple[Identifier, ...], FOR_ORDER]
    name_set: Annotated[str, FOR_CERTIFICATE]
    mode: Annotated[AuthorizationMode, NO_WISH]
    expires: Annotated[datetime, NO_WISH]
    created: Annotated[datetime, NO_WISH]
    profile: Annotated[str | None, FOR_CERTIFICATE] = None
    not_before: Annotated[datetime | None, FOR_CERTIFICATE] = None
    not_after: Annotated[datetime | None, FOR_CERTIFICATE] = None
    replaces: Annotated[str | None, FOR_ORDER] = None
    error: Annotated[ProblemDocument | None, NO_WISH] = None
    csr: Annotated[bytes | None, NO_WISH] = None
    certificate_id: Annotated[str | None, NO_WISH] = None
    # fulfilment
    authority_id: Annotated[str, FOR_CERTIFICATE]
    stage: Annotated[Stage, NO_WISH]
    flight: Annotated[str | None, NO_WISH] = None
    upstream_url: Annotated[str | None, NO_WISH] = None
    upstream_finalize: Annotated[str | None, NO_WISH] = None
    upstream_certificate: Annotated[str | None, NO_WISH] = None
    run_at: Annotated[datetime | None, NO_WISH] = None
    lease_owner: Annotated[str | None, NO_WISH] = None
    lease_until: Annotated[datetime | None, NO_WISH] = None
    fence: Annotated[int, NO_WISH] = 0
    attempts: Annotated[int, NO_WISH] = 0
    deadline: Annotated[datetime, NO_WISH]
    client_profile: Annotated[str | None, FOR_CERTIFICATE] = None
    preauthorization: Annotated[bool, FOR_ORDER] = False


class AuthorizationStatus(enum.StrEnum):
    """RFC 8555 section 7.1.6."""

    PENDING = "pending"
    VALID = "valid"
    INVALID = "invalid"
    DEACTIVATED = "deactivated"
    EXPIRED = "expired"
    REVOKED = "revoked"


class ChallengeType(enum.StrEnum):
    """The challenge types that the hub offers, in the order it lists them (docs/client-rules.md rules 8 and 9)."""

    HTTP_01 = "http-01"
    DNS_01 = "dns-01"
    TLS_ALPN_01 = "tls-alpn-01"


class Authorization(Model, frozen=True, kw_only=True):
    """An authorization of one order for one identifier, with its challenges and its counterpart upstream.

    `identifier` has no wildcard label (`wildcard` says so). One `token` serves all challenge types; `answered` is the
    type that the client has responded to. `position` is its place in the order's list. `upstream_status` is the last
    status read there (empty: none); `responded` says that the upstream's challenge was answered.
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
    responded: bool = False


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

"""Orders and their authorizations."""

import enum
from datetime import datetime

from acmehub.models.base import Model
from acmehub.models.identifiers import Identifier
from acmehub.models.problems import ProblemDocument
from acmehub.models.tokens import AuthorizationMode


class OrderStatus(enum.StrEnum):
    """RFC 8555 section 7.1.6."""

    PENDING = "pending"
    READY = "ready"
    PROCESSING = "processing"
    VALID = "valid"
    INVALID = "invalid"


class Stage(enum.StrEnum):
    """How far issuance is, in the order in which an order passes the stages (moves: `rules.orders.STAGE_MOVES`)."""

    ORDERING = "ordering"  # there is no upstream order yet
    AUTHORIZING = "authorizing"  # the upstream order exists; the hub reads its authorizations next
    PUBLISHING = "publishing"  # TXT records are stored; the hub creates them in DNS next
    PROPAGATING = "propagating"  # created; not yet seen on all authoritative servers
    RESPONDING = "responding"  # seen; the hub responds to the upstream's challenges next
    VALIDATING = "validating"  # responded; the upstream validates
    AUTHORIZED = "authorized"  # the upstream would take a CSR; the hub waits for the client's finalize
    FINALIZING = "finalizing"  # the hub sends the CSR next, or has sent it and does not know the result
    ISSUING = "issuing"  # the upstream has the CSR and is `processing`
    DOWNLOADING = "downloading"  # the upstream order is valid; the hub downloads its chain next
    DONE = "done"
    FAILED = "failed"


class Order(Model, frozen=True, kw_only=True):
    """A client's order and, in the same row, the job of issuing its certificate.

    `mode`: the authorization mode that was chosen for it. `name_set`: `identifiers.name_set` of its identifiers.
    `flight`: the single-flight lock that it holds (unique while not None): one upstream order at a time per upstream
    account, names and profile. `client_profile`: the `Profile` that the client named; `profile`: the one requested
    from the authority. `replaces`: the ARI identifier (RFC 9773) of the certificate that it renews, which the hub has
    issued. With `preauthorization`, the order only carries the authorization that newAuthz made (RFC 8555 section
    7.4.1), and no client sees it as an order.

    The job is due at `run_at` (None: nothing to do) and belongs to `lease_owner` until `lease_until`. `fence` grows
    with each claim and stands in the WHERE of each write. Retries end at `deadline`; `attempts` counts the failures of
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
    # issuance
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
    deadline: datetime
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
    """The challenge types that the hub offers, in the order of its lists (docs/client-rules.md rules 8, 9)."""

    HTTP_01 = "http-01"
    DNS_01 = "dns-01"
    TLS_ALPN_01 = "tls-alpn-01"


class Authorization(Model, frozen=True, kw_only=True):
    """An authorization of one order for one identifier, with its challenges and its counterpart upstream.

    `identifier` has no wildcard label; `wildcard` says whether the order's identifier has one. All challenge types
    share one `token`; `answered` is the type that the client has responded to. `position`: its place in the order's
    list. `upstream_status`: the status that was last read upstream (empty: none). `responded`: the hub has responded to
    the upstream's challenge.
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

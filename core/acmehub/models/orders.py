"""Orders and their authorizations."""

import enum
from datetime import datetime
from typing import Annotated

import msgspec

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


class Wish(enum.Enum):
    """What a field of an order says of its client's wish: order reuse compares these fields of two orders."""

    CERTIFICATE = "certificate"  # orders that differ in it ask for different certificates
    ORDER = "order"  # or for the same certificate, but they are not the same order
    NONE = "none"  # it is state, or (`mode`) has a rule of its own in `rules/order_reuse.py`


FOR_CERTIFICATE = msgspec.Meta(extra={"wish": Wish.CERTIFICATE})
FOR_ORDER = msgspec.Meta(extra={"wish": Wish.ORDER})
NO_WISH = msgspec.Meta(extra={"wish": Wish.NONE})


class Order(Model, frozen=True, kw_only=True):
    """A client's order and, in the same row, the job of issuing its certificate.

    `mode`: the authorization mode that was chosen for it. `name_set`: `identifiers.name_set` of its identifiers.
    `lock_key`: the single-flight lock that it holds (unique while not None): one upstream order at a time per upstream
    account, names and profile, and no two holders with one upstream order. `client_profile`: the `Profile` that the
    client named; `profile`: the one requested from the authority. `replaces`: the ARI identifier (RFC 9773) of the
    certificate that it renews, which the hub has issued. With `preauthorization`, the order only carries the
    authorization that newAuthz made (RFC 8555 section 7.4.1), and no client sees it as an order.

    The job is due at `run_at` (None: nothing to do) and belongs to `lease_owner` until `lease_until`. `fence` grows
    with each claim and stands in the WHERE of each write. Retries end at `deadline`; `attempts` counts the failures of
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
    # issuance
    authority_id: Annotated[str, FOR_CERTIFICATE]
    stage: Annotated[Stage, NO_WISH]
    lock_key: Annotated[str | None, NO_WISH] = None
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

"""ACME errors: `Problem` is raised anywhere, `ProblemDocument` is stored and sent (RFC 7807, RFC 8555 section 6.7).

Only `acme/server/rendering.py` makes a response of a `Problem`.
"""

import enum
from collections.abc import Sequence

import msgspec

from acmehub.models.identifiers import Identifier

URN = "urn:ietf:params:acme:error:"


class ProblemType(enum.Enum):
    """Each error type of RFC 8555 section 6.7, RFC 9773 and the profiles draft, with its HTTP status."""

    ACCOUNT_DOES_NOT_EXIST = ("accountDoesNotExist", 400)
    ALREADY_REPLACED = ("alreadyReplaced", 409)
    ALREADY_REVOKED = ("alreadyRevoked", 400)
    BAD_CSR = ("badCSR", 400)
    BAD_NONCE = ("badNonce", 400)
    BAD_PUBLIC_KEY = ("badPublicKey", 400)
    BAD_REVOCATION_REASON = ("badRevocationReason", 400)
    BAD_SIGNATURE_ALGORITHM = ("badSignatureAlgorithm", 400)
    CAA = ("caa", 403)
    COMPOUND = ("compound", 400)
    CONNECTION = ("connection", 400)
    DNS = ("dns", 400)
    EXTERNAL_ACCOUNT_REQUIRED = ("externalAccountRequired", 403)
    INCORRECT_RESPONSE = ("incorrectResponse", 403)
    INVALID_CONTACT = ("invalidContact", 400)
    INVALID_PROFILE = ("invalidProfile", 400)
    MALFORMED = ("malformed", 400)
    ORDER_NOT_READY = ("orderNotReady", 403)
    RATE_LIMITED = ("rateLimited", 429)
    REJECTED_IDENTIFIER = ("rejectedIdentifier", 403)
    SERVER_INTERNAL = ("serverInternal", 500)
    TLS = ("tls", 400)
    UNAUTHORIZED = ("unauthorized", 403)
    UNSUPPORTED_CONTACT = ("unsupportedContact", 400)
    UNSUPPORTED_IDENTIFIER = ("unsupportedIdentifier", 400)
    USER_ACTION_REQUIRED = ("userActionRequired", 403)

    @property
    def urn(self) -> str:
        """The full type, `urn:ietf:params:acme:error:…`."""
        return URN + self.value[0]

    @property
    def status(self) -> int:
        """The HTTP status of this type, which a `Problem` may override."""
        return self.value[1]


class Subproblem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One part of a compound problem, for one identifier (RFC 8555 section 6.7.1)."""

    type: str
    detail: str
    identifier: Identifier | None = None


class ProblemDocument(msgspec.Struct, frozen=True, omit_defaults=True):
    """The JSON form of a problem, as sent to clients and stored as the error of an order or an authorization."""

    type: str
    detail: str
    status: int = 0
    subproblems: tuple[Subproblem, ...] = ()
    algorithms: tuple[str, ...] = ()
    identifier: Identifier | None = None
    reference: str = ""
    instance: str = ""


class Problem(Exception):
    """An error that the client receives.

    `retry_after`: seconds. `status`: overrides the type's own (404, 405, 413, 415, 503 …). `location`: sent as the
    header of that name (RFC 8555 section 7.3.5). `instance`: the URL of the terms of service that a person has to agree
    to (section 7.3.3). `is_told`: operators learn of it where it is raised; `about`: the
    object that they are told of besides.
    """

    is_told = False
    about = ""

    def __init__(
        self,
        type: ProblemType,
        detail: str,
        *,
        subproblems: Sequence[Subproblem] = (),
        algorithms: Sequence[str] = (),
        status: int | None = None,
        retry_after: int | None = None,
        location: str | None = None,
        reference: str = "",
        instance: str = "",
    ) -> None:
        super().__init__(detail)
        self.type = type
        self.detail = detail
        self.subproblems = tuple(subproblems)
        self.algorithms = tuple(algorithms)
        self.status = status or type.status
        self.retry_after = retry_after
        self.location = location
        self.reference = reference
        self.instance = instance

    def document(self) -> ProblemDocument:
        """This problem as a document."""
        return ProblemDocument(
            type=self.type.urn,
            detail=self.detail,
            status=self.status,
            subproblems=self.subproblems,
            algorithms=self.algorithms,
            reference=self.reference,
            instance=self.instance,
        )


def subproblem(type: ProblemType, detail: str, identifier: Identifier) -> Subproblem:
    """A subproblem about one identifier."""
    return Subproblem(type=type.urn, detail=detail, identifier=identifier)


def gathered(detail: str, parts: Sequence[Subproblem]) -> Problem:
    """Combine subproblems (at least one) into a problem of their common type, or of type `compound`."""
    urns = {part.type for part in parts}
    common = next((item for item in ProblemType if {item.urn} == urns), ProblemType.COMPOUND)
    if len(parts) == 1:
        detail = parts[0].detail
    return Problem(common, detail, subproblems=parts)


def not_found() -> Problem:
    """The problem for an object that does not exist; an object of another account gets the same one."""
    return Problem(ProblemType.MALFORMED, "there is no such resource", status=404)

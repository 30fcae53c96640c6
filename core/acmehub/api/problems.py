"""What goes wrong, as problem documents (RFC 9457); docs/problems.md lists the types."""

import difflib
import logging
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from acmehub.admin.access.errors import (
    InUse,
    Invalid,
    NotFound,
    Refused,
    ServiceError,
    Taken,
    Unauthenticated,
    VersionMismatch,
)
from acmehub.admin.resources.document import InvalidFile
from acmehub.models.problems import Problem
from acmehub.ports.authority import UpstreamError
from acmehub.ports.store import StoreUnavailable
from acmehub.rules.permissions import Forbidden
from acmehub.rules.rate_limits import TokensLacking, seconds_of

PROBLEM_JSON = "application/problem+json"
WHERE = "/docs/problems#"
STORE_RETRY_AFTER = 5  # seconds
CHALLENGE = 'Bearer realm="acmehub"'

_log = logging.getLogger(__name__)


class FieldError(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one field of the request, named as in its body (`settings.port`)."""

    field: str
    message: str


class ProblemBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem document. `users`: what needs the object; `expected` and `current`: versions; `server`: the CA that
    refused; `reference`: what the hub's log names the failure by; `acme`: the type that an ACME client would get
    (RFC 8555 section 6.7)."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[FieldError, ...] = ()
    users: tuple[str, ...] = ()
    expected: int | None = None
    current: int | None = None
    server: str = ""
    reference: str = ""
    acme: str = ""


class ProblemKind(msgspec.Struct, frozen=True):
    """A type: the last part of its URL, the status, the title."""

    name: str
    status: int
    title: str

    @property
    def url(self) -> str:
        """What `type` has."""
        return WHERE + self.name


_TYPES = (
    ProblemKind("malformed", 400, "The request cannot be read"),
    ProblemKind("unauthenticated", 401, "An API token is needed"),
    ProblemKind("forbidden", 403, "The token's roles do not allow this"),
    ProblemKind("not-found", 404, "There is no such thing"),
    ProblemKind("method-not-allowed", 405, "This cannot be done here"),
    ProblemKind("taken", 409, "The name is taken"),
    ProblemKind("in-use", 409, "It is in use"),
    ProblemKind("refused", 409, "This cannot be done in its present state"),
    ProblemKind("still-running", 409, "The first request with this key is not answered yet"),
    ProblemKind("version-mismatch", 412, "It was changed meanwhile"),
    ProblemKind("too-large", 413, "The body is too large"),
    ProblemKind("unsupported-media-type", 415, "The body has another media type than is read here"),
    ProblemKind("invalid", 422, "A value does not fit"),
    ProblemKind("key-reused", 422, "The key was used for another request"),
    ProblemKind("rate-limited", 429, "Too many requests"),
    ProblemKind("internal", 500, "The hub failed"),
    ProblemKind("upstream", 502, "The CA refused or did not answer"),
    ProblemKind("storage-unavailable", 503, "The hub's storage does not answer"),
)
TYPES = {item.name: item for item in _TYPES}
"""All types by name."""


class ApiError(Exception):
    """A request that the API answers with a problem, before or instead of a verb; `headers` go with it."""

    def __init__(
        self,
        name: str,
        detail: str,
        *,
        errors: Iterable[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        kind = TYPES[name]
        self.body = ProblemBody(
            type=kind.url, title=kind.title, status=kind.status, detail=detail, errors=tuple(errors), **more
        )
        self.headers = dict(headers or {})


EXPECTED = (ApiError, ServiceError, Forbidden, Problem, UpstreamError)
"""What verbs refuse a request with."""


def invalid(field: str, message: str) -> ApiError:
    """422 for one field."""
    said = f"{field}: {message}" if field else message
    return ApiError("invalid", said, errors=[FieldError(field=field, message=message)])


def too_many(lacking: TokensLacking) -> ApiError:
    """429 by a bucket that has not enough tokens."""
    seconds = seconds_of(lacking.wait)
    detail = f"too many {lacking.charge.limit.text}; try again in {seconds} s"
    return ApiError("rate-limited", detail, headers={"retry-after": str(seconds)})


def near(key: str, known: Iterable[str]) -> str:
    """What may be meant by an unknown key, or what is known."""
    names = list(known)
    found = difflib.get_close_matches(key, names, n=1)
    return f"; did you mean {found[0]!r}?" if found else f"; known here: {', '.join(names) or 'none'}"


def problem_of(error: Exception) -> ApiError:
    """The answer for an exception of a verb; anything unexpected goes to the log, under a reference."""
    match error:
        case ApiError():
            return error
        case Unauthenticated():
            return ApiError("unauthenticated", str(error), headers={"www-authenticate": CHALLENGE})
        case Forbidden():
            return ApiError("forbidden", str(error))
        case NotFound():
            return ApiError("not-found", str(error))
        case Taken():
            return ApiError("taken", str(error))
        case InUse():
            return ApiError("in-use", str(error), users=error.users)
        case VersionMismatch():
            return ApiError("version-mismatch", str(error), expected=error.expected, current=error.current)
        case Invalid():
            return invalid(error.field, error.message)
        case InvalidFile():
            return ApiError("invalid", str(error), errors=[FieldError(field="", message=line) for line in error.errors])
        case Refused() | ServiceError():
            return ApiError("refused", str(error))
        case Problem() if error.status < 500:
            return ApiError(
                "invalid", error.detail, errors=[_of_name(part) for part in error.subproblems], acme=error.type.urn
            )
        case UpstreamError():
            return ApiError("upstream", error.detail, server=error.server)
        case StoreUnavailable():
            return ApiError(
                "storage-unavailable",
                "the storage is unavailable at present; try again",
                headers={"retry-after": str(STORE_RETRY_AFTER)},
            )
    reference = secrets.token_hex(8)
    _log.error("a request to the API failed", exc_info=error, extra={"reference": reference})
    return ApiError("internal", f"internal error, reference {reference}", reference=reference)


def _of_name(part: Any) -> FieldError:
    return FieldError(field="names", message=f"{part.identifier.value}: {part.detail}")

"""Error responses of CAs become `UpstreamError`s."""

import msgspec

from acmehub.models.identifiers import Identifier
from acmehub.models.problems import URN, ProblemDocument, ProblemType, Subproblem
from acmehub.ports.authority import (
    UpstreamAccountLost,
    UpstreamError,
    UpstreamObjectLost,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamUnavailable,
)

_LONGEST_DETAIL = 2000
_MOST_SUBPROBLEMS = 100


class NotThere(UpstreamUnavailable):
    """404 from a server that does not look like an ACME server: a proxy before it, or its former address."""


class _Subproblem(msgspec.Struct, frozen=True):
    type: str = "about:blank"
    detail: str = ""
    title: str = ""
    identifier: Identifier | None = None


class _Problem(_Subproblem, frozen=True):
    status: int = 0
    subproblems: tuple[_Subproblem, ...] = ()
    algorithms: tuple[str, ...] = ()


def read_problem(body: bytes | msgspec.Raw, status: int = 0) -> ProblemDocument | None:
    """The problem document (RFC 7807) in `body`; None when there is none."""
    try:
        raw = msgspec.json.decode(body, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if raw.type == "about:blank" and not raw.detail:
        return None
    return ProblemDocument(
        type=raw.type,
        detail=_message(raw),
        status=raw.status or status,
        subproblems=tuple(
            Subproblem(type=part.type, detail=_message(part), identifier=part.identifier)
            for part in raw.subproblems[:_MOST_SUBPROBLEMS]
        ),
        algorithms=raw.algorithms,
        identifier=raw.identifier,
    )


def _message(raw: _Subproblem) -> str:
    return (raw.detail or raw.title or raw.type.removeprefix(URN))[:_LONGEST_DETAIL]


def failure(url: str, status: int, body: bytes, retry_after: float | None, server: str, *, acme: bool) -> UpstreamError:
    """The error for a response that is not 2xx. `unauthorized` may also mean a lost account; `steps.py` finds out.

    `acme`: the response has a nonce, so an ACME server sent it. Only such a response, or one with a problem document,
    proves that an object is gone; a lost order may cost a certificate.
    """
    problem = read_problem(body, status)
    if problem is None:
        detail = f"{url}: HTTP {status} without a problem document"
        if status == 429:
            return UpstreamRateLimited(f"{url}: too many requests (HTTP 429)", server=server, retry_after=retry_after)
        if status in (404, 410):
            return UpstreamObjectLost(detail, server=server) if acme else NotThere(detail, server=server)
        return UpstreamUnavailable(detail, server=server, retry_after=retry_after)
    if status == 429 or problem.type == ProblemType.RATE_LIMITED.urn:
        return UpstreamRateLimited(problem.detail, server=server, retry_after=retry_after)
    if status >= 500 or problem.type in (ProblemType.SERVER_INTERNAL.urn, ProblemType.BAD_NONCE.urn):
        return UpstreamUnavailable(f"{problem.detail} (HTTP {status})", server=server, retry_after=retry_after)
    if problem.type == ProblemType.ACCOUNT_DOES_NOT_EXIST.urn:
        return UpstreamAccountLost(problem.detail, server=server)
    if status in (404, 410):
        return UpstreamObjectLost(problem.detail, server=server)
    return UpstreamRefused(problem, server=server)

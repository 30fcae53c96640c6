"""Reading a CA's refusals: what each answer means for us, as one of the `UpstreamError`s."""

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
    """404 from something that does not look like the ACME server: a proxy before it, or where it was once."""


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
    """A problem document (RFC 7807) as we keep it; None when `body` is not one."""
    try:
        raw = msgspec.json.decode(body, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if raw.type == "about:blank" and not raw.detail:
        return None
    return ProblemDocument(
        type=raw.type,
        detail=_words(raw),
        status=raw.status or status,
        subproblems=tuple(
            Subproblem(type=part.type, detail=_words(part), identifier=part.identifier)
            for part in raw.subproblems[:_MOST_SUBPROBLEMS]
        ),
        algorithms=raw.algorithms,
        identifier=raw.identifier,
    )


def _words(raw: _Subproblem) -> str:
    return (raw.detail or raw.title or raw.type.removeprefix(URN))[:_LONGEST_DETAIL]


def failure(url: str, status: int, body: bytes, retry_after: float | None, server: str, *, acme: bool) -> UpstreamError:
    """What an answer that is not 2xx means; `unauthorized` still has to be told from a lost account by asking.

    `acme` says whether an ACME server sent it for certain: it brought a nonce. Only such a server, or one that sends a
    problem document, is believed that an object is gone: the order behind it may have cost a certificate.
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

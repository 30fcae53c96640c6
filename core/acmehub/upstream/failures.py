"""Error responses of CAs become `UpstreamError`s."""

import re
from urllib.parse import urljoin

from msgspec.structs import replace

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
from acmehub.upstream.members import Members, decode, words
from acmehub.upstream.responses import UpstreamResponse

_LONGEST_TYPE = 200
_MOST_PARTS = 100
_NO_TYPE = "about:blank"
_SHOWABLE = re.compile(r"(?:https?://|urn:)[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]{1,1900}")
_PAUSED = re.compile(r"\b(?:un)?paused?\b|temporarily prevented from requesting", re.IGNORECASE)


class NotThere(UpstreamUnavailable):
    """404 from a server that does not look like an ACME server: a proxy before it, or its former address."""


def read_problem(body: bytes, base: str = "", status: int = 0) -> ProblemDocument | None:
    """The problem document (RFC 7807) in a response's body, from `base`; None when there is none."""
    return problem_of(decode(body), base, status)


def problem_of(members: Members | None, base: str = "", status: int = 0) -> ProblemDocument | None:
    """A problem document, read member by member: whatever else it has, its type and detail survive."""
    if members is None:
        return None
    type = members.text("type", _LONGEST_TYPE) or _NO_TYPE
    if type == _NO_TYPE and not members.text("detail"):
        return None
    given = members.number("status")
    return ProblemDocument(
        type=type,
        detail=_message(members),
        status=given if 100 <= given <= 599 else status,
        subproblems=tuple(map(_subproblem, members.objects("subproblems")[:_MOST_PARTS])),
        algorithms=tuple(filter(None, map(words, members.texts("algorithms")))),
        identifier=identifier_of(members),
        instance=_showable(base, members.plain("instance")),
    )


def identifier_of(members: Members) -> Identifier | None:
    """The member `identifier`, of type `dns` where it does not say; None when there is none."""
    found = members.object("identifier")
    value = found.text("value", 300) if found is not None else ""
    return Identifier(found.text("type", 32) or "dns", value) if found is not None and value else None


def _subproblem(part: Members) -> Subproblem:
    return Subproblem(
        type=part.text("type", _LONGEST_TYPE) or _NO_TYPE, detail=_message(part), identifier=identifier_of(part)
    )


def _message(members: Members) -> str:
    return (
        members.text("detail")
        or members.text("title")
        or (members.text("type", _LONGEST_TYPE) or _NO_TYPE).removeprefix(URN)
    )


def _showable(base: str, reference: str) -> str:
    """The URL of a page, for people; empty when there is none."""
    if not reference:
        return ""
    try:
        url = urljoin(base, reference)
    except ValueError:
        return ""
    return url if _SHOWABLE.fullmatch(url) else ""


def failure(answer: UpstreamResponse, server: str) -> UpstreamError:
    """The error for a response that is not 2xx. `unauthorized` may also mean a lost account; `steps.py` finds out.

    Only a response with a nonce, or a problem document of a type of ACME, was sent by an ACME server: `{"detail": "Not
    Found"}` is a web framework's, and a lost order may cost a certificate.
    """
    url, status, retry_after = answer.url, answer.status, answer.retry_after
    problem = read_problem(answer.body, url, status)
    has_nonce = bool(answer.header("Replay-Nonce"))
    if problem is None or not (has_nonce or problem.type.startswith(URN)):
        what = f": {problem.detail}" if problem is not None else " without a problem document"
        detail = f"{url}: HTTP {status}{what}"
        if status == 429:
            return UpstreamRateLimited(f"{url}: too many requests (HTTP 429)", server=server, retry_after=retry_after)
        if status in (404, 410):
            return UpstreamObjectLost(detail, server=server) if has_nonce else NotThere(detail, server=server)
        return UpstreamUnavailable(detail, server=server, retry_after=retry_after)
    if problem.type == ProblemType.USER_ACTION_REQUIRED.urn:
        problem = _with_pages(problem, answer)
    if status == 429 or problem.type == ProblemType.RATE_LIMITED.urn:
        paused = retry_after is None and problem.type == ProblemType.RATE_LIMITED.urn and _says_paused(problem)
        return UpstreamRateLimited(problem.detail, server=server, retry_after=retry_after, paused=paused)
    if status >= 500 or problem.type in (ProblemType.SERVER_INTERNAL.urn, ProblemType.BAD_NONCE.urn):
        return UpstreamUnavailable(f"{problem.detail} (HTTP {status})", server=server, retry_after=retry_after)
    if problem.type == ProblemType.ACCOUNT_DOES_NOT_EXIST.urn:
        return UpstreamAccountLost(problem.detail, server=server)
    if status in (404, 410):
        return UpstreamObjectLost(problem.detail, server=server)
    return UpstreamRefused(problem, server=server)


def _with_pages(problem: ProblemDocument, answer: UpstreamResponse) -> ProblemDocument:
    """`userActionRequired` (RFC 8555 section 7.3.3) with the pages that a person has to visit in its words."""
    terms = next(filter(None, (_showable(answer.url, link) for link in answer.links("terms-of-service"))), "")
    instance = problem.instance or terms
    detail = problem.detail
    for label, page in (("see", instance), ("terms of service:", terms)):
        if page and page not in detail:
            detail = f"{detail} ({label} {page})"
    return replace(problem, detail=detail, instance=instance)


def _says_paused(problem: ProblemDocument) -> bool:
    """Whether a CA has paused the account or a name until a person acts, as Boulder does."""
    texts = (problem.detail, problem.instance, *(part.detail for part in problem.subproblems))
    return any(map(_PAUSED.search, texts))

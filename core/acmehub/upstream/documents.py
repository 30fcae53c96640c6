"""Documents of CAs become objects of `ports/authority.py`: strict in what is needed, deaf to the rest.

A member that is missing, null, empty or of another type is absent; only the absence of one that is needed is an error.
"""

import base64
import re
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from acmehub.models import wire
from acmehub.models.identifiers import Identifier, base_name, is_wildcard
from acmehub.ports.authority import (
    IssuedChain,
    IssueRequest,
    UpstreamAuthorization,
    UpstreamOrder,
    UpstreamRenewalInfo,
    UpstreamUnavailable,
)
from acmehub.rules.times import parse_time
from acmehub.upstream.failures import identifier_of, problem_of
from acmehub.upstream.hosts import Hosts
from acmehub.upstream.keys import UpstreamAccountKey
from acmehub.upstream.members import Members, decode
from acmehub.upstream.responses import UpstreamResponse

_LONGEST_STATUS = 32
_OF_AN_ORDER = ("authorizations", "finalize", "certificate", "error")
_MOST_ALTERNATES = 8
_MOST_LINKS = 64
_MOST_CHALLENGES = 32
_PAGE = re.compile(r"https?://[!-~]{1,500}")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s*([A-Za-z0-9+/=\s]+?)\s*-----END CERTIFICATE-----", re.ASCII)


def new_order_payload(request: IssueRequest, *, profile: str, replaces: bool) -> bytes:
    """The payload of newOrder, names as the client sent them; `replaces` only for a CA that supports it (RFC 9773)."""
    return msgspec.json.encode(
        wire.NewOrder(
            identifiers=request.identifiers,
            not_before=_rfc3339(request.not_before),
            not_after=_rfc3339(request.not_after),
            replaces=request.replaces if replaces else None,
            profile=profile or None,
        )
    )


def read_order(answer: UpstreamResponse, url: str, hosts: Hosts, server: str) -> UpstreamOrder:
    """An order; its URL is `url`, or the Location of the response if `url` is empty. `finalize` may be empty."""
    order = _object(answer, "an order", server)
    if not any(map(order.has, _OF_AN_ORDER)):
        raise UpstreamUnavailable(f"{answer.url} is not an order: it has only a status", server=server)
    where = url or read_location(answer, "newOrder", hosts, server)
    finalize, certificate = order.plain("finalize"), order.plain("certificate")
    return UpstreamOrder(
        url=where,
        status=_needed_status(answer, order, "an order", server),
        authorizations=tuple(hosts.resolve(answer.url, item) for item in order.texts("authorizations")),
        finalize=hosts.resolve(answer.url, finalize) if finalize else "",
        certificate=hosts.resolve(answer.url, certificate) if certificate else None,
        error=problem_of(order.object("error"), answer.url),
        expires=parse_time(order.plain("expires")),
        retry_after=answer.retry_after,
    )


def read_location(answer: UpstreamResponse, what: str, hosts: Hosts, server: str) -> str:
    """The URL of the object that a response has made."""
    location = answer.header("Location")
    if not location:
        raise UpstreamUnavailable(f"{what} returned no URL", server=server)
    return hosts.resolve(answer.url, location)


def read_authorization(
    answer: UpstreamResponse, url: str, key: UpstreamAccountKey, hosts: Hosts, server: str
) -> UpstreamAuthorization:
    """An authorization, reduced to its dns-01 challenge.

    One that has its wildcard in the identifier (`*.` and a name) is read as RFC 8555 section 7.1.4 writes it.
    """
    found = _object(answer, "an authorization", server)
    identifier = identifier_of(found)
    if identifier is None:
        raise UpstreamUnavailable(f"{answer.url} is not an authorization: it has no identifier", server=server)
    status = _needed_status(answer, found, "an authorization", server)
    challenges = found.objects("challenges")[:_MOST_CHALLENGES]
    challenge = next((item for item in challenges if item.plain("type") == "dns-01" and item.plain("url")), None)
    errors = (
        problem_of(item.object("error"), answer.url)
        for item in (*((challenge,) if challenge else ()), *challenges, found)
    )
    dns01_status = (challenge.text("status", _LONGEST_STATUS) or "pending") if challenge else ""
    try:
        value = key.dns01_value(_token(challenge)) if challenge else ""
    except ValueError as error:
        if status == "pending":
            raise UpstreamUnavailable(f"{url}: {error}", server=server) from error
        value = ""
    return UpstreamAuthorization(
        url=url,
        identifier=Identifier(identifier.type, base_name(identifier.value)),
        wildcard=found.flag("wildcard") or is_wildcard(identifier.value),
        status=status,
        dns01_url=hosts.resolve(answer.url, challenge.plain("url")) if challenge else None,
        dns01_status=dns01_status,
        txt_value=value,
        error=next((error for error in errors if error is not None), None),
        retry_after=answer.retry_after,
    )


def _token(challenge: Members) -> str:
    token = challenge.plain("token")
    if not token:
        raise ValueError("a dns-01 challenge has no token")
    return token


def read_renewal_info(answer: UpstreamResponse, retry_after: float | None, server: str) -> UpstreamRenewalInfo:
    """A window (RFC 9773 section 4.2); one that ends before it begins or has no time zone is an error."""
    found = _object(answer, "renewal information", server)
    window = found.object("suggestedWindow") or Members({})
    start, end = parse_time(window.plain("start")), parse_time(window.plain("end"))
    if start is None or end is None or start >= end:
        given = f"{window.text('start', 64)!r} to {window.text('end', 64)!r}"
        raise UpstreamUnavailable(f"{answer.url}: no time lies from {given}", server=server)
    page = found.plain("explanationURL")
    return UpstreamRenewalInfo(
        start=start,
        end=end,
        explanation_url=page if _PAGE.fullmatch(page) else "",
        retry_after=retry_after,
    )


def read_status(answer: UpstreamResponse, server: str) -> str:
    """The status of an account or a challenge, where the response has one: it may be empty."""
    if not answer.body.strip():
        return ""
    return _object(answer, "an ACME object", server).text("status", _LONGEST_STATUS)


def _needed_status(answer: UpstreamResponse, members: Members, what: str, server: str) -> str:
    status = members.text("status", _LONGEST_STATUS)
    if not status:
        raise UpstreamUnavailable(f"{answer.url} is not {what}: it has no status", server=server)
    return status


def read_chain(answer: UpstreamResponse, hosts: Hosts, server: str) -> IssuedChain:
    """The certificates of a chain, without any text around them (RFC 8555 section 9.1), and its alternates."""
    try:
        blocks = _CERTIFICATE.findall(answer.body.decode())
        certificates = [base64.b64decode("".join(block.split()), validate=True) for block in blocks]
    except ValueError as error:
        raise UpstreamUnavailable(f"{answer.url} is no PEM file: {error}", server=server) from error
    if not certificates:
        raise UpstreamUnavailable(f"{answer.url} has no certificate in it", server=server)
    return IssuedChain(chain="".join(map(_pem, certificates)), alternates=_alternates(answer, hosts))


def _pem(der: bytes) -> str:
    text = base64.b64encode(der).decode()
    lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"


def _alternates(answer: UpstreamResponse, hosts: Hosts) -> tuple[str, ...]:
    """The URLs of the alternates; one that leads to a host which is not the CA's is left out."""
    urls = []
    for link in answer.links("alternate")[:_MOST_LINKS]:
        with suppress(UpstreamUnavailable):
            urls.append(hosts.resolve(answer.url, link))
    return tuple(dict.fromkeys(url for url in urls if url != answer.url))[:_MOST_ALTERNATES]


def _object(answer: UpstreamResponse, what: str, server: str) -> Members:
    members = decode(answer.body)
    if members is None:
        raise UpstreamUnavailable(f"{answer.url} is not {what}: it is no JSON object", server=server)
    return members


def _rfc3339(when: datetime | None) -> str | None:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if when else None

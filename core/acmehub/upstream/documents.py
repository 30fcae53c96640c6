"""Documents of CAs become objects of `ports/authority.py`; unknown members are ignored, missing ones are an error."""

import base64
import re
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import urljoin

import msgspec
from requests.utils import parse_header_links

from acmehub.models import wire
from acmehub.models.identifiers import Identifier
from acmehub.ports.authority import (
    IssuedChain,
    IssueRequest,
    UpstreamAuthorization,
    UpstreamOrder,
    UpstreamRenewalInfo,
    UpstreamUnavailable,
)
from acmehub.upstream.exchange import UpstreamResponse
from acmehub.upstream.failures import read_problem
from acmehub.upstream.keys import UpstreamAccountKey

T = TypeVar("T")
_MOST_ALTERNATES = 8
_PAGE = re.compile(r"https?://[!-~]{1,500}")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s*([A-Za-z0-9+/=\s]+?)\s*-----END CERTIFICATE-----", re.ASCII)


class _Order(msgspec.Struct, frozen=True):
    status: str
    authorizations: tuple[str, ...]
    finalize: str
    certificate: str | None = None
    expires: datetime | None = None
    error: msgspec.Raw = msgspec.Raw()


class _Challenge(msgspec.Struct, frozen=True):
    type: str
    url: str = ""
    status: str = "pending"
    token: str = ""
    error: msgspec.Raw = msgspec.Raw()


class _Authorization(msgspec.Struct, frozen=True):
    identifier: Identifier
    status: str
    challenges: tuple[_Challenge, ...] = ()
    wildcard: bool = False
    error: msgspec.Raw = msgspec.Raw()


class _Window(msgspec.Struct, frozen=True):
    start: datetime
    end: datetime


class _RenewalInfo(msgspec.Struct, frozen=True, rename="camel"):
    suggested_window: _Window
    explanation_url: str = msgspec.field(name="explanationURL", default="")


class _Status(msgspec.Struct, frozen=True):
    status: str


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


def read_order(answer: UpstreamResponse, url: str, server: str) -> UpstreamOrder:
    """An order; its URL is `url`, or the Location of the response if `url` is empty."""
    order = _decode(answer, _Order, "an order", server)
    location = answer.headers.get("Location", "")
    return UpstreamOrder(
        url=urljoin(answer.url, location) if location and not url else url,
        status=order.status,
        authorizations=order.authorizations,
        finalize=order.finalize,
        certificate=order.certificate,
        error=read_problem(order.error),
        expires=order.expires,
        retry_after=answer.retry_after,
    )


def read_authorization(
    answer: UpstreamResponse, url: str, key: UpstreamAccountKey, server: str
) -> UpstreamAuthorization:
    """An authorization, reduced to its dns-01 challenge."""
    found = _decode(answer, _Authorization, "an authorization", server)
    challenge = next((item for item in found.challenges if item.type == "dns-01" and item.url), None)
    errors = [read_problem(item.error) for item in (*((challenge,) if challenge else ()), *found.challenges, found)]
    try:
        value = key.dns01_value(challenge.token) if challenge else ""
    except ValueError as error:
        raise UpstreamUnavailable(f"{url}: {error}", server=server) from error
    return UpstreamAuthorization(
        url=url,
        identifier=found.identifier,
        wildcard=found.wildcard,
        status=found.status,
        dns01_url=challenge.url if challenge else None,
        dns01_status=challenge.status if challenge else "",
        txt_value=value,
        error=next((error for error in errors if error is not None), None),
        retry_after=answer.retry_after,
    )


def read_renewal_info(answer: UpstreamResponse, retry_after: float | None, server: str) -> UpstreamRenewalInfo:
    """A window (RFC 9773 section 4.2); one that ends before it begins or has no time zone is an error."""
    found = _decode(answer, _RenewalInfo, "renewal information", server)
    start, end = found.suggested_window.start, found.suggested_window.end
    if start.tzinfo is None or end.tzinfo is None or start >= end:
        raise UpstreamUnavailable(f"{answer.url}: no time lies from {start} to {end}", server=server)
    page = found.explanation_url
    return UpstreamRenewalInfo(
        start=start.astimezone(UTC),
        end=end.astimezone(UTC),
        explanation_url=page if _PAGE.fullmatch(page) else "",
        retry_after=retry_after,
    )


def read_status(answer: UpstreamResponse, server: str) -> str:
    """The status of an account or a challenge."""
    return _decode(answer, _Status, "an ACME object", server).status


def read_chain(answer: UpstreamResponse, server: str) -> IssuedChain:
    """The certificates of a chain, without any text around them (RFC 8555 section 9.1), and its alternates."""
    try:
        blocks = _CERTIFICATE.findall(answer.body.decode())
        certificates = [base64.b64decode("".join(block.split()), validate=True) for block in blocks]
    except ValueError as error:
        raise UpstreamUnavailable(f"{answer.url} is no PEM file: {error}", server=server) from error
    if not certificates:
        raise UpstreamUnavailable(f"{answer.url} has no certificate in it", server=server)
    return IssuedChain(chain="".join(map(_pem, certificates)), alternates=_alternates(answer))


def _pem(der: bytes) -> str:
    text = base64.b64encode(der).decode()
    lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"


def _alternates(answer: UpstreamResponse) -> tuple[str, ...]:
    links = parse_header_links(answer.headers.get("Link", ""))
    urls = (urljoin(answer.url, link["url"]) for link in links if link.get("rel") == "alternate")
    return tuple(dict.fromkeys(url for url in urls if url != answer.url))[:_MOST_ALTERNATES]


def _decode(answer: UpstreamResponse, kind: type[T], what: str, server: str) -> T:
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamUnavailable(f"{answer.url} is not {what}: {error}", server=server) from error


def _rfc3339(when: datetime | None) -> str | None:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if when else None

"""Stored objects and problems rendered as ACME objects (RFC 8555 section 7.1)."""

from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from acmehub.acme.server.responses import PROBLEM, AcmeResponse, encode
from acmehub.acme.server.urls import Urls
from acmehub.models import (
    Account,
    Authorization,
    AuthorizationMode,
    AuthorizationStatus,
    ChallengeType,
    Order,
    OrderStatus,
)
from acmehub.models.problems import Problem, ProblemDocument, ProblemType, Subproblem
from acmehub.models.wire import AccountObject, AuthorizationObject, ChallengeObject, OrderObject
from acmehub.rules.challenges import challenges_of
from acmehub.rules.orders import OrderBundle


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC, whole seconds: `2026-11-24T06:00:00Z`."""
    return moment.isoformat(timespec="seconds")[:19] + "Z"


def account_object(account: Account, urls: Urls) -> AccountObject:
    """RFC 8555 section 7.1.2."""
    return AccountObject(
        status=account.status.value,
        contact=account.contact,
        orders=urls.account_orders(account.id),
        external_account_binding=msgspec.Raw(account.binding) if account.binding else None,
    )


_TRANSLATED = frozenset({"status", "expires", "not_before", "not_after", "error", "profile"})
_AS_STORED = tuple(
    name for name in OrderObject.__struct_fields__ if name in Order.__struct_fields__ and name not in _TRANSLATED
)
"""The members of an order object that are sent as the order has them."""


def order_object(bundle: OrderBundle, urls: Urls) -> OrderObject:
    """RFC 8555 section 7.1.3; the profile is the one that the client named."""
    order = bundle.order
    as_stored: dict[str, Any] = {name: getattr(order, name) for name in _AS_STORED}
    return OrderObject(
        status=order.status.value,
        expires=timestamp(order.expires),
        authorizations=tuple(urls.authorization(item.id) for item in bundle.authorizations),
        finalize=urls.finalize(order.id),
        not_before=_when(order.not_before),
        not_after=_when(order.not_after),
        profile=order.client_profile,
        error=_error(order.error) if order.status is OrderStatus.INVALID else None,
        certificate=_certificate(order, urls),
        **as_stored,
    )


def terms_links(order: Order) -> tuple[tuple[str, str], ...]:
    """The link to the page that a person has to visit before the CA takes such an order (RFC 8555 section 7.3.3)."""
    error = order.error
    if error is None or error.type != ProblemType.USER_ACTION_REQUIRED.urn or not error.instance:
        return ()
    return ((error.instance, "terms-of-service"),)


def authorization_object(authorization: Authorization, mode: AuthorizationMode, urls: Urls) -> AuthorizationObject:
    """RFC 8555 section 7.1.4."""
    return AuthorizationObject(
        identifier=authorization.identifier,
        status=authorization.status.value,
        expires=timestamp(authorization.expires),
        challenges=tuple(challenge_object(authorization, kind, urls) for kind in offered(authorization, mode)),
        wildcard=authorization.wildcard,
    )


def challenge_object(authorization: Authorization, kind: ChallengeType, urls: Urls) -> ChallengeObject:
    """RFC 8555 section 8."""
    status = challenge_status(authorization, kind)
    return ChallengeObject(
        type=kind.value,
        url=urls.challenge(authorization.id, kind),
        status=status,
        token=authorization.token,
        validated=_when(authorization.validated) if status == "valid" else None,
        error=_error(authorization.error) if status == "invalid" else None,
    )


def offered(authorization: Authorization, mode: AuthorizationMode) -> tuple[ChallengeType, ...]:
    """The challenges that an authorization lists: those it can be answered by; once invalid, the one that was tried."""
    if authorization.status is AuthorizationStatus.INVALID and authorization.answered is not None:
        return (authorization.answered,)
    return challenges_of(authorization, mode)


def challenge_status(authorization: Authorization, kind: ChallengeType) -> str:
    """A challenge's status (RFC 8555 section 7.1.6) follows from its authorization.

    docs/client-rules.md rules 6, 8.
    """
    match authorization.status:
        case AuthorizationStatus.PENDING:
            return "processing" if authorization.answered is kind else "pending"
        case AuthorizationStatus.VALID:
            return "valid"
        case AuthorizationStatus.INVALID:
            return "invalid"
    return "valid" if authorization.validated is not None else "invalid"  # given up, expired: as it was before


def problem_response(problem: Problem) -> AcmeResponse:
    """A problem document (RFC 7807) with its status and headers."""
    document = problem.document()
    if any(map(_is_empty, document.subproblems)):
        document = replace(document, subproblems=tuple(map(_without_empty, document.subproblems)))
    return AcmeResponse(
        status=problem.status,
        body=encode(document),
        content_type=PROBLEM,
        location=problem.location or "",
        links=((problem.instance, "terms-of-service"),) if problem.instance else (),
        retry_after=problem.retry_after,
    )


def _error(document: ProblemDocument | None) -> ProblemDocument | None:
    """An identifier may stand in subproblems only (RFC 8555 section 6.7.1), wherever the CA has put it."""
    return document if document is None or document.identifier is None else replace(document, identifier=None)


def _without_empty(part: Subproblem) -> Subproblem:
    """An identifier without type or value is left out: no empty strings (docs/client-rules.md rule 17)."""
    return replace(part, identifier=None) if _is_empty(part) else part


def _is_empty(part: Subproblem) -> bool:
    return part.identifier is not None and not (part.identifier.value and part.identifier.type)


def _certificate(order: Order, urls: Urls) -> str | None:
    if order.status is not OrderStatus.VALID or order.certificate_id is None:
        return None
    return urls.certificate(order.certificate_id)


def _when(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)

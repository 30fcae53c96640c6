"""newOrder, order, finalize (RFC 8555 sections 7.4 and 7.1.3)."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from acmehub.acme.server.rendering import order_object, terms_links
from acmehub.acme.server.responses import AcmeResponse, json_response
from acmehub.acme.server.signed import Signed, shown_names, signed_post
from acmehub.models import AuthorizationStatus, OrderStatus
from acmehub.models.problems import Problem, ProblemType
from acmehub.models.wire import Finalize, NewOrder
from acmehub.rules.authorization_modes import waits_for_upstream
from acmehub.rules.jws import decode_base64url
from acmehub.rules.orders import UPSTREAM_VALIDATED, OrderBundle
from acmehub.runtime.crash_points import CrashPoint

_NEW_ORDER = msgspec.json.Decoder(NewOrder)
_FINALIZE = msgspec.json.Decoder(Finalize)


def _names(signed: Signed) -> tuple[str, ...]:
    try:
        return shown_names(signed.object(_NEW_ORDER).identifiers)
    except Problem:  # the payload is what was refused
        return ()


@signed_post("/acme/new-order", refused="order.refused", names=_names)
async def new_order(signed: Signed) -> AcmeResponse:
    """201; waits until the upstream has validated, where that helps the client (docs/client-rules.md rules 1, 30 and
    section 4.4)."""
    context, actor = signed.request.context, signed.actor
    bundle = await context.hub.orders.open(
        actor, signed.object(_NEW_ORDER), signed.user_agent, snapshot=signed.snapshot
    )
    context.hub.crash_points.hit(CrashPoint.AFTER_NEW_ORDER_STORED)
    if waits_for_upstream(bundle.order, actor.token.authorization):
        bundle = await context.long_polls.until(
            lambda now: not waits_for_upstream(now.order, actor.token.authorization),
            bundle,
            _reading(signed, bundle.order.id),
            seconds=signed.client_timeout.hold,
            receive=signed.request.receive,
        )
    if bundle.order.stage in UPSTREAM_VALIDATED:
        context.long_polls.no_first_read(bundle.order.id)
    return _answer(signed, bundle, status=201)


@signed_post("/acme/order/{order_id}")
async def order(signed: Signed) -> AcmeResponse:
    """Waits while the order is processing, or all its pending authorizations have been responded to."""
    signed.nothing()
    order_id = signed.request.parts["order_id"]
    read = _reading(signed, order_id)
    bundle = await signed.request.context.long_polls.until(
        _is_clients_turn,
        await read(0),
        read,
        seconds=signed.client_timeout.hold,
        receive=signed.request.receive,
    )
    unfinished = bundle.order.status in (OrderStatus.PENDING, OrderStatus.PROCESSING)
    return _answer(signed, bundle, retry_after=signed.client_timeout.before_next_poll() if unfinished else None)


@signed_post("/acme/order/{order_id}/finalize", refused="finalize.refused")
async def finalize(signed: Signed) -> AcmeResponse:
    """Takes the CSR, then waits while the order is processing; asks neither CA nor DNS itself."""
    context, order_id = signed.request.context, signed.request.parts["order_id"]
    try:
        csr = decode_base64url(signed.object(_FINALIZE).csr)
    except ValueError as error:
        raise Problem(ProblemType.BAD_CSR, "the CSR is not base64url of DER, without padding") from error
    bundle = await context.long_polls.until(
        _is_clients_turn,
        await context.hub.orders.finalize(signed.actor, order_id, csr, signed.snapshot),
        _reading(signed, order_id),
        seconds=signed.client_timeout.hold,
        receive=signed.request.receive,
    )
    unfinished = bundle.order.status is OrderStatus.PROCESSING
    return _answer(signed, bundle, retry_after=signed.client_timeout.before_next_poll() if unfinished else None)


def _reading(signed: Signed, order_id: str) -> Callable[[int], Awaitable[OrderBundle]]:
    return lambda version: signed.request.context.hub.orders.client_order(signed.actor, order_id, version)


def _is_clients_turn(bundle: OrderBundle) -> bool:
    """Whether the client has to act, or the order is finished."""
    if bundle.order.status is OrderStatus.PENDING:
        return any(
            item.status is AuthorizationStatus.PENDING and item.answered is None for item in bundle.authorizations
        )
    return bundle.order.status is not OrderStatus.PROCESSING


def _answer(signed: Signed, bundle: OrderBundle, **rest: Any) -> AcmeResponse:
    urls = signed.request.context.urls
    links = terms_links(bundle.order)
    return json_response(order_object(bundle, urls), location=urls.order(bundle.order.id), links=links, **rest)

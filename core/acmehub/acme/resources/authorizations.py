"""Authorizations: read, poll, deactivate (RFC 8555 sections 7.5 and 7.5.2)."""

import msgspec

from acmehub.acme.server.rendering import authorization_object
from acmehub.acme.server.responses import AcmeResponse, json_response
from acmehub.acme.server.signed import Signed, signed_post
from acmehub.models import Authorization, AuthorizationMode, AuthorizationStatus, OrderStatus
from acmehub.models.problems import Problem, ProblemType
from acmehub.models.wire import AuthorizationUpdate
from acmehub.rules.authorization_modes import waits_for_upstream
from acmehub.rules.orders import OrderBundle, as_of

_UPDATE = msgspec.json.Decoder(AuthorizationUpdate)


@signed_post("/acme/authz/{authorization_id}")
async def authorization(signed: Signed) -> AcmeResponse:
    """An order's first read of an authorization waits as newOrder does; a poll after a response until it is decided."""
    context, actor = signed.request.context, signed.actor
    item = await context.hub.orders.authorization(actor, signed.request.parts["authorization_id"])
    if signed.payload and (status := signed.object(_UPDATE).status) is not None:
        if status != "deactivated":
            raise Problem(ProblemType.MALFORMED, "'status' of an authorization can only be set to 'deactivated'")
        bundle = await context.hub.orders.deactivate(actor, item)
        return _answer(signed, bundle, item.id)
    first_read = context.long_polls.is_first_read(item.order_id)
    if item.status is AuthorizationStatus.VALID and item.answered is None and not first_read:
        shown = as_of(item, context.hub.clock.now(), OrderStatus.READY)  # the order would add nothing
        return json_response(authorization_object(shown, AuthorizationMode.PREAPPROVED, context.urls))
    bundle = await _long_poll(signed, item, first_read=first_read)
    return _answer(signed, bundle, item.id)


async def _long_poll(signed: Signed, item: Authorization, *, first_read: bool) -> OrderBundle:
    context, actor = signed.request.context, signed.actor

    def done(bundle: OrderBundle) -> bool:
        if first_read and waits_for_upstream(bundle.order, actor.token.authorization):
            return False
        return not waits_for_hub(bundle, item.id)

    async def read(version: int) -> OrderBundle:
        return await context.hub.orders.order(actor, item.order_id, version)

    return await context.long_polls.until(
        done,
        await read(0),
        read,
        seconds=signed.client_timeout.hold,
        receive=signed.request.receive,
    )


def part(bundle: OrderBundle, authorization_id: str) -> Authorization:
    """One of an order's authorizations."""
    return next(item for item in bundle.authorizations if item.id == authorization_id)


def waits_for_hub(bundle: OrderBundle, authorization_id: str) -> bool:
    """Whether the client has responded, and waits for the hub, which works on a pending order only."""
    item = part(bundle, authorization_id)
    waits = item.status is AuthorizationStatus.PENDING and item.answered is not None
    return waits and bundle.order.status is OrderStatus.PENDING


def _answer(signed: Signed, bundle: OrderBundle, authorization_id: str) -> AcmeResponse:
    context, order = signed.request.context, bundle.order
    shown = as_of(part(bundle, authorization_id), context.hub.clock.now(), order.status)
    return json_response(
        authorization_object(shown, order.mode, context.urls),
        retry_after=signed.client_timeout.before_next_poll() if waits_for_hub(bundle, authorization_id) else None,
    )

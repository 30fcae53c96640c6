"""newAuthz (RFC 8555 section 7.4.1)."""

import msgspec

from acmehub.acme.orders.preauthorization import check_preauthorized
from acmehub.acme.server.rendering import authorization_object
from acmehub.acme.server.responses import AcmeResponse, json_response
from acmehub.acme.server.signed import Signed, shown_names, signed_post
from acmehub.models.problems import Problem
from acmehub.models.wire import NewAuthz, NewOrder

_NEW_AUTHZ = msgspec.json.Decoder(NewAuthz)


def _names(signed: Signed) -> tuple[str, ...]:
    try:
        return shown_names((signed.object(_NEW_AUTHZ).identifier,))
    except Problem:  # the payload is what was refused
        return ()


@signed_post("/acme/new-authz", refused="authorization.refused", names=_names)
async def new_authorization(signed: Signed) -> AcmeResponse:
    """201 with the authorization and, only here, its `Location`; an authorization that the account has is reused."""
    context = signed.request.context
    identifier = signed.object(_NEW_AUTHZ).identifier
    check_preauthorized(identifier)
    asked = NewOrder(identifiers=(identifier,))
    bundle = await context.hub.orders.open(signed.actor, asked, signed.user_agent, preauthorization=True)
    item = bundle.authorizations[0]
    return json_response(
        authorization_object(item, bundle.order.mode, context.urls),
        status=201,
        location=context.urls.authorization(item.id),
    )

"""newAuthz (RFC 8555 section 7.4.1)."""

import msgspec

from acmehub.acme.orders.preauthorization import check_preauthorized
from acmehub.acme.server.rendering import authorization_object
from acmehub.acme.server.responses import Answer, json_answer
from acmehub.acme.server.signed import Signed, signed_post
from acmehub.models.wire import NewAuthz, NewOrder

_NEW_AUTHZ = msgspec.json.Decoder(NewAuthz)


@signed_post("/acme/new-authz")
async def new_authorization(signed: Signed) -> Answer:
    """201 with the authorization and, here only, its `Location`; one that the account has already is given again."""
    context = signed.request.context
    identifier = signed.object(_NEW_AUTHZ).identifier
    check_preauthorized(identifier)
    asked = NewOrder(identifiers=(identifier,))
    bundle = await context.hub.orders.open(signed.actor, asked, signed.user_agent, preauthorization=True)
    item = bundle.authorizations[0]
    return json_answer(
        authorization_object(item, bundle.order.mode, context.urls),
        status=201,
        location=context.urls.authorization(item.id),
    )

"""Challenges: read, respond (RFC 8555 section 7.5.1)."""

from acmehub.acme.resources.authorizations import part, waits_for_hub
from acmehub.acme.server.rendering import challenge_object
from acmehub.acme.server.responses import AcmeResponse, json_response
from acmehub.acme.server.signed import Signed, signed_post
from acmehub.models import ChallengeType
from acmehub.models.problems import not_found
from acmehub.rules.challenges import challenges_of
from acmehub.rules.orders import OrderBundle, as_of


@signed_post("/acme/chall/{authorization_id}/{type}", refused="challenge.refused")
async def challenge(signed: Signed) -> AcmeResponse:
    """POST-as-GET reads, any object responds; both wait until the response is decided (docs/client-rules.md rule 5)."""
    context, actor, parts = signed.request.context, signed.actor, signed.request.parts
    kind = _kind(parts["type"])
    signed.nothing()  # members of a response mean nothing (section 7.5.1)
    responds = bool(signed.payload)
    item = await context.hub.orders.authorization(actor, parts["authorization_id"])

    async def read(version: int = 0) -> OrderBundle:
        return await context.hub.orders.order(actor, item.order_id, version)

    bundle = await context.long_polls.until(
        lambda now: not waits_for_hub(now, item.id),
        await context.hub.orders.answer(actor, item, kind) if responds else await read(),
        read,
        seconds=signed.client_timeout.hold,
        receive=signed.request.receive,
    )
    item = as_of(part(bundle, item.id), context.hub.clock.now(), bundle.order.status)
    if kind not in challenges_of(item, bundle.order.mode):
        raise not_found()
    client_timeout = signed.client_timeout
    wait = client_timeout.after_response() if responds else client_timeout.before_next_poll()
    return json_response(
        challenge_object(item, kind, context.urls),
        links=((context.urls.authorization(item.id), "up"),),
        retry_after=wait if waits_for_hub(bundle, item.id) else None,
    )


def _kind(text: str) -> ChallengeType:
    try:
        return ChallengeType(text)
    except ValueError:
        raise not_found() from None

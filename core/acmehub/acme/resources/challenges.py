"""Challenges: read, respond (RFC 8555 section 7.5.1)."""

from acmehub.rules.challenges import challenges_of
from acmehub.acme.server.responses import Answer, json_answer
from acmehub.acme.resources.authorizations import part, waits_for_us
from acmehub.acme.server.rendering import challenge_object
from acmehub.acme.server.signed import Signed, signed_post
from acmehub.models import ChallengeType
from acmehub.rules.orders import OrderBundle
from acmehub.acme.orders.service import not_found


@signed_post("/acme/chall/{authorization_id}/{type}")
async def challenge(signed: Signed) -> Answer:
    """POST-as-GET reads; any object responds, in every state with 200 (CLIENTS.md rules 5, 15). Held until settled."""
    front, actor, parts = signed.request.front, signed.actor, signed.request.parts
    kind = _kind(parts["type"])
    signed.nothing()  # members of a response mean nothing (section 7.5.1)
    responds = bool(signed.payload)
    item = await front.hub.ordering.authorization(actor, parts["authorization_id"])

    async def respond() -> OrderBundle:
        return await front.hub.ordering.answer(actor, item, kind)

    bundle = await front.holding.until(
        lambda now: not waits_for_us(part(now, item.id)),
        item.order_id,
        lambda: front.hub.ordering.order(actor, item.order_id),
        first=respond if responds else None,
        seconds=signed.patience.hold,
        receive=signed.request.receive,
    )
    item = part(bundle, item.id)
    if kind not in challenges_of(item, bundle.order.mode):
        raise not_found()
    patience = signed.patience
    wait = patience.after_response() if responds else patience.before_next_poll()
    return json_answer(
        challenge_object(item, kind, front.urls),
        links=((front.urls.authorization(item.id), "up"),),
        retry_after=wait if waits_for_us(item) else None,
    )


def _kind(text: str) -> ChallengeType:
    try:
        return ChallengeType(text)
    except ValueError:
        raise not_found() from None

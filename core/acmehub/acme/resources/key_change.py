"""keyChange (RFC 8555 section 7.3.5)."""

from acmehub.acme.server.responses import Answer, json_answer
from acmehub.acme.server.rendering import account_object
from acmehub.acme.server.signed import Signed, signed_post
from acmehub.rules.key_change import check_key_change


@signed_post("/acme/key-change")
async def key_change(signed: Signed) -> Answer:
    """The account with its new key, by which every further request is to be signed."""
    front, account = signed.request.front, signed.actor.account
    new = check_key_change(
        signed.payload,
        url=front.urls.of(signed.request.path),
        account_url=front.urls.account(account.id),
        account_jwk=account.jwk,
    )
    changed = await front.hub.accounts.rekey(signed.actor, new, front.urls.account)
    return json_answer(account_object(changed, front.urls), location=front.urls.account(changed.id))

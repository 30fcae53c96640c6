"""keyChange (RFC 8555 section 7.3.5)."""

from acmehub.acme.server.rendering import account_object
from acmehub.acme.server.responses import AcmeResponse, json_response
from acmehub.acme.server.signed import Signed, signed_post
from acmehub.rules.key_change import check_key_change


@signed_post("/acme/key-change", refused="account.rekeyed")
async def key_change(signed: Signed) -> AcmeResponse:
    """The account with its new key, which signs all further requests."""
    context, account = signed.request.context, signed.actor.account
    new = check_key_change(
        signed.payload,
        url=context.urls.of(signed.request.path),
        account_url=context.urls.account(account.id),
        account_jwk=account.jwk,
    )
    changed = await context.hub.accounts.rekey(signed.actor, new, context.urls.account, signed.address)
    return json_response(account_object(changed, context.urls), location=context.urls.account(changed.id))

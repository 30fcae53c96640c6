"""newAccount, account, orders list (RFC 8555 sections 7.3 and 7.1.2.1)."""

import msgspec

from acmehub.acme.resources.terms import terms_to_agree_to
from acmehub.acme.server.rendering import account_object
from acmehub.acme.server.responses import AcmeResponse, json_response
from acmehub.acme.server.signed import KeySigned, Signed, key_signed_post, signed_post
from acmehub.models import Token
from acmehub.models.problems import not_found
from acmehub.models.wire import AccountUpdate, NewAccount, OrdersList

_PAGE = 100
_NEW_ACCOUNT = msgspec.json.Decoder(NewAccount)
_UPDATE = msgspec.json.Decoder(AccountUpdate)


@key_signed_post("/acme/new-account")
async def new_account(signed: KeySigned) -> AcmeResponse:
    """201 for a new account, 200 for one that the key has already; both with `Location`."""
    return await registered(signed, signed.request.context.urls.new_account)


async def registered(signed: KeySigned, new_account_url: str, directory: Token | None = None) -> AcmeResponse:
    """Register at this newAccount URL; `directory` is the token of the secret directory that the URL lies in."""
    context = signed.request.context
    found = await context.hub.accounts.register(
        signed.object(_NEW_ACCOUNT),
        jwk=signed.jwk,
        thumbprint=signed.thumbprint,
        new_account_url=new_account_url,
        directory=directory,
        terms_of_service=terms_to_agree_to(context),
        address=signed.address,
        user_agent=signed.user_agent,
        accept=signed.accept,
    )
    return json_response(
        account_object(found.account, context.urls),
        status=201 if found.created else 200,
        location=context.urls.account(found.account.id),
    )


@signed_post("/acme/acct/{account_id}")
async def account(signed: Signed) -> AcmeResponse:
    """Read an account, change its contacts, or deactivate it (sections 7.3.2 and 7.3.6)."""
    context = signed.request.context
    _own(signed)
    item = signed.actor.account
    if signed.payload:
        item = await context.hub.accounts.update(signed.actor, signed.object(_UPDATE), signed.address)
    return json_response(account_object(item, context.urls), location=context.urls.account(item.id))


@signed_post("/acme/acct/{account_id}/orders")
async def orders(signed: Signed) -> AcmeResponse:
    """The newest page of the account's orders."""
    return await _page(signed, "")


@signed_post("/acme/acct/{account_id}/orders/{after}")
async def more_orders(signed: Signed) -> AcmeResponse:
    """A further page; its cursor is a path segment, as URLs have no query (docs/client-rules.md rule 18)."""
    return await _page(signed, signed.request.parts["after"])


async def _page(signed: Signed, after: str) -> AcmeResponse:
    _own(signed)
    signed.nothing()
    context, account_id = signed.request.context, signed.actor.account.id
    page, beyond = await context.hub.store.orders.of_account(account_id, after=after, limit=_PAGE)
    more = ((context.urls.account_orders(account_id, beyond), "next"),) if beyond else ()
    return json_response(OrdersList(orders=tuple(context.urls.order(order_id) for order_id in page)), links=more)


def _own(signed: Signed) -> None:
    if signed.request.parts["account_id"] != signed.actor.account.id:
        raise not_found()

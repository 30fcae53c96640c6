"""The directory and newNonce (RFC 8555 sections 7.1.1 and 7.2): the only resources that need no signature.

POST-as-GET is answered, too (section 6.3).
"""

from acmehub.acme.resources.terms import terms_url
from acmehub.acme.server.context import AppContext
from acmehub.acme.server.responses import AcmeResponse, json_response
from acmehub.acme.server.routing import Request, plain_get
from acmehub.acme.server.signed import Signed, signed_post
from acmehub.models.wire import Directory, DirectoryMeta


@plain_get("/acme/directory", links_index=False)
async def show_directory(request: Request) -> AcmeResponse:
    """The resources and options that this hub has."""
    profiles = await request.context.hub.orders.advertised_profiles()
    return json_response(directory_of(request.context, profiles), cache="public, max-age=0, no-cache")


def directory_of(context: AppContext, profiles: dict[str, str], *, new_account: str = "") -> Directory:
    """The directory; `new_account` is the URL of a secret directory's newAccount, which needs no binding."""
    urls, acme = context.urls, context.hub.config.acme
    return Directory(
        new_nonce=urls.new_nonce,
        new_account=new_account or urls.new_account,
        new_order=urls.new_order,
        new_authz=urls.new_authorization,
        revoke_cert=urls.revoke_certificate,
        key_change=urls.key_change,
        renewal_info=urls.renewal_info,
        meta=DirectoryMeta(
            external_account_required=not new_account,
            terms_of_service=terms_url(context),
            website=acme.website,
            caa_identities=acme.caa_identities,
            profiles=profiles,
        ),
    )


@plain_get("/acme/new-nonce", gives_nonce=True)
async def new_nonce(request: Request) -> AcmeResponse:
    """200 for HEAD, 204 for GET; `AcmeServer` adds the nonce."""
    return AcmeResponse(status=200 if request.method == "HEAD" else 204, cache="no-store")


@signed_post("/acme/directory")
async def post_directory(signed: Signed) -> AcmeResponse:
    """The same by POST-as-GET."""
    signed.nothing()
    return await show_directory.serve(signed.request)


@signed_post("/acme/new-nonce")
async def post_new_nonce(signed: Signed) -> AcmeResponse:
    """The same by POST-as-GET."""
    signed.nothing()
    return await new_nonce.serve(signed.request)

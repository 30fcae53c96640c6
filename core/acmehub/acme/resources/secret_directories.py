"""Secret directories: a directory and a newAccount per token, for clients without EAB (docs/client-rules.md rule 27).

All other resources are the ordinary ones. An unknown key is answered like an unknown path, whatever the method.
"""

from acmehub.acme.resources.accounts import registered
from acmehub.acme.resources.directory import directory_of
from acmehub.acme.server.responses import AcmeResponse, json_response
from acmehub.acme.server.routing import NotAllowed, Request, Route, plain_get
from acmehub.acme.server.signed import KeySigned, Signed, key_signed_post, signed_post
from acmehub.models.problems import not_found


def _secret(*routes: Route) -> Route:
    """The routes of one path, open to those who know its key."""
    methods = tuple(method for route in routes for method in route.methods)

    async def serve(request: Request) -> AcmeResponse:
        request.token = await request.context.hub.accounts.directories.token(request.parts["directory_key"])
        if request.token is None:
            raise not_found()
        for route in routes:
            if request.method in route.methods:
                return await route.serve(request)
        raise NotAllowed(request.method, methods)

    return Route(routes[0].path, (), serve, routes[0].links_index)


@plain_get("/acme/{directory_key}/directory", links_index=False)
async def _show_directory(request: Request) -> AcmeResponse:
    """As the ordinary one, but without `externalAccountRequired`, and with the profiles open to its clients only."""
    assert request.token is not None
    context = request.context
    owner = await context.hub.store.principals.get(request.token.principal_id)
    profiles = await context.hub.orders.advertised_profiles(owner)
    new_account = context.urls.secret_new_account(request.parts["directory_key"])
    return json_response(directory_of(context, profiles, new_account=new_account), cache="private, no-store")


@signed_post("/acme/{directory_key}/directory")
async def _post_directory(signed: Signed) -> AcmeResponse:
    """The same by POST-as-GET (RFC 8555 section 6.3)."""
    signed.nothing()
    return await _show_directory.serve(signed.request)


@key_signed_post("/acme/{directory_key}/new-account")
async def _new_account(signed: KeySigned) -> AcmeResponse:
    """As the ordinary one; the account is bound to the directory's token, under that token's limits."""
    request = signed.request
    url = request.context.urls.secret_new_account(request.parts["directory_key"])
    return await registered(signed, url, request.token)


show_directory = _secret(_show_directory, _post_directory)
new_account = _secret(_new_account)

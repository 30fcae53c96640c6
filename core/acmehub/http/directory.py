"""The directory and newNonce (RFC 8555 sections 7.1.1 and 7.2): the only resources that are not signed."""

from acmehub.http.answers import Answer, json_answer
from acmehub.http.routing import Request, plain_get
from acmehub.wire import Directory, DirectoryMeta


@plain_get("/acme/directory")
async def show_directory(request: Request) -> Answer:
    """What is honoured, and no more."""
    urls, acme = request.front.urls, request.front.hub.config.acme
    directory = Directory(
        new_nonce=urls.new_nonce,
        new_account=urls.new_account,
        new_order=urls.new_order,
        meta=DirectoryMeta(
            external_account_required=True,
            terms_of_service=acme.terms_of_service,
            website=acme.website,
            caa_identities=acme.caa_identities,
        ),
    )
    return json_answer(directory, cache="public, max-age=0, no-cache")


@plain_get("/acme/new-nonce")
async def new_nonce(request: Request) -> Answer:
    """200 for HEAD, 204 for GET; the nonce itself is added to every answer that needs one."""
    return Answer(status=200 if request.method == "HEAD" else 204, cache="no-store")

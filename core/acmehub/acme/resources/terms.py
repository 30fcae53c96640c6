"""Terms of service on a page of the hub (`[acme] terms_of_service = "hub"`), for clients that fail without any."""

import html

from acmehub.acme.server.context import AppContext
from acmehub.acme.server.responses import AcmeResponse
from acmehub.acme.server.routing import Request, plain_get
from acmehub.config import TERMS_OF_HUB
from acmehub.models.problems import not_found

HTML = b"text/html; charset=utf-8"
TEXT = b"text/plain; charset=utf-8"
_HEADERS = (
    (b"content-security-policy", b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Terms of service</title></head>
<body>
<h1>Terms of service</h1>
<p>This is an ACME server (RFC 8555) that obtains certificates for the clients to which its operator has given
credentials, from the certificate authority that the operator has chosen. It sets no terms of its own: those of that
authority apply to the certificates, those of the operator to the use of this server.</p>
{website}</body>
</html>
"""


def terms_url(context: AppContext) -> str:
    """The URL of the terms of service; empty when there are none."""
    terms = context.hub.config.acme.terms_of_service
    return context.urls.terms if terms == TERMS_OF_HUB else terms


def terms_to_agree_to(context: AppContext) -> str:
    """The URL of the terms that a new account must agree to; the hub's page without the operator's text has none."""
    acme = context.hub.config.acme
    return "" if acme.terms_of_service == TERMS_OF_HUB and not acme.terms_text else terms_url(context)


@plain_get("/acme/terms", links_index=False)
async def show_terms(request: Request) -> AcmeResponse:
    """The operator's text, or what this server is; 404 when the terms stand elsewhere."""
    acme = request.context.hub.config.acme
    if acme.terms_of_service != TERMS_OF_HUB:
        raise not_found()
    if acme.terms_text:
        is_page = acme.terms_text.lstrip().startswith("<")
        return AcmeResponse(body=acme.terms_text.encode(), content_type=HTML if is_page else TEXT, more=_HEADERS)
    website = f"<p>Operator: {html.escape(acme.website)}</p>\n" if acme.website else ""
    return AcmeResponse(body=_PAGE.format(website=website).encode(), content_type=HTML, more=_HEADERS)

"""The page at `/`: what this server is, for a person who opens its URL. A plugin with a route there replaces it."""

import html
from typing import Any

from litestar import Request, Response, route
from litestar.enums import MediaType
from litestar.handlers import HTTPRouteHandler
from litestar.types import Method

from acmehub.acme.server.urls import Urls
from acmehub.config import Config

GET_AND_HEAD: list[Method] = ["GET", "HEAD"]
PATH = "/"
HEADERS = {
    "cache-control": "public, max-age=300",
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "vary": "accept",
    "x-content-type-options": "nosniff",
}
_TEXT = """\
acmehub

This is an ACME server (RFC 8555). It obtains certificates for devices to which its operator has given External
Account Binding credentials. There is nothing to do here in a browser: point an ACME client at the directory.

Directory: {directory}
ACME: https://www.rfc-editor.org/rfc/rfc8555
For operators: docs/quickstart.md of acmehub, and acmehub --help
"""
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>acmehub</title></head>
<body>
<h1>acmehub</h1>
<p>This is an ACME server (<a href="https://www.rfc-editor.org/rfc/rfc8555">RFC 8555</a>). It obtains certificates for
devices to which its operator has given External Account Binding credentials. There is nothing to do here in a browser:
point an ACME client at the directory.</p>
<p>Directory: <a href="{directory}">{directory}</a></p>
{website}<p>For operators: <code>docs/quickstart.md</code> of acmehub, and <code>acmehub --help</code></p>
</body>
</html>
"""


def front_page(config: Config) -> HTTPRouteHandler:
    """The route: HTML for a browser, text for others; it names the directory and `[acme] website`, and no version."""
    directory, website = Urls(config.base_url).directory, config.acme.website
    text = _TEXT.format(directory=directory) + (f"Operator: {website}\n" if website else "")
    shown = html.escape(website)
    if website.startswith(("https://", "http://")):
        shown = f'<a href="{shown}">{shown}</a>'
    link = f"<p>Operator: {shown}</p>\n" if website else ""
    page = _PAGE.format(directory=html.escape(directory), website=link)

    @route(PATH, http_method=GET_AND_HEAD, sync_to_thread=False, include_in_schema=False)
    def show(request: Request[Any, Any, Any]) -> Response[str]:
        is_browser = MediaType.HTML in request.headers.get("accept", "")
        media = MediaType.HTML if is_browser else MediaType.TEXT
        return Response(page if is_browser else text, media_type=media, headers=HEADERS)

    return show

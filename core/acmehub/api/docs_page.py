"""The page `/api/v1/docs`: the OpenAPI document as Swagger UI shows it, from files of the hub alone."""

from importlib.resources import files

from litestar import Response, get
from litestar.enums import MediaType
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from acmehub.api.problems import ApiError

_FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "start.js": "text/javascript",
    "swagger-ui.css": "text/css",
}
_SECURITY = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>acmehub API</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="docs/swagger-ui.css"></head>
<body><div id="api">The API is described in <a href="openapi.json">openapi.json</a>.</div>
<script src="docs/swagger-ui-bundle.js"></script><script src="docs/start.js"></script></body>
</html>
"""


def docs_routes() -> list[HTTPRouteHandler]:
    """The page and its files; nobody signs in for them."""

    @get("/docs", media_type=MediaType.HTML, include_in_schema=False, sync_to_thread=False)
    def page() -> Response[str]:
        return Response(_PAGE, media_type=MediaType.HTML, headers={**_SECURITY, "cache-control": "no-cache"})

    @get("/docs/{name:str}", include_in_schema=False, sync_to_thread=True)
    def file(name: FromPath[str]) -> Response[bytes]:
        if name not in _FILES:
            raise ApiError("not-found", "there is nothing at this path")
        content = files("acmehub.api").joinpath("static", name).read_bytes()
        return Response(
            content, media_type=_FILES[name], headers={**_SECURITY, "cache-control": "public, max-age=86400"}
        )

    return [page, file]

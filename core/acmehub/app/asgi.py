"""The ASGI application of a hub: Litestar with health checks and plugins' routes, and the ACME server at `/acme`."""

from typing import Any, cast

from litestar import Litestar, Request, Response
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.types import (
    ControllerRouterHandler,
    HTTPScope,
    LifeSpanReceive,
    LifeSpanScope,
    LifeSpanSend,
    Receive,
    Scope,
    Send,
)

from acmehub.acme.resources import ROUTES
from acmehub.acme.server.app import AcmeServer, unexpected
from acmehub.acme.server.context import HubParts, build_context
from acmehub.acme.server.responses import PROBLEM, encode
from acmehub.acme.server.urls import PREFIX
from acmehub.app.health import health_routes
from acmehub.models.problems import ProblemDocument
from acmehub.rules.jws import MAX_BODY

_UNDER = f"{PREFIX}/"


def create_app(hub: HubParts) -> Litestar:
    """The application of a hub; the hub must be running when requests come, but need not be yet."""
    handlers: list[ControllerRouterHandler] = [*health_routes(hub)]
    for offered in hub.registry.hook.register_routes():
        handlers += offered
    return HubApplication(
        AcmeServer(build_context(hub), ROUTES),
        route_handlers=handlers,
        openapi_config=None,
        logging_config=None,
        request_max_body_size=MAX_BODY,
        exception_handlers={Exception: _beside_acme},
    )


class HubApplication(Litestar):
    """Litestar, but what is under `/acme` goes to the ACME server before anything is routed."""

    def __init__(self, acme: "AcmeServer", **rest: Any) -> None:
        super().__init__(**rest)
        self._acme = acme

    async def __call__(
        self, scope: Scope | LifeSpanScope, receive: Receive | LifeSpanReceive, send: Send | LifeSpanSend
    ) -> None:
        """ASGI."""
        if scope["type"] == ScopeType.HTTP and _is_acme(cast(HTTPScope, scope)["path"]):
            await self._acme(cast(HTTPScope, scope), cast(Receive, receive), cast(Send, send))
        else:
            await super().__call__(scope, receive, send)


def _is_acme(path: str) -> bool:
    return path.startswith(_UNDER) or path == PREFIX


def _beside_acme(_request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Errors of Litestar's own routes, the health checks' and plugins': RFC 7807 without ACME's types."""
    if isinstance(error, HTTPException) and error.status_code < 500:
        status, headers, detail = error.status_code, dict(error.headers or {}), error.detail
    else:
        problem = unexpected(error)
        status, headers, detail = problem.status, {}, problem.detail
    body = encode(ProblemDocument(type="about:blank", detail=detail, status=status))
    return Response(body, status_code=status, headers=headers, media_type=PROBLEM.decode())

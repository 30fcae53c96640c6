"""The ASGI application of a hub: Litestar with health checks, the page at `/`, plugins' routes, and the ACME server,
mounted at `/acme`.

docs/adr/0005-acme-in-litestar.md
"""

import sys
from typing import Any, Protocol

from litestar import Litestar, Request, Response, Router, asgi
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, NotFoundException
from litestar.handlers import ASGIRouteHandler
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin
from litestar.types import ControllerRouterHandler, Receive, Scope, Send

from acmehub.acme.resources import ROUTES
from acmehub.acme.server.app import AcmeServer, unexpected
from acmehub.acme.server.client_address import TrustedProxies, client_address
from acmehub.acme.server.context import HubParts, build_context
from acmehub.acme.server.responses import PROBLEM, encode
from acmehub.acme.server.urls import PREFIX
from acmehub.api.routes import Api, ApiParts, failed
from acmehub.api.table import PREFIX as API
from acmehub.app import front_page
from acmehub.app.health import health_routes
from acmehub.app.plugin_hub import PluginHub
from acmehub.models.problems import ProblemDocument
from acmehub.rules.jws import MAX_BODY
from acmehub.runtime.plugins import PluginBroken, PluginError


class AppParts(HubParts, ApiParts, Protocol):
    """The parts of a hub that the application uses."""


def create_app(hub: AppParts) -> Litestar:
    """The application of a hub; the hub must be running when requests come, but need not be yet.

    Raises `PluginError` for a plugin's route at a path of the ACME server or of the API.
    """
    of_plugins = _plugin_routes(hub)
    own: list[ControllerRouterHandler] = [_mounted(AcmeServer(build_context(hub), ROUTES)), *health_routes(hub)]
    if hub.config.api.enabled:
        own.append(_api(hub))
    if all(item.path != front_page.PATH for item in of_plugins.routes):
        own.append(front_page.front_page(hub.config))
    return _Application(
        route_handlers=[*own, of_plugins],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=MAX_BODY,
        exception_handlers={Exception: _problem},
    )


class _Application(Litestar):
    """Litestar, which imports Pydantic only where a plugin of the hub has done so for its routes."""

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        if "pydantic" in sys.modules:
            return Litestar._get_default_plugins(plugins)
        return [*plugins, MsgspecDIPlugin()]


def _mounted(server: AcmeServer) -> ASGIRouteHandler:
    @asgi(PREFIX, is_mount=True, copy_scope=False)
    async def acme(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["path"][0] != "/":  # the mount takes `/acmeadmin`, too
            raise NotFoundException
        await server(scope, receive, send)

    return acme


def _api(hub: AppParts) -> Router:
    proxies = TrustedProxies(hub.config.trusted_proxies)
    return Api(hub, lambda scope: client_address(scope, proxies), getattr(hub.store, "idempotency", None)).router()


def _plugin_routes(hub: AppParts) -> Router:
    handlers: list[ControllerRouterHandler] = []
    for name in hub.registry.names("register_routes"):
        for offered in hub.registry.ask(name, "register_routes", hub=PluginHub(hub, name)):
            if not isinstance(offered, list | tuple):
                raise PluginBroken(name, f"is broken: register_routes gave {offered!r}, expected a list of handlers")
            handlers += offered
    router = Router("/", route_handlers=handlers)
    for route in router.routes:
        for prefix, whose in ((PREFIX, "the ACME server's"), (API, "the API's")):
            if route.path.startswith(prefix):
                raise PluginError(f"a plugin has the route {route.path}: paths that begin with {prefix} are {whose}")
    return router


def _problem(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Errors outside of the ACME server: RFC 7807 without ACME's types; those of the API with its own."""
    if request.url.path.startswith(f"{API}/"):
        return failed(request, error)
    if isinstance(error, HTTPException) and error.status_code < 500:
        status, headers, detail = error.status_code, dict(error.headers or {}), error.detail
    else:
        problem = unexpected(error)
        status, headers, detail = problem.status, {}, problem.detail
    body = encode(ProblemDocument(type="about:blank", detail=detail, status=status))
    return Response(body, status_code=status, headers=headers, media_type=PROBLEM.decode())

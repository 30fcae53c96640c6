"""The Litestar application, with the ACME server at `/acme` in front of Litestar's own routes.

The ACME resources have a table of their own, as an answer to a POST needs a nonce on 404 and 405, too
(docs/adr/0005-acme-in-front-of-litestar.md).
"""

import logging
import secrets
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

from acmehub.acme.server import (
    accounts,
    authorizations,
    certificates,
    challenges,
    directory,
    key_change,
    orders,
    preauthorization,
    renewal_info,
    revocation,
    routing,
    secret_directories,
)
from acmehub.acme.server.responses import PROBLEM, Answer, encode
from acmehub.acme.server.context import Engine, Front, build_front
from acmehub.app.health import health_routes
from acmehub.acme.server.long_poll import ClientGone
from acmehub.acme.server.rendering import problem_answer
from acmehub.acme.server.routing import NotAllowed, Route, Router
from acmehub.acme.server.urls import PREFIX
from acmehub.rules.jws import MAX_BODY
from acmehub.ports.store import StoreUnavailable
from acmehub.models.problems import Problem, ProblemDocument, ProblemType

_log = logging.getLogger(__name__)
_STORE_RETRY_AFTER = 10
_UNDER = f"{PREFIX}/"

ROUTES = (
    directory.show_directory,
    directory.new_nonce,
    directory.post_directory,
    directory.post_new_nonce,
    secret_directories.show_directory,
    secret_directories.new_account,
    accounts.new_account,
    accounts.account,
    accounts.orders,
    accounts.more_orders,
    orders.new_order,
    orders.order,
    orders.finalize,
    preauthorization.new_authorization,
    authorizations.authorization,
    challenges.challenge,
    certificates.certificate,
    certificates.alternate,
    key_change.key_change,
    revocation.revoke_certificate,
    renewal_info.renewal_info,
)


def create_app(hub: Engine) -> Litestar:
    """The application of a hub; the hub must be running when requests come, but need not be yet."""
    handlers: list[ControllerRouterHandler] = [*health_routes(hub)]
    for offered in hub.registry.hook.register_routes():
        handlers += offered
    return HubApplication(
        AcmeServer(build_front(hub)),
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


class AcmeServer:
    """Everything under `/acme`: finds the resource, and turns what it says, or raises, into an answer."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._router = Router(ROUTES)
        self._index = f'<{front.urls.directory}>;rel="index"'.encode()

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """ASGI."""
        method = scope["method"]
        path = scope["raw_path"].decode("latin-1")
        route: Route | None = None
        try:
            route, parts = self._router.find(method, path)
            answer = await route.serve(routing.Request(self._front, scope, receive, method, path, parts))
        except Problem as problem:
            answer = problem_answer(problem)
            if isinstance(problem, NotAllowed):
                answer.allow = problem.allow
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001  the outermost handler, and the only one: a client never gets less
            answer = problem_answer(_unexpected(error))
        headers = answer.headers()
        is_directory = route is directory.show_directory or route is secret_directories.show_directory
        if method == "POST" or answer.status >= 400 or not is_directory:
            headers.append((b"link", self._index))
        if method == "POST" or answer.status >= 400 or route is directory.new_nonce:
            headers.append((b"replay-nonce", self._front.nonces.issue().encode()))
        await _send(send, answer, headers, bodiless=method == "HEAD")


async def _send(send: Send, answer: Answer, headers: list[tuple[bytes, bytes]], *, bodiless: bool) -> None:
    if answer.status != 204:
        headers.append((b"content-length", b"%d" % len(answer.body)))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if bodiless else answer.body, "more_body": False})


def _unexpected(error: Exception) -> Problem:
    """What the client is told about an exception that is no Problem; the reason goes to the log, without the body."""
    if isinstance(error, StoreUnavailable):
        _log.error("the storage is unavailable", extra={"reason": str(error)})
        return Problem(
            ProblemType.SERVER_INTERNAL,
            "the server's storage is unavailable at present; try again",
            status=503,
            retry_after=_STORE_RETRY_AFTER,
        )
    reference = secrets.token_hex(8)
    _log.error("a request failed", exc_info=error, extra={"reference": reference})
    return Problem(ProblemType.SERVER_INTERNAL, f"internal error, reference {reference}", reference=reference)


def _beside_acme(_request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Errors of Litestar's own routes, the health checks' and plugins': RFC 7807 without ACME's types."""
    if isinstance(error, HTTPException) and error.status_code < 500:
        status, headers, detail = error.status_code, dict(error.headers or {}), error.detail
    else:
        problem = _unexpected(error)
        status, headers, detail = problem.status, {}, problem.detail
    body = encode(ProblemDocument(type="about:blank", detail=detail, status=status))
    return Response(body, status_code=status, headers=headers, media_type=PROBLEM.decode())

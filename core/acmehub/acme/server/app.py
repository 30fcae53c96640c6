"""The ACME server as an ASGI application: finds the resource, and turns what it returns, or raises, into an answer.

The resources have a table of routes of their own
(docs/adr/0005-acme-in-litestar.md).
"""

import logging
import secrets
from collections.abc import Iterable

from litestar.types import HTTPScope, Receive, Send

from acmehub.acme.server.context import AppContext
from acmehub.acme.server.long_poll import ClientGone
from acmehub.acme.server.rendering import problem_answer
from acmehub.acme.server.responses import Answer
from acmehub.acme.server.routing import NotAllowed, Request, Route, Router
from acmehub.models.problems import Problem, ProblemType
from acmehub.ports.store import StoreUnavailable

_log = logging.getLogger(__name__)
_STORE_RETRY_AFTER = 10


class AcmeServer:
    """Everything under `/acme`: finds the resource, and turns what it says, or raises, into an answer."""

    def __init__(self, context: AppContext, routes: Iterable[Route]) -> None:
        self._context = context
        self._router = Router(routes)
        self._index = f'<{context.urls.directory}>;rel="index"'.encode()

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """ASGI."""
        method = scope["method"]
        path = scope["raw_path"].decode("latin-1")
        route: Route | None = None
        try:
            route, parts = self._router.find(method, path)
            answer = await route.serve(Request(self._context, scope, receive, method, path, parts))
        except Problem as problem:
            answer = problem_answer(problem)
            if isinstance(problem, NotAllowed):
                answer.allow = problem.allow
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001  the outermost handler, and the only one: a client never gets less
            answer = problem_answer(unexpected(error))
        headers = answer.headers()
        if method == "POST" or answer.status >= 400 or route is None or route.links_index:
            headers.append((b"link", self._index))
        if method == "POST" or answer.status >= 400 or (route is not None and route.gives_nonce):
            headers.append((b"replay-nonce", self._context.nonces.issue().encode()))
        await _send(send, answer, headers, bodiless=method == "HEAD")


async def _send(send: Send, answer: Answer, headers: list[tuple[bytes, bytes]], *, bodiless: bool) -> None:
    if answer.status != 204:
        headers.append((b"content-length", b"%d" % len(answer.body)))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if bodiless else answer.body, "more_body": False})


def unexpected(error: Exception) -> Problem:
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

"""The ACME server as an ASGI application, mounted in Litestar's (docs/adr/0005-acme-in-litestar.md)."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Iterable

from litestar.types import HTTPScope, Receive, Send

from acmehub.acme.server.context import AppContext
from acmehub.acme.server.long_poll import ClientGone
from acmehub.acme.server.rendering import problem_response
from acmehub.acme.server.responses import AcmeResponse
from acmehub.acme.server.routing import Misspelt, NotAllowed, Request, Route, Router
from acmehub.models.problems import Problem, ProblemType
from acmehub.ports.store import StoreAway, StoreUnavailable
from acmehub.runtime.client_limits.limits import LimitReached

_log = logging.getLogger(__name__)
_STORE_RETRY_AFTER = 10
HOLD_REFUSED = 1.0  # seconds
MOST_HELD = 2048


class AcmeServer:
    """Answers requests under `/acme` with the response that their resource returns or the problem that it raises."""

    def __init__(self, context: AppContext, routes: Iterable[Route]) -> None:
        self._context = context
        self._held = 0
        self._router = Router(routes)
        self._index = f'<{context.urls.directory}>;rel="index"'.encode()

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        method = scope["method"]
        path = scope["raw_path"].decode("latin-1")
        route: Route | None = None
        try:
            try:
                route, parts = self._router.find(method, path)
            except Misspelt as problem:
                await self._name_url(problem)
                raise
            response = await route.serve(Request(self._context, scope, receive, method, path, parts))
        except LimitReached as problem:
            await self._hold(problem)
            response = problem_response(problem)
        except Problem as problem:
            response = problem_response(problem)
            if isinstance(problem, NotAllowed):
                response.allow = problem.allow
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 - the outermost handler: every failure is a problem document
            response = problem_response(unexpected(error))
        nonce = ""
        if method == "POST" or response.status >= 400 or (route is not None and route.gives_nonce):
            try:
                nonce = self._context.nonces.issue()
            except StoreAway as error:  # the start waits for the storage, and says so with an answer without a nonce
                if response.status < 400:
                    response = problem_response(unexpected(error))
        headers = response.headers()
        if method == "POST" or response.status >= 400 or route is None or route.links_index:
            headers.append((b"link", self._index))
        if nonce:
            headers.append((b"replay-nonce", nonce.encode()))
        await _send(send, response, headers, bodiless=method == "HEAD")

    async def _name_url(self, problem: Misspelt) -> None:
        """A 404 names the URL that was meant, that of a secret directory only where its key is right."""
        key = problem.parts.get("directory_key")
        if key is None or await self._context.hub.accounts.directories.token(key) is not None:
            problem.detail += f"; without doubled and trailing slashes, it is {self._context.urls.of(problem.path)}"

    async def _hold(self, refusal: LimitReached) -> None:
        """Answer a client that goes on after it was refused a second later: it cannot take the time of others."""
        if not refusal.again or self._held >= MOST_HELD:
            return
        self._held += 1
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HOLD_REFUSED):
                    await self._context.hub.stopping.wait()
        finally:
            self._held -= 1


async def _send(send: Send, response: AcmeResponse, headers: list[tuple[bytes, bytes]], *, bodiless: bool) -> None:
    if response.status != 204:
        headers.append((b"content-length", b"%d" % len(response.body)))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if bodiless else response.body, "more_body": False})


def unexpected(error: Exception) -> Problem:
    """The problem for an exception that is none; its reason goes to the log, without the request's body."""
    if isinstance(error, StoreUnavailable):
        _log.debug("the storage is unavailable: %s", error)  # the storage itself says so, once a minute
        return Problem(
            ProblemType.SERVER_INTERNAL,
            "the server's storage is unavailable at present; try again",
            status=503,
            retry_after=_STORE_RETRY_AFTER,
        )
    reference = secrets.token_hex(8)
    _log.error("a request failed", exc_info=error, extra={"reference": reference})
    return Problem(ProblemType.SERVER_INTERNAL, f"internal error, reference {reference}", reference=reference)

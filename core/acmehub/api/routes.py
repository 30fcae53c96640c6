"""The routes of `/api/v1`: one for each operation of the table, and its OpenAPI document."""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, Protocol

from litestar import Request, Response, Router, get, route
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream
from litestar.types import HTTPScope

from acmehub.admin.resources.document import Document
from acmehub.admin.services import Admin
from acmehub.api.answers import Answer, of_problem
from acmehub.api.calls import Asked, Calls
from acmehub.api.docs_page import docs_routes
from acmehub.api.idempotency import HEADER, Answers
from acmehub.api.openapi import document
from acmehub.api.operations import OPERATIONS
from acmehub.api.problems import EXPECTED, ApiError, invalid, problem_of
from acmehub.api.sign_in import SignIn
from acmehub.api.table import JSON, JSON_LINES, LARGEST, PREFIX, Operation
from acmehub.api.waiting import Waiting
from acmehub.config import Config
from acmehub.ports.clock import Clock
from acmehub.ports.idempotency import IdempotencyKeys
from acmehub.runtime.client_limits.limits import ClientLimits
from acmehub.runtime.order_events import OrderEvents
from acmehub.runtime.vault import Vault

MOST_BYTES = 256 * 1024
MOST_BYTES_OF_FILE = 2 * 1024 * 1024
REQUEST_ID = "api_request_id"
ALWAYS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class ApiParts(Protocol):
    """The parts of a hub that the API uses; `stopping` is set when the process ends."""

    config: Config
    clock: Clock
    vault: Vault
    admin: Admin
    client_limits: ClientLimits
    order_events: OrderEvents
    stopping: asyncio.Event


class Api:
    """The API of one application; without `keys`, `Idempotency-Key` is refused."""

    def __init__(
        self, hub: ApiParts, address_of: Callable[[HTTPScope], str], keys: IdempotencyKeys | None = None
    ) -> None:
        self._address_of = address_of
        self._sign_in = SignIn(hub.admin.tokens, hub.client_limits.buckets, hub.config.api)
        self._calls = Calls(hub.admin, Waiting(hub.order_events, hub.stopping, hub.clock))
        self._by_path: dict[str, dict[str, Operation]] = {}
        for item in OPERATIONS.values():
            self._by_path.setdefault(item.path, {})[item.method] = item
        self._answers = Answers(keys, hub.vault, hub.clock) if keys is not None else None

    def router(self) -> Router:
        """All routes, below `PREFIX`."""
        return Router(
            PREFIX,
            route_handlers=[*(self._handler(path) for path in self._by_path), _openapi(), *docs_routes()],
            request_max_body_size=MOST_BYTES,
            exception_handlers={Exception: failed},
        )

    def _handler(self, path: str) -> HTTPRouteHandler:
        """One handler for all methods of a path: so Litestar's `Allow` names them all."""
        by_method = self._by_path[path]
        some = next(iter(by_method.values()))
        for name, kind in some.path_arguments:
            path = path.replace(f"{{{name}}}", f"{{{name}:{kind.__name__}}}")
        takes_file = any(item.body is Document for item in by_method.values())
        decorate = route(
            path,
            http_method=[item.method for item in by_method.values()],
            status_code=200,  # the answer has its own
            request_max_body_size=MOST_BYTES_OF_FILE if takes_file else MOST_BYTES,
            include_in_schema=False,
        )

        @decorate
        async def handle(request: Request[Any, Any, Any]) -> Response[Any]:
            return await self._answer(by_method[request.method], request)

        return handle

    async def _answer(self, operation: Operation, request: Request[Any, Any, Any]) -> Response[Any]:
        request.state[REQUEST_ID] = request_id = secrets.token_hex(8)
        acting = await self._sign_in.acting(request, self._address_of(request.scope), request_id)
        asked = Asked(
            operation=operation,
            acting=acting,
            arguments=_arguments(operation, request),
            query=tuple(request.query_params.multi_items()),
            body=await request.body() if operation.method != "GET" else b"",
            media=request.headers.get("content-type", "").partition(";")[0].strip().lower(),
            version=_version(request) if operation.conditional else None,
        )
        if operation.media == JSON_LINES:
            lines = await self._calls.lines(asked)
            return Stream(lines, media_type=JSON_LINES, headers={**ALWAYS, "x-request-id": request_id})
        return _response(await self._once(asked, request), request_id)

    async def _once(self, asked: Asked, request: Request[Any, Any, Any]) -> Answer:
        key = request.headers.get(HEADER)
        if key is None or asked.operation.method != "POST":
            return await self._calls.answer(asked)
        if self._answers is None:
            raise invalid(HEADER, "the storage of this hub keeps no keys")

        async def answer() -> Answer:
            try:
                return await self._calls.answer(asked)
            except EXPECTED as error:  # a refusal is kept like any other answer
                return of_problem(problem_of(error))

        told = f"{asked.operation.method} {request.url.path}?{request.url.query}\n{asked.media}\n".encode()
        return await self._answers.once(key, asked.acting.origin.credential, told + asked.body, answer)


def failed(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """The problem document for any exception."""
    told = problem_of(error) if not isinstance(error, HTTPException) else _http_problem(error)
    return _response(of_problem(told), request.scope.get("state", {}).get(REQUEST_ID, ""))


def _http_problem(error: HTTPException) -> ApiError:
    """What Litestar finds wrong before an operation is reached: the path, the method, the size of the body."""
    match error.status_code:
        case 404:
            return ApiError("not-found", "there is nothing at this path")
        case 405:
            return ApiError("method-not-allowed", "this path does not take this method", headers=error.headers)
        case 413:
            return ApiError("too-large", "the body is larger than is read here")
        case status if status < 500:
            return ApiError("malformed", error.detail)
    return problem_of(error)


def _response(answer: Answer, request_id: str = "") -> Response[Any]:
    headers = {**ALWAYS, **answer.headers, **({"x-request-id": request_id} if request_id else {})}
    media = answer.media if answer.body else JSON
    return Response(answer.body or None, status_code=answer.status, headers=headers, media_type=media)


def _arguments(operation: Operation, request: Request[Any, Any, Any]) -> tuple[str | int, ...]:
    values = [request.path_params[name] for name, _ in operation.path_arguments]
    for (name, _), value in zip(operation.path_arguments, values, strict=True):
        if isinstance(value, str) and "\0" in value:
            raise invalid(name, "contains the character NUL")
        if isinstance(value, int) and not 0 <= value <= LARGEST:
            raise ApiError("not-found", f"there is no {name} {value}")
    return tuple(values)


def _version(request: Request[Any, Any, Any]) -> int | None:
    """The version of `If-Match: "<version>"`; None without it, and for `*`."""
    given = request.headers.get("if-match", "*").strip()
    if given == "*":
        return None
    number = given.removeprefix('"').removesuffix('"')
    if not (given.startswith('"') and given.endswith('"') and number.isascii() and number.isdigit()):
        raise invalid("if-match", 'is no ETag of this API; send it as it was received, as in "3"')
    return int(number[:18])


def _openapi() -> HTTPRouteHandler:
    @get("/openapi.json", include_in_schema=False, sync_to_thread=False)
    def openapi() -> Response[bytes]:
        return Response(document(), media_type=JSON, headers={"cache-control": "public, max-age=300"})

    return openapi

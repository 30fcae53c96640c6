"""Calls the verb of an operation with what a request says."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from acmehub.admin.access.errors import ServiceError
from acmehub.admin.resources.document import Document
from acmehub.admin.resources.tokens import TokenPatch
from acmehub.admin.services import Admin
from acmehub.api import reading
from acmehub.api.answers import (
    Answer,
    Page,
    PageQuery,
    checked_page,
    cursor_of,
    encode,
    key_in,
    key_of,
    of_result,
)
from acmehub.api.documents import BulkResult, BulkResults, Me, TokenActions
from acmehub.api.operations import OPERATIONS
from acmehub.api.problems import TYPES, invalid, problem_of
from acmehub.api.table import JSON, MERGE_PATCH, Operation, Paging
from acmehub.api.waiting import Waiting, WaitQuery
from acmehub.rules.permissions import Acting, Forbidden


class ApiRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request, as far as a verb needs it: `arguments` of the path, `query` as it was sent, the media type of the
    body, and the version of `If-Match` (None: any)."""

    operation: Operation
    acting: Acting
    arguments: tuple[str | int, ...]
    query: tuple[tuple[str, str], ...]
    body: bytes
    media: str
    version: int | None


class Calls:
    """Carries requests out."""

    def __init__(self, admin: Admin, waiting: Waiting) -> None:
        self._admin = admin
        self._waiting = waiting

    async def answer(self, asked: ApiRequest) -> Answer:
        """The answer of the operation; raises what its verb raises, and `ApiError`."""
        operation = asked.operation
        if operation.id == "me":
            return of_result(operation, _me(asked.acting))
        if operation.id == "token.actions":
            return of_result(operation, await self._token_actions(asked))
        queries = reading.read_query(asked.query, self._kinds(operation))
        keywords = {name: queries["filter"] for name in ("filter",) if operation.filter is not None}
        keywords |= msgspec.structs.asdict(queries["query"]) if operation.query is not None else {}
        if operation.paging is not Paging.NONE:
            return await self._list(asked, keywords, checked_page(queries["page"]))
        body = await self._body(asked)
        if operation.waits:
            result = await self._waiting.newer(
                lambda: self._call(asked, body, keywords), queries["wait"], asked.acting.origin.credential
            )
        else:
            result = await self._call(asked, body, keywords)
        return of_result(operation, result, is_dry=keywords.get("dry_run", False))

    async def lines(self, asked: ApiRequest) -> AsyncIterator[bytes]:
        """The lines of an export, as they are read."""
        queries = reading.read_query(asked.query, self._kinds(asked.operation))
        return _encoded(await self._call(asked, (), queries))

    def _kinds(self, operation: Operation) -> dict[str, type[msgspec.Struct]]:
        """The structs that the query parameters make."""
        kinds = {
            "filter": operation.filter,
            "query": operation.query,
            "page": PageQuery if operation.paging is not Paging.NONE else None,
            "wait": WaitQuery if operation.waits else None,
        }
        return {name: kind for name, kind in kinds.items() if kind is not None}

    async def _body(self, asked: ApiRequest) -> tuple[Any, ...]:
        """The body as the verb takes it: one argument, or none."""
        operation = asked.operation
        if operation.body is None:
            return ()
        if operation.body is Document:
            return (reading.read_file(asked.body, asked.media),)
        if operation.method != "PATCH":
            return (reading.read_new(asked.body, asked.media, operation.body),)
        raw = reading.read_json(asked.body, asked.media, (MERGE_PATCH, JSON))
        shows = OPERATIONS[operation.reads]
        current = await self._verb(shows)(*asked.arguments, asked.acting)
        return (reading.read_patch(raw, operation.body, operation.new, msgspec.json.decode(encode(current))),)

    async def _call(self, asked: ApiRequest, body: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        more = {"version": asked.version} if asked.operation.conditional else {}
        return await self._verb(asked.operation)(*asked.arguments, *body, asked.acting, **keywords, **more)

    def _verb(self, operation: Operation) -> Any:
        return getattr(getattr(self._admin, operation.service), operation.verb)

    async def _list(self, asked: ApiRequest, keywords: dict[str, Any], page: PageQuery) -> Answer:
        """One more item than the page has tells whether there is a next one."""
        operation = asked.operation
        key = key_of(operation, page.after) if page.after else None
        if operation.paging is not Paging.WHOLE:
            keywords |= {"limit": page.limit + 1} | ({operation.paging.value: key} if key is not None else {})
        found = await self._call(asked, (), keywords)
        rest = {}
        if operation.page is not None:
            rest = {name: getattr(found, name) for name in found.__struct_fields__ if name != "items"}
            found = found.items
        if operation.paging is Paging.WHOLE:
            found = _behind(found, key)
        items = found[: page.limit]
        next = cursor_of(operation, key_in(items[-1])) if len(found) > page.limit else None
        shown = {**msgspec.structs.asdict(Page(items, next)), **rest}
        return Answer(200, {}, encode(shown))

    async def _token_actions(self, asked: ApiRequest) -> BulkResults:
        """Each by itself: a transaction and an entry of the audit, or a problem."""
        if asked.query:
            raise invalid(asked.query[0][0], "there are no parameters here")
        wanted: TokenActions = reading.read_new(asked.body, asked.media, TokenActions)
        results = tuple([await self._one(id, wanted.action, asked.acting) for id in wanted.ids])
        if all(item.type == TYPES["forbidden"].url for item in results):
            raise Forbidden(results[0].detail)
        return BulkResults(results)

    async def _one(self, id: str, action: str, acting: Acting) -> BulkResult:
        tokens = self._admin.tokens
        try:
            match action:
                case "revoke":
                    await tokens.revoke(id, acting)
                case "remove":
                    await tokens.remove(id, acting)
                case _:
                    await tokens.set(id, TokenPatch(enabled=action == "enable"), acting)
        except (ServiceError, Forbidden) as error:
            problem = problem_of(error).body
            return BulkResult(id=id, done=False, type=problem.type, detail=problem.detail)
        return BulkResult(id=id, done=True)


async def _encoded(items: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    async for item in items:
        yield encode(item) + b"\n"


def _me(acting: Acting) -> Me:
    return Me(
        name=acting.name,
        principal=acting.principal_id,
        token=acting.origin.credential,
        roles=tuple(sorted(acting.roles, key=lambda item: (item.role, item.tags))),
    )


def _behind(items: Sequence[Any], key: str | int | None) -> Sequence[Any]:
    """The items behind the one with this key, which may be gone: then those with greater keys."""
    if key is None:
        return items
    keys = [key_in(item) for item in items]
    if key in keys:
        return items[keys.index(key) + 1 :]
    return [item for item, its in zip(items, keys, strict=True) if str(its) > str(key)]

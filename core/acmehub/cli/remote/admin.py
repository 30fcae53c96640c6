"""`Admin` of a hub elsewhere: each verb is a request that the table of operations describes."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import quote

import msgspec

from acmehub.admin.access.errors import NotFound
from acmehub.admin.resources.document import Document, InvalidFile
from acmehub.admin.resources.fields import Patch
from acmehub.admin.resources.with_plugins import Sources
from acmehub.admin.services import Admin
from acmehub.api.answers import MOST, cursor_of
from acmehub.api.operations import operation_of
from acmehub.api.table import JSON, JSON_LINES, MERGE_PATCH, Operation, Paging
from acmehub.cli.remote.connection import HubConnection, connected
from acmehub.cli.remote.documents import plain_body, with_places, without_defaults
from acmehub.cli.remote.sources import LocalSources
from acmehub.cli.shared.exit_status import Exit, Failed
from acmehub.cli.shared.remote_hub import RemoteHub
from acmehub.ports.settings import Secret
from acmehub.rules.permissions import Acting


class RemoteAdmin:
    """Its attributes are the services of `Admin`, theirs the verbs that the API has."""

    def __init__(self, connection: HubConnection) -> None:
        self._connection = connection

    def __getattr__(self, service: str) -> "_Service":
        return _Service(self, self._connection, service)


class _Service:
    def __init__(self, admin: RemoteAdmin, connection: HubConnection, service: str) -> None:
        self._admin = admin
        self._connection = connection
        self._service = service

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[Any]]:
        try:
            operation = operation_of(self._service, verb)
        except KeyError:
            raise Failed(
                f"{self._service} {verb}: it is done on the hub's own machine, without --hub", Exit.USAGE
            ) from None
        return _Verb(cast(Admin, self._admin), self._connection, operation)


class _Verb:
    """A verb: takes what the verb of `admin` takes, and returns or raises what that does."""

    def __init__(self, admin: Admin, connection: HubConnection, operation: Operation) -> None:
        self._admin = admin
        self._connection = connection
        self._operation = operation

    async def __call__(self, *arguments: Any, sources: Sources | None = None, **keywords: Any) -> Any:
        """`arguments` are those of the path, the body where there is one, and who acts, whom the token says."""
        operation = self._operation
        count = len(operation.path_arguments)
        references = [await self._reference(str(item), arguments[-1]) for item in arguments[:count]]
        path = operation.url(*(quote(item, safe="") for item in references))
        body = arguments[count] if operation.body is not None else None
        if sources is not None and body is not None:
            body = await self._with_sources(body, arguments, sources)
        if operation.paging is not Paging.NONE:
            return await self._list(path, keywords)
        query = _query(keywords)
        try:
            response = await self._connection.request(
                operation.method,
                path,
                query=query,
                body=None if body is None else msgspec.json.encode(plain_body(body), enc_hook=_reveal),
                content_type=MERGE_PATCH if operation.method == "PATCH" else JSON,
                accept=operation.media,
            )
        except InvalidFile as error:
            raise (with_places(error.errors, body) if isinstance(body, Document) else error) from None
        if operation.media == JSON_LINES:
            return _lines(response.body, operation.result)
        if operation.result is None:
            return None
        return _decoded(response.body, operation.result) if operation.media == JSON else response.body.decode()

    async def _reference(self, name: str, acting: Acting) -> str:
        """A name as a path can have it: the id instead of one that has a slash in it."""
        if not name:
            raise NotFound(f"there is no {self._operation.path_arguments[0][0]} ''")
        if "/" not in name and name not in (".", ".."):
            return name
        listed = await getattr(self._admin, self._operation.service).list(acting)
        found = [item.id for item in listed if name in (getattr(item, "name", ""), getattr(item, "title", ""))]
        return found[0] if len(found) == 1 else name

    async def _with_sources(self, body: msgspec.Struct, arguments: Sequence[Any], sources: Sources) -> msgspec.Struct:
        acting: Acting = arguments[-1]
        plugin = getattr(body, "plugin", "")
        if isinstance(body, Patch) and not isinstance(plugin, str):
            plugin = (await getattr(self._admin, self._operation.service).show(arguments[0], acting)).plugin
        return await LocalSources(self._admin.plugins, acting, sources).body(body, plugin)

    async def _list(self, path: str, keywords: dict[str, Any]) -> Any:
        """The items of as many pages as it takes to have `limit`, or all there are."""
        limit: int | None = keywords.pop("limit", None)
        behind = keywords.pop(self._operation.paging.value, None)
        query = _query(keywords)
        if behind:
            query["after"] = cursor_of(self._operation, behind)
        items: list[Any] = []
        members: dict[str, msgspec.Raw] = {}
        while limit is None or len(items) < limit:
            query["limit"] = str(MOST if limit is None else min(MOST, limit - len(items)))
            response = await self._connection.request("GET", path, query=query)
            members = _decoded(response.body, dict[str, msgspec.Raw])
            items += _decoded(members.pop("items"), list[self._operation.result])  # type: ignore[name-defined]
            after = _decoded(members.pop("next", b"null"), str | None)
            if after is None:
                break
            query["after"] = after
        if self._operation.page is None:
            return items
        others = {info.name: info.type for info in msgspec.structs.fields(self._operation.page) if info.name != "items"}
        return self._operation.page(
            items=tuple(items),
            **{name: _decoded(members[name], kind) for name, kind in others.items() if name in members},
        )


@asynccontextmanager
async def remote_admin(hub: RemoteHub) -> AsyncIterator[tuple[Admin, HubConnection]]:
    """The verbs of a hub elsewhere, and the connection to it, which ends with the block."""
    async with connected(hub) as connection:
        yield cast(Admin, RemoteAdmin(connection)), connection


def _query(keywords: dict[str, Any]) -> dict[str, str]:
    """The parameters of the URL: fields of the filter, and the keywords; without those that say nothing."""
    given = dict(keywords)
    filter: msgspec.Struct | None = given.pop("filter", None)
    if filter is not None:
        given |= without_defaults(filter)
    plain: dict[str, Any] = msgspec.to_builtins(given)
    return {name: _text(value) for name, value in plain.items() if value not in (None, "", False)}


def _text(value: Any) -> str:
    return "true" if value is True else str(value)


def _reveal(value: Any) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError(type(value))


def _decoded(content: Any, kind: Any) -> Any:
    try:
        return msgspec.json.decode(content, type=kind, dec_hook=_made)
    except msgspec.DecodeError as error:
        raise Failed(f"the hub's answer is not what this command knows; is it of another version? {error}") from None


def _made(kind: type, value: Any) -> Any:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise NotImplementedError(kind)


async def _lines(content: bytes, kind: Any) -> AsyncIterator[Any]:
    for line in content.splitlines():
        yield _decoded(line, kind)

"""What a row of the table of operations says."""

import enum
import re
from typing import Any, Literal

import msgspec

from acmehub.rules.permissions import PERMISSIONS

PREFIX = "/api/v1"
JSON = "application/json"
JSON_LINES = "application/jsonl"
MERGE_PATCH = "application/merge-patch+json"
PEM_CHAIN = "application/pem-certificate-chain"
TOML = "application/toml"
NOT_HERE = {
    "check.live": "`check` with `live` in its body asks for it",
    "campaign.plan": "`campaign.add` with `dry_run` asks for it",
    "reseal": "needs the keys on the hub's machine (`acmehub db reseal`)",
    "backup.create": "writes a file with the master keys on the hub's machine",
    "storage.copy": "needs a stopped hub, and the configuration on its machine",
}
"""Actions of `PERMISSIONS` that no operation has by their name, and why."""
LARGEST = 2**63 - 2
"""The largest number of an entry that a path may have: the one above it must fit into a column, too."""

_ARGUMENT = re.compile(r"\{(\w+)(?::(int))?\}")


class Paging(enum.Enum):
    """How the verb of a list gives its pages."""

    NONE = ""
    """It is no list."""
    WHOLE = "whole"
    """The verb returns all, oldest first; the API cuts pages out of it."""
    AFTER = "after"
    """The verb takes `after`, the id of the last one of the page before, and `limit`."""
    BEFORE = "before"
    """The same with `before`, the number of an entry of the audit."""


class TokensQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which tokens: those of a principal (name or id), or all."""

    principal: str = ""


class AuditBehind(msgspec.Struct, frozen=True, kw_only=True):
    """From where on the audit is followed: behind the entry with this id, so many entries at a time."""

    after: int = 0
    limit: int = 200


class AuditMac(msgspec.Struct, frozen=True, kw_only=True):
    """The MAC of a seal that was written down elsewhere, which the chain must have; empty: none."""

    mac: str = ""


class DryRun(msgspec.Struct, frozen=True, kw_only=True):
    """With `dry_run` nothing is changed: the answer says what would be."""

    dry_run: bool = False


class Applying(DryRun, frozen=True, kw_only=True):
    """How a file is applied: what it changes bears `owner`; what another owner has set is changed with `take_over`."""

    owner: str = ""
    take_over: bool = False


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """A row: `id` is the action in `PERMISSIONS`, unless `action` names another one.

    `path` is below `PREFIX`; its arguments are `{name}` (a name or an id) and `{name:int}`. `body`: the type of the
    request's body. `filter`: a struct whose fields are query parameters, which the verb takes as the keyword `filter`;
    `query`: one whose fields the verb takes as keywords one by one. `result`: the type of what the verb returns; with
    `paging`, of one item of it, and the verb returns a sequence of those, or a `page` with `items`. `member`: the
    answer is this member of the result alone. `media`: of the answer. `created`: the member of the result that has the
    `id` and the `version` of what was made ("." is the result itself). `conditional`: the verb takes the version of
    `If-Match` as the keyword `version`; `reads` is the operation that shows what is changed, `new` the struct that has
    the defaults which null stands for. `waits`: `wait` and `since` hold the answer until there is a newer version.
    `reveals`: the result has secrets in clear. An operation without a service is the API's own.
    """

    id: str
    method: Literal["GET", "POST", "PATCH", "DELETE"]
    path: str
    summary: str
    service: str = ""
    verb: str = ""
    body: Any = None
    filter: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    result: Any = None
    paging: Paging = Paging.NONE
    page: type[msgspec.Struct] | None = None
    status: int = 200
    action: str = ""
    member: str = ""
    media: str = JSON
    created: str = ""
    conditional: bool = False
    reads: str = ""
    new: Any = None
    waits: bool = False
    reveals: bool = False

    @property
    def path_arguments(self) -> tuple[tuple[str, type], ...]:
        """The arguments of the path in their order, each with its type."""
        return tuple((name, int if kind else str) for name, kind in _ARGUMENT.findall(self.path))

    @property
    def permission(self) -> str:
        """The action that the gate is asked for; empty where every token may."""
        found = self.action or self.id
        return found if found in PERMISSIONS else ""

    def url(self, *arguments: str | int) -> str:
        """The path with these arguments, percent-encoded by the caller."""
        values = iter(arguments)
        return PREFIX + _ARGUMENT.sub(lambda _: str(next(values)), self.path)


def row(
    method: Literal["GET", "POST", "PATCH", "DELETE"], path: str, id: str, call: str, summary: str, **more: Any
) -> Operation:
    """A row; `call` is `service.verb`, or empty."""
    service, _, verb = call.partition(".")
    return Operation(method=method, path=path, id=id, service=service, verb=verb, summary=summary, **more)


def resource(
    noun: str, path: str, service: str, what: str, types: tuple[Any, Any, Any], query: Any = None, **adding: Any
) -> tuple[Operation, ...]:
    """List, add, show, set and remove of a resource; `types`: how it is made, changed and seen."""
    one, a = f"{path}/{{{noun}}}", "an" if what[0] in "aeiou" else "a"
    new, patch, view = types
    added = {"result": view, "created": ".", **adding}
    return (
        row(
            "GET",
            path,
            f"{noun}.list",
            f"{service}.list",
            f"List {_many(what)}",
            query=query,
            result=view,
            paging=Paging.WHOLE,
        ),
        row("POST", path, f"{noun}.add", f"{service}.add", f"Add {a} {what}", body=new, status=201, **added),
        row("GET", one, f"{noun}.show", f"{service}.show", f"Show {a} {what}", result=view),
        row(
            "PATCH",
            one,
            f"{noun}.set",
            f"{service}.set",
            f"Change {a} {what}",
            body=patch,
            result=view,
            conditional=True,
            reads=f"{noun}.show",
            new=new,
        ),
        row("DELETE", one, f"{noun}.remove", f"{service}.remove", f"Remove {a} {what}", status=204),
    )


def _many(what: str) -> str:
    return f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"

"""What the API answers: status, headers, and a body made of what a verb returned."""

import base64
import binascii
import contextlib
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import PurePath
from typing import Any

import msgspec

from acmehub.api.problems import PROBLEM_JSON, ApiError, invalid
from acmehub.api.table import JSON, PREFIX, Operation, Paging
from acmehub.ports.settings import Secret

DEFAULT_LIMIT = 50
MOST = 200  # items of a page


class Answer(msgspec.Struct, frozen=True):
    """A whole answer, which an idempotency key can keep."""

    status: int
    headers: dict[str, str]
    body: bytes
    media: str = JSON


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which page of a list: at most `limit` items, behind the cursor `after` that the page before gave as `next`."""

    limit: int = DEFAULT_LIMIT
    after: str = ""


class Page(msgspec.Struct, frozen=True):
    """A page of a list; `next` is the cursor of the next one, None on the last."""

    items: Sequence[Any]
    next: str | None


def of_result(operation: Operation, result: Any, *, is_dry: bool = False) -> Answer:
    """The answer that has the result of a verb; one that was made has its `Location`."""
    if operation.status == 204:
        return Answer(204, {}, b"")
    shown = getattr(result, operation.member) if operation.member else result
    headers = {}
    version = getattr(_made(operation, result), "version", None)
    if version is not None and not operation.member:
        headers["etag"] = f'"{version}"'
    status = operation.status
    if operation.created:
        if is_dry:
            status, headers = 200, {}
        else:
            headers["location"] = f"{PREFIX}{operation.path}/{_made(operation, result).id}"
    body = shown.encode() if isinstance(shown, str) else encode(shown, reveals=operation.reveals)
    return Answer(status, headers, body, operation.media)


def of_problem(error: ApiError) -> Answer:
    """The answer that has a problem document."""
    return Answer(error.body.status, error.headers, encode(error.body), PROBLEM_JSON)


def encode(item: Any, *, reveals: bool = False) -> bytes:
    """JSON; a secret is an error of the hub's unless the operation `reveals`."""
    return msgspec.json.encode(plain(item, reveals=reveals))


def plain(item: Any, *, reveals: bool = False) -> Any:
    """As JSON has it, with what people would compute themselves: whether a check is `good`."""

    def hook(value: Any) -> Any:
        if isinstance(value, Secret) and reveals:
            return value.reveal()
        if isinstance(value, IPv4Address | IPv6Address | PurePath):
            return str(value)
        raise NotImplementedError(type(value))

    shown = msgspec.to_builtins(item, enc_hook=hook)
    good = getattr(item, "good", None)
    return {"good": good, **shown} if good is not None else shown


def _made(operation: Operation, result: Any) -> Any:
    return getattr(result, operation.created) if operation.created not in ("", ".") else result


# ------------------------------------------------------------------------------------------------------ cursors


def cursor_of(operation: Operation, key: str | int) -> str:
    """The cursor behind an item: opaque to callers, and good for this list only."""
    return base64.urlsafe_b64encode(msgspec.json.encode([operation.id, key])).rstrip(b"=").decode()


def key_of(operation: Operation, cursor: str) -> str | int:
    """What `cursor_of` was made of; 422 for anything else."""
    id: str
    key: str | int
    id, key = "", ""
    with contextlib.suppress(binascii.Error, ValueError, msgspec.DecodeError):
        padded = cursor + "=" * (-len(cursor) % 4)
        clear = base64.b64decode(padded, altchars=b"-_", validate=True)
        id, key = msgspec.json.decode(clear, type=tuple[str, str | int])
    if id != operation.id or isinstance(key, int) is not (operation.paging is Paging.BEFORE) or key == "":
        raise invalid("after", "is not what an answer of this list gave as `next`")
    return key


def checked_page(page: PageQuery) -> PageQuery:
    """Refuses a limit out of range."""
    if not 1 <= page.limit <= MOST:
        raise invalid("limit", f"1 to {MOST}")
    return page


def key_in(item: Any) -> str | int:
    """What a list is ordered by: the id, the name of what has none."""
    key: str | int = item.id if hasattr(item, "id") else item.name
    return key

"""Documents of the API that no verb of `admin` has: who acts, and many tokens at once."""

from typing import Annotated, Literal

import msgspec

from acmehub.models import RoleAssignment

MOST_AT_ONCE = 100


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """Who a token acts as, and with which roles."""

    name: str
    principal: str
    token: str
    roles: tuple[RoleAssignment, ...]


class TokenActions(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to do to some tokens, each by title or id."""

    action: Literal["revoke", "enable", "disable", "remove"]
    ids: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=MOST_AT_ONCE)]


class BulkResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one: `done`, or the `type` of a problem and its `detail`."""

    id: str
    done: bool
    type: str = ""
    detail: str = ""


class BulkResults(msgspec.Struct, frozen=True):
    """One result for each id, in the order of the request."""

    results: tuple[BulkResult, ...]

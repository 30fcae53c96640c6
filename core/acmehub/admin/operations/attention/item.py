"""What needs a person: one item for each cause."""

import enum
from collections.abc import Iterable
from datetime import datetime

import msgspec


class Severity(enum.StrEnum):
    """How urgent it is, the worst first: certificates are missing or will soon be; something fails; it will."""

    PAGE = "page"
    WARN = "warn"
    INFO = "info"


_RANK = {severity: rank for rank, severity in enumerate(Severity)}


class AttentionItem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that needs a person.

    `key` stays the same as long as the cause does. `what`: in one line; `since`: when it began, where that is known;
    `words` are those of `whose` (a server, an authority, a provider; empty: the hub's own). `to_do`: one line.
    `kind`, `id`, `name`: the object that it is about, as commands name it. `count`: of orders, records, certificates;
    `principals`: names of those that it concerns, at most `MOST_PRINCIPALS`.
    """

    key: str
    severity: Severity
    what: str
    since: datetime | None = None
    words: str = ""
    whose: str = ""
    to_do: str
    kind: str = ""
    id: str = ""
    name: str = ""
    count: int = 1
    principals: tuple[str, ...] = ()


MOST_PRINCIPALS = 5


def ranked(items: Iterable[AttentionItem]) -> list[AttentionItem]:
    """The worst first, and of those the ones that last longest; those of unknown age before them."""
    return sorted(
        items,
        key=lambda item: (_RANK[item.severity], item.since.timestamp() if item.since is not None else 0.0, item.key),
    )

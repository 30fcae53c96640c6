"""The audit log, to which entries are only ever added."""

import enum
from datetime import datetime

import msgspec


class Via(enum.StrEnum):
    """The way in that somebody came by."""

    CLI = "cli"
    API = "api"
    CONSOLE = "console"
    ACME = "acme"
    DOOR = "door"
    SYSTEM = "system"


class Origin(msgspec.Struct, frozen=True):
    """Where what somebody does comes from: by which way, from which address, with which request, by which API token or
    session (its id). Empty where there is no such thing."""

    via: Via = Via.CLI
    address: str = ""
    request: str = ""
    credential: str = ""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what to which object, and whether it was allowed; contains no secret."""

    at: datetime
    actor: str
    action: str
    object: str
    detail: str = ""
    allowed: bool = True


class AuditRecord(AuditEntry, frozen=True, kw_only=True):
    """A stored entry; a later one has a larger `id`, and no other entry ever gets it."""

    id: int


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries are asked for: those that meet all that is given.

    `actor` and `object`: texts that they contain. `action`: that action, or all whose name begins so up to a dot
    (`order`: `order.retry`, `order.refused` …). `since` and `until` (exclusive): when. `refused`: only those that were
    not allowed, or failed.
    """

    actor: str = ""
    action: str = ""
    object: str = ""
    since: datetime | None = None
    until: datetime | None = None
    refused: bool = False

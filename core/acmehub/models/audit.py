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


class ActorKind(enum.StrEnum):
    """What acts: a person, a program with an API token, an ACME client, the hub itself."""

    PERSON = "person"
    TOKEN = "token"  # noqa: S105  a word
    DEVICE = "device"
    SYSTEM = "system"


class AuditActor(msgspec.Struct, frozen=True):
    """Who does what the audit has an entry of.

    `name` is for people; `id` is the principal's, of a device its account's or token's, and empty where there is none.
    """

    name: str
    kind: ActorKind
    id: str = ""
    origin: Origin = Origin()

    @classmethod
    def device(cls, name: str, *, id: str = "", address: str = "", token_id: str = "") -> "AuditActor":
        """An ACME client; `token_id`: the API token that has bound its account."""
        return cls(name, ActorKind.DEVICE, id, Origin(Via.ACME, address, credential=token_id))


class AuditLine(msgspec.Struct, frozen=True, kw_only=True):
    """What people see of an entry.

    `object` is what people read; where it is known, `object_kind`, `object_id` and `object_name` say the same apart.
    `difference`: what a change has changed. `actor_kind` and `via` are None in entries of releases that did not write
    them.
    """

    at: datetime
    actor: str
    action: str
    object: str
    detail: str = ""
    allowed: bool = True
    actor_id: str = ""
    actor_kind: ActorKind | None = None
    via: Via | None = None
    address: str = ""
    request: str = ""
    credential: str = ""
    object_kind: str = ""
    object_id: str = ""
    object_name: str = ""
    difference: str = ""


class AuditEntry(AuditLine, frozen=True, kw_only=True):
    """Who did what to which object, and whether it was allowed; contains no secret.

    `salt` goes into the digest of its texts; `withheld` has that digest once they were replaced
    (docs/adr/0016-sealed-audit.md).
    """

    salt: str = ""
    withheld: str = ""


class AuditRecord(AuditEntry, frozen=True, kw_only=True):
    """A stored entry; a later one has a larger `id`, and no other entry ever gets it."""

    id: int


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries are asked for: those that meet all that is given.

    `actor` and `object`: texts that they contain, or an id that they have. `action`: that action, or all whose name
    begins so up to a dot (`order`: `order.retry`, `order.refused` …). `since` and `until` (exclusive): when. `refused`:
    only those that were not allowed, or failed. `actor_ids`: only those of these actors; None: of any.
    """

    actor: str = ""
    action: str = ""
    object: str = ""
    since: datetime | None = None
    until: datetime | None = None
    refused: bool = False
    via: Via | None = None
    actor_kind: ActorKind | None = None
    actor_ids: frozenset[str] | None = None
    object_kind: str = ""
    object_id: str = ""
    address: str = ""
    request: str = ""
    credential: str = ""


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """A range of the audit's entries that can no longer be changed without notice (docs/adr/0016-sealed-audit.md).

    Seals are numbered from 1. `first` and `last` are ids of entries, of which there are `entries` in the range. `mac`
    covers the seal before, this one and its entries; `key` names the key of the chain. `pruned` is None while the
    entries are there, and else proves that the hub itself has deleted them.
    """

    id: int
    first: int
    last: int
    entries: int
    at: datetime
    key: str
    mac: bytes
    pruned: bytes | None = None


class SealKey(msgspec.Struct, frozen=True):
    """A key of the chain, sealed by the vault; `id` is that of the master key that it was derived from."""

    id: str
    sealed_key: bytes

"""What the services of the four kinds of resources share: finding by name or id, rights, audit, guarded writes."""

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar, Generic, TypeVar

import msgspec
from msgspec.structs import replace

from acmehub.admin.errors import InUse, Invalid, NotFound, ServiceError, Taken
from acmehub.admin.permissions import Acting, require
from acmehub.models import Authority, Campaign, ManagedChallenge, Principal, Profile, Token
from acmehub.ports.clock import Clock
from acmehub.ports.store import Conflict, Resources, Store
from acmehub.runtime.audit import Audit
from acmehub.runtime.plugins import Registry
from acmehub.runtime.vault import Vault

R = TypeVar("R", Principal, Token, ManagedChallenge, Authority, Profile, Campaign)

MAX_NAME = 100
MAX_SHOWN = 200  # characters of a value in the audit
_ID = re.compile(r"[0-9a-f]{32,64}")
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,49}")


class Note:
    """What the audit is to say about a success besides who did what to which object."""

    def __init__(self) -> None:
        self.detail = ""


class ResourceService(ABC, Generic[R]):
    """Base of the services; `noun` is the CLI's word for the kind, and the first part of audited actions."""

    noun: ClassVar[str]
    label: ClassVar[str]  # the noun in sentences
    name_field: ClassVar[str] = "name"

    def __init__(self, store: Store, vault: Vault, registry: Registry, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._registry = registry
        self._clock = clock

    @property
    @abstractmethod
    def rows(self) -> Resources[R]:
        """Where the rows of this kind are."""

    async def users_of(self, item: R) -> Sequence[str]:
        """What needs `item`, for people: `token 'x'`. Nothing where only the storage can tell; it has the last word."""
        del item
        return ()

    async def find(self, ref: str) -> R:
        """The one with this id or name; `NotFound`, or `Invalid` when several have the name."""
        if _ID.fullmatch(ref):
            item = await self.rows.get(ref)
            if item is not None:
                return item
        named = await self.rows.named(ref)
        if len(named) > 1:
            ids = ", ".join(item.id for item in named)
            raise Invalid(self.label, f"several have the {self.name_field} {ref!r}; name one by its id: {ids}")
        if not named:
            raise NotFound(f"there is no {self.label} {ref!r}; `acmehub {self.noun} list` shows those there are")
        return named[0]

    @asynccontextmanager
    async def acting(self, actor: Acting, verb: str, ref: str) -> AsyncIterator[Note]:
        """Do `verb` on `ref` for `actor`: refused without the right to it, a refusal is audited, and so is success
        when it changes or reveals something, with what is noted meanwhile."""
        action = f"{self.noun}.{verb}"
        note = Note()
        try:
            require(actor, action)
            yield note
        except ServiceError as error:
            await self._audit(actor, action, ref, detail=str(error), allowed=False)
            raise
        if verb not in ("list", "show"):
            await self._audit(actor, action, ref, detail=note.detail)

    async def permit(self, actor: Acting, action: str) -> None:
        """`Refused`, and audited, unless the actor may do `action`, which is not about one resource."""
        try:
            require(actor, action)
        except ServiceError as error:
            await self._audit(actor, action, "", detail=str(error), allowed=False)
            raise

    async def _audit(self, actor: Acting, action: str, ref: str, *, detail: str = "", allowed: bool = True) -> None:
        await Audit(self._store, self._clock).note(actor.name, action, ref, detail, allowed=allowed)

    async def insert(self, item: R) -> R:
        """Store a new one; `Taken`."""
        try:
            await self.rows.add(item)
        except Conflict as conflict:
            raise self._taken(item, conflict) from conflict
        return item

    async def change(self, ref: str, rule: Callable[[R], R], note: Note | None = None) -> R:
        """Write what `rule` makes of the row as it is stored now, again when somebody else was quicker; `note` gets
        what changed."""
        item = await self.find(ref)
        while True:
            changed = rule(item)
            if changed == item:
                return item
            try:
                stored = await self.rows.replace(changed)
            except Conflict as conflict:
                if conflict.field != "version":
                    raise self._taken(changed, conflict) from conflict
                item = await self.find(item.id)
            else:
                if note is not None:
                    note.detail = difference(item, changed)
                return stored

    async def delete(self, ref: str) -> R:
        """Remove one; `InUse` says what needs it."""
        while True:
            item = await self.find(ref)
            users = await self.users_of(item)
            if users:
                raise InUse(f"{self.describe(item)} is in use by {_listed(users)}{self.instead}")
            try:
                await self.rows.remove(item)
            except Conflict as conflict:
                if conflict.field == "version":
                    continue
                raise InUse(f"{self.describe(item)} is in use{self.instead}") from conflict
            return item

    @property
    def instead(self) -> str:
        """What to do with one that cannot be removed."""
        return f": disable it (`acmehub {self.noun} set … --disabled`), or remove those first"

    def describe(self, item: R) -> str:
        """A row in sentences."""
        return f"{self.label} {getattr(item, self.name_field)!r}"

    def _taken(self, item: R, conflict: Conflict) -> ServiceError:
        if conflict.field == self.name_field:
            return Taken(f"there is a {self.describe(item)} already; choose another name, or change that one")
        return Invalid(conflict.field, str(conflict))


def checked_name(name: str, field: str = "name") -> str:
    """A name that people and scripts can use; `Invalid`."""
    if not name or name != name.strip() or not name.isprintable() or len(name) > MAX_NAME:
        raise Invalid(field, f"needs 1 to {MAX_NAME} printable characters, without blanks at the ends")
    if _ID.fullmatch(name):
        raise Invalid(field, "looks like an id (32 hexadecimal digits); choose a name that does not")
    return name


def checked_tags(tags: Sequence[str], field: str = "tags") -> tuple[str, ...]:
    """Tags, each once, in their order; `Invalid`."""
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise Invalid(field, f"{tag!r}: letters, digits, '_', '.', '-', at most 50, the first a letter or digit")
    return tuple(dict.fromkeys(tags))


def difference(before: R, after: R) -> str:
    """What changed between two states of a row, for the audit: `field: old -> new`, sealed fields by name only."""
    parts = []
    for name in before.__struct_fields__:
        old, new = getattr(before, name), getattr(after, name)
        if old == new or name.endswith("_hash"):
            continue
        sealed = name.removeprefix("sealed_")
        parts.append(sealed if sealed != name else f"{name}: {_brief(old)} -> {_brief(new)}")
    return "; ".join(parts)


def _brief(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def with_changes(item: R, changes: dict[str, object]) -> R:
    """The row with these fields changed."""
    return replace(item, **changes)


def _listed(users: Sequence[str]) -> str:
    shown = ", ".join(users[:5])
    return f"{shown} and {len(users) - 5} more" if len(users) > 5 else shown

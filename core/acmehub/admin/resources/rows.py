"""The stored rows of one kind of resource: found by name or id, written with the audit's entry, conflicts explained."""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from acmehub.admin.access.errors import InUse, Invalid, NotFound, ServiceError, Taken, require_version
from acmehub.admin.access.gate import Passage
from acmehub.admin.access.names import whole_id
from acmehub.models import Authority, Campaign, ManagedChallenge, Principal, Profile, Token
from acmehub.ports.store import Conflict, Resources

R = TypeVar("R", Principal, Token, ManagedChallenge, Authority, Profile, Campaign)

ID = re.compile(r"[0-9a-f]{32,64}")
MAX_VALUE = 200  # characters of a value in the audit


class ResourceRows(Generic[R]):
    """`label` is the kind's noun in messages, `listing` the command that lists the rows, `name_field` the field that
    people name them by."""

    def __init__(self, stored: Resources[R], label: str, listing: str, name_field: str = "name") -> None:
        self._stored: Resources[R] = stored
        self._label = label
        self._listing = listing
        self._name_field = name_field

    async def list(self) -> Sequence[R]:
        """All, oldest first."""
        return await self._stored.list()

    async def named(self, name: str) -> Sequence[R]:
        """Those with this name, oldest first: one at most, but for tokens."""
        return await self._stored.named(name)

    async def find(self, ref: str, passage: Passage | None = None) -> R:
        """The one with this id, name, or beginning of an id, of which the audit gets the whole one; `NotFound`, or
        `Invalid` when several have the name or the beginning."""
        if ID.fullmatch(ref):
            item = await self._stored.get(ref)
            if item is not None:
                return item
        named = await self._stored.named(ref)
        if len(named) > 1:
            ids = ", ".join(item.id for item in named)
            raise Invalid(self._label, f"several have the {self._name_field} {ref!r}; name one by its id: {ids}")
        if not named and (id := await whole_id(self._stored, ref, self._label)) != ref:
            item = await self._stored.get(id)
            if item is not None:
                if passage is not None:
                    passage.resolved(id)
                return item
        if not named:
            raise NotFound(f"there is no {self._label} {ref!r}; `{self._listing}` shows those there are")
        return named[0]

    async def insert(self, item: R, passage: Passage, detail: str = "") -> R:
        """Store a new one; `Taken`."""
        try:
            await self._stored.add(item, [passage.entry(detail)])
        except Conflict as conflict:
            raise self._taken(item, conflict) from conflict
        return item

    async def change(self, ref: str, rule: Callable[[R], R], passage: Passage, version: int | None = None) -> R:
        """Write what `rule` makes of the row as it is stored now, again after a conflict. The audit's entry has what
        changed. `VersionMismatch` when a `version` is given and the row has another one."""
        item = await self.find(ref, passage)
        while True:
            require_version(item, version)
            changed = rule(item)
            if changed == item:
                await passage.note()
                return item
            entry = passage.entry(difference(item, changed), object=self._named(item, ref))
            try:
                return await self._stored.replace(changed, [entry])
            except Conflict as conflict:
                if conflict.field != "version":
                    raise self._taken(changed, conflict) from conflict
                item = await self.find(item.id)

    async def remove(
        self, ref: str, users_of: Callable[[R], Awaitable[Sequence[str]]], instead: str, passage: Passage
    ) -> None:
        """Remove one; `InUse` when something needs it: the message names what `users_of` finds, and ends with what
        to do `instead`."""
        while True:
            item = await self.find(ref, passage)
            users = await users_of(item)
            if users:
                raise InUse(f"{self.describe(item)} is in use by {_some_of(users)}{instead}", users)
            try:
                await self._stored.remove(item, [passage.entry(object=self._named(item, ref))])
            except Conflict as conflict:
                if conflict.field == "version":
                    continue
                raise InUse(f"{self.describe(item)} is in use{instead}") from conflict
            return

    def _named(self, item: R, ref: str) -> str:
        """How the audit names a row: as the operator did, but by its whole id."""
        return ref if ref == getattr(item, self._name_field) else item.id

    def describe(self, item: R) -> str:
        """A row in messages."""
        return f"{self._label} {getattr(item, self._name_field)!r}"

    def _taken(self, item: R, conflict: Conflict) -> ServiceError:
        if conflict.field == self._name_field:
            return Taken(f"there is a {self.describe(item)} already; choose another name, or change that one")
        return Invalid(conflict.field, str(conflict))


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
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}..."


def _some_of(users: Sequence[str]) -> str:
    listed = ", ".join(users[:5])
    return f"{listed} and {len(users) - 5} more" if len(users) > 5 else listed

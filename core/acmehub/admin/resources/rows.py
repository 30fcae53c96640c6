"""The stored rows of one kind of resource: found by name or id, written with the audit's entry, conflicts explained."""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import msgspec
from msgspec.structs import replace

from acmehub.admin.access.errors import InUse, Invalid, NotFound, ServiceError, Taken
from acmehub.admin.access.gate import Passage
from acmehub.admin.access.names import the_only_id, whole_id
from acmehub.admin.access.reach import Reach
from acmehub.models import Authority, Campaign, ManagedChallenge, Principal, Profile, Token
from acmehub.ports.store import Conflict, Resources

R = TypeVar("R", Principal, Token, ManagedChallenge, Authority, Profile, Campaign)

ID = re.compile(r"[0-9a-f]{32,64}")
MAX_VALUE = 200  # characters of a value in the audit


def _managed(item: R, passage: Passage) -> R:
    """The row with the resources file that sets it, if one does."""
    owner = passage.acting.managing
    return replace(item, managed_by=owner) if owner and "managed_by" in item.__struct_fields__ else item


async def _no(_before: object, _after: object) -> tuple[()]:
    return ()


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

    async def find(self, ref: str, reach: Reach | None = None, passage: Passage | None = None) -> R:
        """The one with this id, name, or beginning of an id, among those within `reach` (None: the hub's own, all).

        The audit of `passage` gets the whole id for a beginning. `NotFound`, or `Invalid` when several have the name
        or the beginning.
        """
        if ID.fullmatch(ref):
            item = await self._stored.get(ref)
            if item is not None and (reach is None or await reach.has(item)):
                return item
        named = await self._stored.named(ref)
        if reach is not None:
            named = await reach.only(named)
        if len(named) > 1:
            ids = ", ".join(item.id for item in named)
            raise Invalid(self._label, f"several have the {self._name_field} {ref!r}; name one by its id: {ids}")
        if not named and (id := await self._whole_id(ref, reach)) != ref:
            item = await self._stored.get(id)
            if item is not None:
                if passage is not None:
                    passage.resolved(id)
                return item
        if not named:
            raise NotFound(f"there is no {self._label} {ref!r}; `{self._listing}` shows those there are")
        return named[0]

    async def _whole_id(self, ref: str, reach: Reach | None) -> str:
        if reach is None or reach.everything:
            return await whole_id(self._stored, ref, self._label)
        reached = [item.id for item in await reach.only(await self._stored.list())]
        return the_only_id(ref, self._label, sorted(id for id in reached if id.startswith(ref)))

    async def insert(self, item: R, passage: Passage, detail: str = "") -> R:
        """Store a new one; `Taken`."""
        item = _managed(item, passage)
        try:
            await self._stored.add(item, [passage.entry(detail)])
        except Conflict as conflict:
            raise self._taken(item, conflict) from conflict
        return item

    async def change(
        self,
        ref: str,
        rule: Callable[[R], R],
        passage: Passage,
        needed: Callable[[R, R], Awaitable[Sequence[R]]] = _no,
        *,
        owned: bool = True,
    ) -> R:
        """Write what `rule` makes of the row as it is stored now, again after a conflict. The audit's entry has what
        changed. `needed`, asked with the row before and after, gives other rows that must still be as they are when it
        is written. What a resources file changes is `owned` by that file."""
        item = await self.find(ref, passage.reach, passage)
        while True:
            changed = rule(item)
            if changed == item:
                await passage.note()
                return item
            changed = _managed(changed, passage) if owned else changed
            entry = passage.entry(difference(item, changed), object=self._named(item, ref))
            try:
                return await self._stored.replace(changed, [entry], await needed(item, changed))
            except Conflict as conflict:
                if conflict.field != "version":
                    raise self._taken(changed, conflict) from conflict
                item = await self.find(item.id, passage.reach)

    async def remove(
        self,
        ref: str,
        users_of: Callable[[R, Reach], Awaitable[Sequence[str]]],
        instead: str,
        passage: Passage,
        needed: Callable[[R, R | None], Awaitable[Sequence[R]]] = _no,
    ) -> None:
        """Remove one; `InUse` when something needs it: the message names what `users_of` finds, and ends with what
        to do `instead`. `needed` as in `change`, without a row after."""
        while True:
            item = await self.find(ref, passage.reach, passage)
            users = await users_of(item, passage.reach)
            if users:
                raise InUse(f"{self.describe(item)} is in use by {_some_of(users)}{instead}")
            try:
                entry = passage.entry(object=self._named(item, ref))
                await self._stored.remove(item, [entry], await needed(item, None))
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
            return self.taken(item)
        return Invalid(conflict.field, str(conflict))

    def taken(self, item: R) -> Taken:
        """The error for a name that another row has: names are unique in the whole hub."""
        return Taken(f"there is a {self.describe(item)} already; choose another name, or change that one")


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

"""What the services of all kinds of resources share: one gate, `list` and `show`, checks of names and tags."""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

from acmehub.admin.access.errors import Invalid
from acmehub.admin.access.gate import Gate, Passage
from acmehub.admin.resources.rows import ID, ResourceRows
from acmehub.models import Authority, Campaign, ManagedChallenge, Principal, Profile, Token
from acmehub.ports.clock import Clock
from acmehub.ports.store import Resources, Store
from acmehub.rules.permissions import Acting, require_reached, require_tags
from acmehub.rules.scopes import parse_rule
from acmehub.runtime.plugins import Registry
from acmehub.runtime.vault import Vault

R = TypeVar("R", Principal, Token, ManagedChallenge, Authority, Profile, Campaign)
V = TypeVar("V")

INSTEAD_OF_REMOVING = ": disable it (`acmehub {noun} set … --disabled`), or remove those first"
MAX_NAME = 100
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,49}")


class ResourceService(ABC, Generic[R, V]):
    """Base of the services for resources `R`, which operators see as `V`; `noun` is the first part of actions."""

    noun: ClassVar[str]
    label: ClassVar[str]  # the noun in messages
    name_field: ClassVar[str] = "name"
    listing: ClassVar[str] = ""  # the command that lists them, unless it is `acmehub NOUN list`

    def __init__(self, store: Store, vault: Vault, registry: Registry, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._registry = registry
        self._clock = clock
        self._gate = Gate(store, clock)
        self.rows: ResourceRows[R] = ResourceRows(
            self._stored(), self.label, self.listing or f"acmehub {self.noun} list", self.name_field
        )

    async def list(self, acting: Acting) -> Sequence[V]:
        """All that are reached, oldest first."""
        async with self._gate(acting, f"{self.noun}.list") as passage:
            return [await self._view(item) for item in await passage.reach.only(await self.rows.list())]

    async def show(self, ref: str, acting: Acting) -> V:
        """One, by name or id."""
        async with self._gate(acting, f"{self.noun}.show", ref) as passage:
            return await self._view(await self.rows.find(ref, passage.reach))

    @abstractmethod
    def _stored(self) -> Resources[R]:
        """The store's rows of this kind."""

    @abstractmethod
    async def _view(self, item: R) -> V:
        """A row as operators may see it."""


def checked_name(name: str, field: str = "name") -> str:
    """A name that people and scripts can use; `Invalid`."""
    if not name or name != name.strip() or not name.isprintable() or len(name) > MAX_NAME:
        raise Invalid(field, f"needs 1 to {MAX_NAME} printable characters, without blanks at the ends")
    if ID.fullmatch(name):
        raise Invalid(field, "looks like an id (32 hexadecimal digits); choose a name that does not")
    return name


def require_given_tags(passage: Passage, before: Sequence[str], after: Sequence[str], what: str) -> None:
    """`Forbidden` unless the actor may give something that bears tags those of `after` instead of `before`, and still
    reaches it then."""
    require_tags(passage.acting, passage.action, before, after, what)
    require_reached(passage.acting, passage.action, after, what)


def checked_tags(tags: Sequence[str], field: str = "tags") -> tuple[str, ...]:
    """Tags, each once, in their order; `Invalid`."""
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise Invalid(field, f"{tag!r}: letters, digits, '_', '.', '-', at most 50, the first a letter or digit")
    return tuple(dict.fromkeys(tags))


def checked_rule(text: str, field: str) -> str:
    """A domain match rule in its stored form; `Invalid`."""
    try:
        return ", ".join(map(str, parse_rule(text)))
    except ValueError as error:
        raise Invalid(field, str(error)) from None

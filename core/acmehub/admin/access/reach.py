"""What a verb reaches of the hub's things: all, or with a role that tags narrow what bears one of them.

What is not reached is not there for the verb: it is found by no name, no id and no beginning of an id.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol, TypeAlias, TypeVar

from acmehub.admin.access.names import HasIds, the_only_id, whole_id
from acmehub.models import Authority, Campaign, Certificate, ManagedChallenge, Principal, Profile, Token
from acmehub.ports.store import Store
from acmehub.rules.permissions import effective_tags

R = TypeVar("R", Principal, Token, ManagedChallenge, Authority, Profile, Campaign)


class OfPrincipal(Protocol):
    """An order, an account, a certificate: it bears the tags of its principal."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def principal_id(self) -> str:
        """Whose it is."""
        ...


T = TypeVar("T", bound=OfPrincipal)
Ids: TypeAlias = frozenset[str]
Page: TypeAlias = Awaitable[Sequence[T]]
SEARCHED = 1000
"""Among how many of the newest a role that tags narrow finds one by how its id begins."""


class Reach:
    """By the `tags` of the role; None: everything. It holds for one verb: the principals are read once."""

    def __init__(self, store: Store, tags: frozenset[str] | None) -> None:
        self._store = store
        self.tags = tags
        self._principal_ids: Ids | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing narrows it."""
        return self.tags is None

    def bears(self, tags: Collection[str]) -> bool:
        """Whether something with these tags is reached."""
        return self.tags is None or not self.tags.isdisjoint(tags)

    async def principal_ids(self) -> frozenset[str] | None:
        """The principals that are reached, and with them what is theirs; None: all."""
        if self.tags is not None and self._principal_ids is None:
            rows = await self._store.principals.list()
            self._principal_ids = frozenset(row.id for row in rows if self.bears(effective_tags(row)))
        return self._principal_ids

    async def has(self, item: R) -> bool:
        """Whether a resource is reached: by its own tags, a token also by its principal's, a campaign by those of the
        principal that it is for."""
        match item:
            case Principal():
                return self.bears(effective_tags(item))
            case Token():
                return self.bears(item.tags) or await self.owns(item)
            case Campaign():
                return await self.owns(item)
        return self.bears(item.tags)

    async def owns(self, item: OfPrincipal) -> bool:
        """Whether the principal of an order, an account or a certificate is reached."""
        ids = await self.principal_ids()
        return ids is None or await self._principal_of(item) in ids

    async def only(self, items: Sequence[R]) -> Sequence[R]:
        """Those of them that are reached."""
        return items if self.tags is None else [item for item in items if await self.has(item)]

    async def owned(self, items: Sequence[T]) -> Sequence[T]:
        """What a list that the storage narrowed by `principal_ids` gave; an error where it has not."""
        ids = await self.principal_ids()
        for item in items:
            if ids is not None and await self._principal_of(item) not in ids:
                raise RuntimeError("the storage has not narrowed a list by principal_ids")
        return items

    async def _principal_of(self, item: OfPrincipal) -> str:
        if item.principal_id or not isinstance(item, Certificate):
            return item.principal_id
        actor = await self._store.accounts.actor(item.account_id)  # of an earlier release, which did not store it
        return actor.account.principal_id if actor is not None else ""

    async def whole_id(self, ref: str, label: str, stored: HasIds, page: Callable[[Ids], Page[T]]) -> str:
        """As `names.whole_id`; with a role that tags narrow, among those of its `page`, which the storage narrows."""
        ids = await self.principal_ids()
        if ids is None:
            return await whole_id(stored, ref, label)
        found = await self.owned(await page(ids)) if ids and ref else ()
        return the_only_id(ref, label, sorted(item.id for item in found if item.id.startswith(ref)))

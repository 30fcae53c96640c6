"""How objects are named: lists show names for ids, and an id may be given by how it begins."""

import re
from collections.abc import Sequence
from typing import Protocol

from acmehub.admin.access.errors import Invalid
from acmehub.models import AuthorizationMode
from acmehub.ports.store import Store

_BEGINNING = re.compile(r"[0-9a-f]{4,63}")
_MOST_COUNTED = 1000
_SHOWN = 3


class HasIds(Protocol):
    """A noun of the store."""

    async def ids(self, prefix: str, limit: int) -> Sequence[str]:
        """The first `limit` ids that begin with `prefix`."""
        ...


async def whole_id(stored: HasIds, ref: str, label: str) -> str:
    """The id that `ref` is, or begins: four hexadecimal digits or more that no other id of this kind begins with.

    What is no id and begins none is given back as it is. `Invalid` when several ids begin with it.
    """
    return the_only_id(ref, label, await stored.ids(ref, _MOST_COUNTED + 1)) if _BEGINNING.fullmatch(ref) else ref


def the_only_id(ref: str, label: str, found: Sequence[str]) -> str:
    """As `whole_id`, of the ids that were `found` by their beginning."""
    if not _BEGINNING.fullmatch(ref) or ref in found or not found:
        return ref
    if len(found) > 1:
        count = f"more than {_MOST_COUNTED}" if len(found) > _MOST_COUNTED else str(len(found))
        first = ", ".join(found[:_SHOWN]) + (", …" if len(found) > _SHOWN else "")
        raise Invalid(label, f"{count} ids begin with {ref}; give more digits: {first}")
    return found[0]


class Names:
    """Names as lists show them; an id that is gone shows as itself."""

    def __init__(
        self,
        principals: dict[str, str],
        tokens: dict[str, str],
        modes: dict[str, AuthorizationMode],
        authorities: dict[str, str],
    ) -> None:
        self._principals = principals
        self._tokens = tokens
        self._modes = modes
        self._authorities = authorities

    @classmethod
    async def read(cls, store: Store) -> "Names":
        """Those of all stored principals, tokens and authorities."""
        tokens = await store.tokens.list()
        return cls(
            {item.id: item.name for item in await store.principals.list()},
            {item.id: item.title for item in tokens},
            {item.id: item.authorization for item in tokens},
            {item.id: item.name for item in await store.authorities.list()},
        )

    def principal(self, id: str) -> str:
        """Of a principal."""
        return self._principals.get(id, id)

    def token(self, id: str) -> str:
        """Of a token: its title."""
        return self._tokens.get(id, id)

    def mode(self, id: str) -> AuthorizationMode:
        """The authorization mode of a token."""
        return self._modes.get(id, AuthorizationMode.AUTO)

    def authority(self, id: str) -> str:
        """Of an authority."""
        return self._authorities.get(id, id)

"""What was read lately, kept in memory and used only while the database says that it still holds.

The proof is a version (of an order, or of an actor's three rows) that every write moves. Only what is committed may be
kept: a version from a transaction that fails would later stand for something else.
"""

from typing import Generic, TypeVar

V = TypeVar("V")
T = TypeVar("T")


class VersionedCache(Generic[V, T]):
    """Up to `limit` things by id, each with the version it was read at; the oldest go first."""

    def __init__(self, limit: int = 4096) -> None:
        self._limit = limit
        self._things: dict[str, tuple[V, T]] = {}

    def __contains__(self, id: str) -> bool:
        return id in self._things

    def __len__(self) -> int:
        return len(self._things)

    def at(self, id: str, version: V) -> T | None:
        """The thing, if it is kept with this version."""
        kept = self._things.get(id)
        return kept[1] if kept is not None and kept[0] == version else None

    def keep(self, id: str, version: V, thing: T) -> None:
        """Keep a thing that is committed."""
        self._things.pop(id, None)
        if len(self._things) >= self._limit:
            del self._things[next(iter(self._things))]
        self._things[id] = (version, thing)

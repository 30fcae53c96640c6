"""Cache of rows, valid while the stored version is unchanged.

The version (of an order, or of an actor's three rows) moves with every write and is read before a cached object is
used. Only what is committed is put in: a version of a transaction that fails would later stand for something else. For
the same reason the driver's generation is a part of each key, as it was before the object was read.
"""

from typing import Generic, TypeVar

V = TypeVar("V", bound=tuple[int, ...])
T = TypeVar("T")


class VersionedCache(Generic[V, T]):
    """Up to `limit` objects by id, each with its version; the one that was put in first goes first."""

    def __init__(self, limit: int = 4096) -> None:
        self._limit = limit
        self._entries: dict[str, tuple[V, T]] = {}

    def __contains__(self, id: str) -> bool:
        return id in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, id: str, version: V) -> T | None:
        """The object, if it is cached with this version."""
        entry = self._entries.get(id)
        return entry[1] if entry is not None and entry[0] == version else None

    def kept(self, id: str) -> tuple[V, T] | None:
        """The object that is cached, whatever is stored now, with its version."""
        return self._entries.get(id)

    def get_since(self, id: str, version: V) -> tuple[V, T] | None:
        """The object with the version that it is cached with, if that is not an earlier one."""
        entry = self._entries.get(id)
        return entry if entry is not None and entry[0] >= version else None

    def put(self, id: str, version: V, item: T) -> None:
        """Cache a committed object."""
        self._entries.pop(id, None)
        if len(self._entries) >= self._limit:
            del self._entries[next(iter(self._entries))]
        self._entries[id] = (version, item)

"""The part of the port for storage that keeps seals over the audit (docs/adr/0016-sealed-audit.md)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from acmehub.models.audit import AuditRecord, Seal, SealKey


class Seals(Protocol):
    """Seals in the order of their numbers, and the keys of the chain."""

    async def newest(self) -> Seal | None:
        """The seal with the largest number."""
        ...

    async def get(self, number: int) -> Seal | None:
        """By number."""
        ...

    async def oldest_kept(self) -> Seal | None:
        """The first one whose entries are there."""
        ...

    async def list(self, *, after: int = 0, limit: int = 500) -> Sequence[Seal]:
        """Seals by number, `after` exclusive."""
        ...

    async def settled(self, after: int, before: datetime | None = None) -> int | None:
        """The largest id of an entry (beyond `after`, written by `before`) below which no other entry can appear any
        more. None where there is no such entry, or where that is not certain now: ask again."""
        ...

    async def append(self, seal: Seal, key: SealKey) -> None:
        """Add a seal, and its key unless that is there; `Conflict` (field `id`) when its number is taken."""
        ...

    async def prune(self, seal: Seal) -> None:
        """Delete the entries up to `seal.last`, and store the `pruned` of that seal."""
        ...

    async def keys(self) -> Sequence[SealKey]:
        """All keys of the chain."""
        ...

    async def replace_key(self, key: SealKey) -> None:
        """Write the `sealed_key` of a key that is there."""
        ...

    async def withhold(self, entries: Sequence[AuditRecord], key: SealKey) -> None:
        """Write the texts, `salt` and `withheld` of entries that are there, of which nothing else changes, and the key
        unless that is there."""
        ...

"""Entries for the audit: with the time, written in the transaction of a change or in one of their own."""

from acmehub.models import AuditEntry
from acmehub.ports.clock import Clock
from acmehub.ports.store import Store


class Audit:
    """Makes and appends entries that say who did what to which object. Never give it a secret."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._records = store.records
        self._clock = clock

    def entry(self, actor: str, action: str, object: str, detail: str = "", *, allowed: bool = True) -> AuditEntry:
        """An entry of now, for a verb of the store that writes it with its change; `allowed` is false for what was
        refused or failed."""
        return AuditEntry(
            at=self._clock.now(), actor=actor, action=action, object=object, detail=detail, allowed=allowed
        )

    async def write(self, entry: AuditEntry) -> None:
        """Append an entry in a transaction of its own; raises `StoreUnavailable`."""
        await self._records.audit([entry])

    async def note(self, actor: str, action: str, object: str, detail: str = "", *, allowed: bool = True) -> None:
        """Append an entry of now in a transaction of its own; raises `StoreUnavailable`."""
        await self.write(self.entry(actor, action, object, detail, allowed=allowed))

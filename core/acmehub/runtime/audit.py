"""The one way that services write to the audit."""

from acmehub.models import AuditEntry
from acmehub.ports.clock import Clock
from acmehub.ports.store import Store


class Audit:
    """Appends who did what to which object, with the time; raises `StoreUnavailable`."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._records = store.records
        self._clock = clock

    async def note(self, actor: str, action: str, object: str, detail: str = "", *, allowed: bool = True) -> None:
        """Append an entry; `allowed` is false for what was refused or failed. Never give it a secret."""
        entry = AuditEntry(
            at=self._clock.now(), actor=actor, action=action, object=object, detail=detail, allowed=allowed
        )
        await self._records.audit([entry])

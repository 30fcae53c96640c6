"""The audit: who did what to which object, and what was refused."""

from collections.abc import AsyncIterator, Sequence

from msgspec.structs import replace

from acmehub.admin.access.errors import NotFound
from acmehub.admin.access.gate import Gate
from acmehub.models import AuditFilter, AuditRecord
from acmehub.ports.clock import Clock
from acmehub.ports.store import Store
from acmehub.rules.permissions import Acting, entries_of

PAGE = 500


class AuditAdmin:
    """Entries are named by their id; verbs raise `ServiceError`s and `Forbidden`."""

    noun = "audit"

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._gate = Gate(store, clock)

    async def list(
        self, acting: Acting, *, filter: AuditFilter = AuditFilter(), before: int | None = None, limit: int = 100
    ) -> Sequence[AuditRecord]:
        """Entries, newest first; `before` is the id of the last one of the page before."""
        async with self._gate(acting, "audit.list"):
            found = await self._store.records.audited(limit, _own(filter, acting, "audit.list"), before=before)
            return [entry for entry in found if _may_see(entry, acting, "audit.list")]

    async def show(self, entry_id: int, acting: Acting) -> AuditRecord:
        """One entry."""
        async with self._gate(acting, "audit.show", f"entry {entry_id}"):
            found = await self._store.records.audited(1, before=entry_id + 1)
            if not found or found[0].id != entry_id or not _may_see(found[0], acting, "audit.show"):
                raise NotFound(f"there is no entry {entry_id} in the audit")
            return found[0]

    async def export(self, acting: Acting, *, filter: AuditFilter = AuditFilter()) -> AsyncIterator[AuditRecord]:
        """All entries up to now, oldest first, read page by page."""
        async with self._gate(acting, "audit.export"):
            latest = await self._store.records.audited(1)
            wanted = _own(filter, acting, "audit.export")
            return self._from_the_first(wanted, latest[0].id if latest else 0, acting)

    async def _from_the_first(self, filter: AuditFilter, last: int, acting: Acting) -> AsyncIterator[AuditRecord]:
        after = 0
        while page := await self._store.records.audited(PAGE, filter, after=after):
            for entry in page:
                if entry.id > last:
                    return
                if _may_see(entry, acting, "audit.export"):
                    yield entry
            after = page[-1].id


def _own(filter: AuditFilter, acting: Acting, action: str) -> AuditFilter:
    """The filter, for who sees only its own entries with its own name."""
    return replace(filter, actor=acting.name) if entries_of(acting, action) is not None and not filter.actor else filter


def _may_see(entry: AuditRecord, acting: Acting, action: str) -> bool:
    return entry.actor == acting.name or entries_of(acting, action) is None

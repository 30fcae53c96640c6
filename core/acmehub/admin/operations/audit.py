"""The audit: who did what to which object, and what was refused; and whether it is still as it was sealed."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime

import msgspec
from msgspec.structs import replace

from acmehub.admin.access.errors import Invalid, NotFound
from acmehub.admin.access.gate import Gate
from acmehub.models import AuditFilter, AuditRecord, Seal
from acmehub.models.audit import AuditLine
from acmehub.ports.clock import Clock
from acmehub.ports.store import Store
from acmehub.rules.permissions import Acting, entries_of
from acmehub.runtime.sealed_audit.chain import FIRST, ChainCheck, ChainFlaw
from acmehub.runtime.sealed_audit.keys import ChainKeys
from acmehub.runtime.vault import Vault

PAGE = 500
MAC_SIZE = 32


class AuditView(AuditLine, frozen=True, kw_only=True):
    """A stored entry as operators see it."""

    id: int


class AuditNews(msgspec.Struct, frozen=True):
    """Entries that came after an id, oldest first, and the id to ask with next."""

    entries: Sequence[AuditView]
    last: int


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What a check of the chain has seen: how many seals, how many entries under them, how many ranges that were
    pruned; the newest seal's MAC (hexadecimal) and time; how many entries no seal covers yet, and the time of the first
    of these; and the first range that is not as it was sealed."""

    seals: int
    entries: int
    pruned: int
    mac: str
    sealed_at: datetime | None
    unsealed: int
    unsealed_since: datetime | None
    flaw: ChainFlaw | None


def no_progress(entries: int) -> None:
    """Tells nobody."""


class AuditAdmin:
    """Entries are named by their id; verbs raise `ServiceError`s and `Forbidden`."""

    noun = "audit"

    def __init__(self, store: Store, vault: Vault, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._gate = Gate(store, clock)

    async def list(
        self, acting: Acting, *, filter: AuditFilter = AuditFilter(), before: int | None = None, limit: int = 100
    ) -> Sequence[AuditView]:
        """Entries, newest first; `before` is the id of the last one of the page before."""
        async with self._gate(acting, "audit.list"):
            wanted = _seen_by(acting, "audit.list", filter)
            return [_view(item) for item in await self._store.records.audited(limit, wanted, before=before)]

    async def show(self, entry_id: int, acting: Acting) -> AuditView:
        """One entry."""
        async with self._gate(acting, "audit.show", f"entry {entry_id}"):
            wanted = _seen_by(acting, "audit.show", AuditFilter())
            found = await self._store.records.audited(1, wanted, before=entry_id + 1)
            if not found or found[0].id != entry_id:
                raise NotFound(f"there is no entry {entry_id} in the audit")
            return _view(found[0])

    async def follow(
        self, acting: Acting, *, after: int = 0, filter: AuditFilter = AuditFilter(), limit: int = PAGE
    ) -> AuditNews:
        """Entries after the id `after`; none that could still get one before it, so that no caller misses an entry."""
        async with self._gate(acting, "audit.follow"):
            settled = await self._store.seals.settled(after)
            if settled is None:
                return AuditNews((), after)
            wanted = _seen_by(acting, "audit.follow", filter)
            page = await self._store.records.audited(limit, wanted, after=after)
            entries = [_view(item) for item in page if item.id <= settled]
            return AuditNews(entries, entries[-1].id if len(entries) == limit else settled)

    async def export(self, acting: Acting, *, filter: AuditFilter = AuditFilter()) -> AsyncIterator[AuditRecord | Seal]:
        """All entries up to now, oldest first, read page by page; then, without a filter, the seals that cover nothing
        beyond them."""
        async with self._gate(acting, "audit.export"):
            latest = await self._store.records.audited(1)
            wanted = _seen_by(acting, "audit.export", filter)
            return self._from_the_first(wanted, latest[0].id if latest else 0)

    async def _from_the_first(self, filter: AuditFilter, last: int) -> AsyncIterator[AuditRecord | Seal]:
        after = FIRST
        while page := await self._store.records.audited(PAGE, filter, after=after):
            for entry in page:
                if entry.id <= last:
                    yield entry
            after = page[-1].id
            if after >= last:
                break
        seals = await self._store.seals.list() if filter == AuditFilter() else ()
        while seals:
            for seal in seals:
                if seal.last > last:
                    return
                yield seal
            seals = await self._store.seals.list(after=seals[-1].id)

    async def verify(self, acting: Acting, *, mac: str = "", progress: Callable[[int], None] = no_progress) -> Verified:
        """Check the whole chain. `mac` (hexadecimal) is one that was written down elsewhere, which the chain must have;
        `progress` is called with the number of entries that were checked."""
        async with self._gate(acting, "audit.verify"):
            if mac and not _is_mac(mac):
                raise Invalid("mac", "it is the MAC of a seal: 64 hexadecimal digits")
            return await _Verification(self._store, self._vault, mac.lower(), progress).run()


def _seen_by(acting: Acting, action: str, filter: AuditFilter) -> AuditFilter:
    """The filter; with a role that sees only its own entries, of those: none where nobody knows whose they are."""
    seen = entries_of(acting, action)
    return filter if seen is None else replace(filter, actor_ids=seen - {""})


class _Verification:
    """One check of the chain."""

    def __init__(self, store: Store, vault: Vault, mac: str, progress: Callable[[int], None]) -> None:
        self._store = store
        self._keys = ChainKeys(store, vault)
        self._mac = mac
        self._progress = progress
        self._check = ChainCheck(self._keys.get)
        self._ahead: list[AuditRecord] = []  # entries that were read, the next one last
        self._read_to = self._check.after

    async def run(self) -> Verified:
        await self._keys.read()
        entries = pruned = 0
        flaw, found = None, not self._mac
        while flaw is None and (seals := await self._store.seals.list(after=self._number)):
            for seal in seals:
                flaw = await self._flaw(seal)
                if flaw is not None:
                    break
                pruned += seal.pruned is not None
                entries += 0 if seal.pruned is not None else seal.entries
                found = found or seal.mac.hex() == self._mac
                self._progress(entries)
        newest = self._check.previous
        unsealed, since = (0, None) if flaw else await self._unsealed()
        if flaw is None and not found:
            begin = newest.last + 1 if newest else 1
            flaw = ChainFlaw(self._number + 1, begin, begin, "no seal has this MAC: the end of the chain was cut off")
        return Verified(
            seals=self._number,
            entries=entries,
            pruned=pruned,
            mac=newest.mac.hex() if newest else "",
            sealed_at=newest.at if newest else None,
            unsealed=unsealed,
            unsealed_since=since,
            flaw=flaw,
        )

    @property
    def _number(self) -> int:
        return self._check.previous.id if self._check.previous else 0

    async def _flaw(self, seal: Seal) -> ChainFlaw | None:
        """What is wrong with the next seal; one that was pruned, or whose texts were replaced, while this reads is
        looked at again."""
        entries: list[AuditRecord] = []
        if seal.pruned is None:
            entries = await self._up_to(seal.last)
        if (flaw := self._check.flaw(seal, entries)) is None:
            return None
        self._ahead, self._read_to = [], self._check.after
        again = await self._store.seals.get(seal.id)
        return self._check.flaw(again, await self._up_to(again.last)) if again else flaw

    async def _up_to(self, last: int) -> list[AuditRecord]:
        """The next entries, up to that id."""
        entries: list[AuditRecord] = []
        while True:
            while self._ahead and self._ahead[-1].id <= last:
                entries.append(self._ahead.pop())
            if self._ahead:
                return entries
            page = await self._store.records.audited(PAGE, after=self._read_to)
            if not page:
                return entries
            self._ahead, self._read_to = [*reversed(page)], page[-1].id

    async def _unsealed(self) -> tuple[int, datetime | None]:
        count, since = 0, None
        while page := (self._ahead or await self._store.records.audited(PAGE, after=self._read_to)):
            oldest, newest = (page[-1], page[0]) if self._ahead else (page[0], page[-1])
            count, since = count + len(page), since or oldest.at
            self._ahead, self._read_to = [], max(self._read_to, newest.id)
        return count, since


def _view(entry: AuditRecord) -> AuditView:
    return AuditView(**{name: getattr(entry, name) for name in AuditView.__struct_fields__})


def _is_mac(text: str) -> bool:
    try:
        return len(bytes.fromhex(text)) == MAC_SIZE
    except ValueError:
        return False

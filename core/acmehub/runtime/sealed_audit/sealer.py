"""The sealer: seals what the audit has got, one process at a time, and prunes whole sealed ranges."""

import logging
import random
from collections.abc import Sequence
from datetime import timedelta

from msgspec.structs import replace

from acmehub.models import Seal
from acmehub.ports.clock import Clock
from acmehub.ports.store import Conflict, Store
from acmehub.rules.orders import Lease
from acmehub.runtime.jobs import Loop
from acmehub.runtime.sealed_audit.chain import FIRST, ChainCheck, mac_of, pruned_mark
from acmehub.runtime.sealed_audit.keys import ChainKeys
from acmehub.runtime.vault import Vault

INTERVAL = 60.0
AGE = timedelta(seconds=30)
LEASE = timedelta(minutes=5)
AT_ONCE = 1000
PRUNE_EVERY = 3600.0
PLACE = ("audit", "seals")

_log = logging.getLogger(__name__)


class Sealer(Loop[int]):
    """Seals entries older than `AGE`; deletes, once an hour, sealed ranges whose entries are older than `keep` (None:
    never), but for the newest. Each job is a turn of this process; `owner` names it in the lease."""

    def __init__(
        self, store: Store, vault: Vault, clock: Clock, rng: random.Random, *, owner: str, keep: timedelta | None = None
    ) -> None:
        super().__init__("sealing of the audit", clock, rng, places=1, idle=INTERVAL)
        self._store = store
        self._keys = ChainKeys(store, vault)
        self._owner = owner
        self._keep = keep
        self._prune_at = clock.monotonic()
        self._seen: Seal | None = None

    async def claim(self, limit: int) -> Sequence[int]:  # noqa: ARG002  one turn
        """The fencing token of a turn, if there is something to do and no other process is at it."""
        newest = await self._store.seals.newest()
        await self._miss(newest)
        now = self._clock.now()
        last = await self._store.seals.settled(newest.last if newest else FIRST, now - AGE)
        prunes = self._keep is not None and newest is not None and self._clock.monotonic() >= self._prune_at
        if last is None and not prunes:
            return ()
        fence = await self._store.zone_leases.take(*PLACE, Lease(self._owner, now + LEASE), now)
        return () if fence is None else (fence,)

    def key(self, job: int) -> str:  # noqa: ARG002  one job at a time
        """The same for all."""
        return "seals"

    def due_again(self, job: int) -> None:
        """After the interval."""

    async def work(self, job: int) -> None:
        """Seal, then prune."""
        try:
            await self._seal()
            if self._keep is not None and self._clock.monotonic() >= self._prune_at:
                self._prune_at = self._clock.monotonic() + PRUNE_EVERY
                await self._prune(self._keep)
        finally:
            await self._store.zone_leases.end(*PLACE, job, self._clock.now())

    async def _seal(self) -> None:
        previous = await self._store.seals.newest()
        after = previous.last if previous else FIRST
        settled = await self._store.seals.settled(after, self._clock.now() - AGE)
        stored, key = self._keys.current()
        while settled is not None and after < settled:
            entries = [item for item in await self._store.records.audited(AT_ONCE, after=after) if item.id <= settled]
            if not entries:
                return
            seal = Seal(
                id=previous.id + 1 if previous else 1,
                first=entries[0].id,
                last=entries[-1].id,
                entries=len(entries),
                at=self._clock.now(),
                key=stored.id,
                mac=b"",
            )
            seal = replace(seal, mac=mac_of(key, previous, seal, entries))
            try:
                await self._store.seals.append(seal, stored)
            except Conflict:  # the lease was over, and another process has sealed them
                return
            self._seen = seal
            _log.info(
                "the audit is sealed up to entry %d",
                seal.last,
                extra={"seal": seal.id, "entries": seal.entries, "mac": seal.mac.hex()},
            )
            previous, after = seal, seal.last

    async def _miss(self, newest: Seal | None) -> None:
        """Tell once that the seal which this process has seen last is gone, or another one."""
        seen, self._seen = self._seen, newest
        if seen is None or seen == newest:
            return
        stored = await self._store.seals.get(seen.id)
        if stored is None or stored.mac != seen.mac:
            _log.error(
                "seal %d of the audit was deleted or altered: its chain has lost its end",
                seen.id,
                extra={"seal": seen.id, "mac": seen.mac.hex()},
            )

    async def _prune(self, keep: timedelta) -> None:
        """A range that does not verify stays: it is evidence."""
        before, forgotten = self._clock.now() - keep, 0
        await self._keys.read()
        newest = await self._store.seals.newest()
        while (seal := await self._store.seals.oldest_kept()) is not None and seal != newest:
            check = ChainCheck(self._keys.get, await self._store.seals.get(seal.id - 1))
            found = await self._store.records.audited(seal.entries + 1, after=check.after)
            entries = [item for item in found if item.id <= seal.last]
            if entries and entries[-1].at >= before:
                break
            flaw, key = check.flaw(seal, entries), self._keys.get(seal.key)
            if flaw is not None or key is None:
                _log.error(
                    "entries of the audit are not pruned: %s", flaw.what if flaw else "", extra={"seal": seal.id}
                )
                break
            await self._store.seals.prune(replace(seal, pruned=pruned_mark(key, seal)))
            forgotten += len(entries)
        if forgotten:
            _log.info("%d old entries of the audit were forgotten", forgotten)

"""TXT cleanup: removes TXT records that are no longer needed, by value, with back-off, for ever.

docs/reliability.md 2.10.
"""

import asyncio
import logging
import random
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from acmehub.dns01.solver import Solver
from acmehub.models import Event, EventKind, TxtRecord
from acmehub.ports.clock import Clock
from acmehub.ports.dns import DnsProviderError
from acmehub.ports.store import Conflict, Store, StoreUnavailable
from acmehub.rules.orders import Lease
from acmehub.runtime.backoff import back_off, jittered
from acmehub.runtime.jobs import Loop
from acmehub.runtime.outages import Outages
from acmehub.runtime.places import Groups
from acmehub.runtime.plugin_objects import PLUGIN_UNUSABLE

REMOVALS_AT_ONCE = 8  # of one managed challenge
BATCH = 32
FIRST_PAUSE = 10.0
LONGEST_PAUSE = 3600.0
IDLE = 15.0  # seconds between claims at the latest: another process may have scheduled removals
LOUD_AFTER = 5
GRACE = 5.0

_log = logging.getLogger(__name__)


class Removal(msgspec.Struct):
    """A row that this process has claimed; `shared` when another order still needs the same record.

    `again` is when it can be claimed again; None when it is gone.
    """

    row: TxtRecord
    shared: bool
    again: datetime | None


class TxtCleanup(Loop[Removal]):
    """Removes records whose removal is scheduled; one per worker process.

    A removal that outlasts its `lease` may be made twice, which does no harm: it is by value.
    """

    def __init__(
        self,
        store: Store,
        solver: Solver,
        clock: Clock,
        outages: Outages,
        *,
        owner: str,
        lease: timedelta,
        rng: random.Random,
    ) -> None:
        super().__init__(
            "TXT cleanup", clock, rng, places=BATCH, refill=BATCH // 2, idle=IDLE, grace=GRACE, shared=True
        )
        self._store = store
        self._solver = solver
        self._outages = outages
        self._owner = owner
        self._lease = lease
        self._gates = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(REMOVALS_AT_ONCE))

    async def finish(self) -> None:
        """Remove what is due once more before the process ends, within the grace."""
        try:
            async with asyncio.timeout(GRACE):
                await self.work_off()
        except (TimeoutError, StoreUnavailable) as error:
            _log.info("TXT records are left to the next process: %s", str(error) or "no time left")

    async def claim(self, limit: int) -> Sequence[Removal]:
        """Rows in state `remove` that are due, each with whether another order needs its record."""
        now = self._clock.now()
        lease = Lease(self._owner, now + self._lease)
        rows = await self._store.txt_records.claim(lease, now, limit, self.places.full())
        if not rows:
            return ()
        needed = await self._store.txt_records.needed(rows)
        return [Removal(row, row.id in needed, row.lease_until) for row in rows]

    def due_again(self, job: Removal) -> datetime | None:
        """When a removal that failed is tried again."""
        return job.again

    async def next_due(self) -> datetime | None:
        """When the next removal is due."""
        return await self._store.txt_records.next_due(self.passed_over)

    def groups(self, job: Removal) -> Groups:
        """One managed challenge's provider may be silent, and the others' records go nevertheless."""
        id = job.row.managed_challenge_id
        return Groups((id,), id)

    def key(self, job: Removal) -> str:
        """The row's id."""
        return job.row.id

    async def work(self, job: Removal) -> None:
        """Remove the record from DNS, then forget the row; a failure reschedules it."""
        row = job.row
        if job.shared:  # the CA gave another order the same challenge: the record stays for that order's row
            await self._forget(job)
            return
        started = self._clock.monotonic()
        try:
            with self.places.waiting(row.id):
                async with self._gates[row.managed_challenge_id]:
                    with self._outages.of_managed_challenge(row.managed_challenge_id):
                        await self._solver.remove(row)
        except (DnsProviderError, *PLUGIN_UNUSABLE) as error:
            await self._reschedule(job, error)
            return
        seconds = self._clock.monotonic() - started
        await self._forget(job, _event(row, self._clock.now(), EventKind.TXT_REMOVED, row.name, seconds))

    async def _forget(self, job: Removal, *events: Event) -> None:
        """The row goes; so does what was told of a record that could not be removed."""
        row = job.row
        await self._store.txt_records.remove(row, events)
        job.again = None
        if row.attempts >= LOUD_AFTER:
            _log.warning("TXT record removed after all", extra={**_named(row), "attempts": row.attempts + 1})

    async def handle_unexpected(self, job: Removal, error: Exception) -> None:
        """A defect of a provider: the removal is tried again later, like any that fails."""
        await self._reschedule(job, error)

    async def _reschedule(self, job: Removal, error: Exception) -> None:
        row = job.row
        attempts = row.attempts + 1
        asked = error.retry_after if isinstance(error, DnsProviderError) else None
        pause = jittered(back_off(attempts, asked, first=FIRST_PAUSE, longest=LONGEST_PAUSE), self._rng)
        now = self._clock.now()
        later = replace(
            row,
            attempts=attempts,
            last_error=str(error) or type(error).__name__,
            run_at=now + timedelta(seconds=pause),
            lease_owner=None,
            lease_until=None,
        )
        try:
            await self._store.txt_records.replace(later)
        except Conflict:
            job.again = None
            return  # another process has claimed the row meanwhile
        job.again = later.run_at
        if attempts % LOUD_AFTER == 0:
            message = f"{row.name}: {later.last_error}"
            if attempts == LOUD_AFTER:
                reason = {"attempts": attempts, "reason": later.last_error}
                _log.warning("TXT record cannot be removed", extra={**_named(row), **reason})
            detail = f"{attempts} attempts: {message}"
            await self._store.records.note([_event(row, now, EventKind.TXT_NOT_REMOVED, detail)])


def _named(row: TxtRecord) -> dict[str, object]:
    return {"order": row.order_id, "record": row.name, "zone": row.zone}


def _event(row: TxtRecord, at: datetime, kind: EventKind, detail: str, seconds: float | None = None) -> Event:
    return Event(order_id=row.order_id, at=at, kind=kind, detail=detail, server=row.zone, seconds=seconds)

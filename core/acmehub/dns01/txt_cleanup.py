"""TXT cleanup: removes TXT records that are no longer needed, by value, with back-off, until they are gone.

docs/reliability.md 2.10.
"""

import asyncio
import functools
import logging
import random
from collections.abc import Collection
from datetime import datetime, timedelta

from msgspec.structs import replace

from acmehub.dns01.solver import Solver
from acmehub.models import Event, EventKind, TxtRecord, TxtState
from acmehub.ports.clock import Clock
from acmehub.ports.dns import DnsProviderError
from acmehub.ports.settings import SettingsError
from acmehub.ports.store import Conflict, Missing, Store, StoreUnavailable
from acmehub.rules.orders import Lease
from acmehub.runtime.concurrency import gather_limited
from acmehub.runtime.plugins import PluginError
from acmehub.runtime.vault import VaultError

ROWS_AT_ONCE = 8
BATCH = 32
LONGEST_PAUSE = 3600.0
IDLE = 15.0  # looks at least so often, for rows whose removal another process scheduled
LOUD_AFTER = 5
GRACE = 5.0

_log = logging.getLogger(__name__)


class TxtCleanup:
    """Removes records that are no longer needed; one per worker process.

    A removal may take longer than `lease` and then be made twice, which does no harm: it is by value.
    """

    def __init__(
        self, store: Store, solver: Solver, clock: Clock, *, owner: str, lease: timedelta, rng: random.Random
    ) -> None:
        self._store = store
        self._solver = solver
        self._clock = clock
        self._owner = owner
        self._lease = lease
        self._rng = rng
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """A removal was scheduled."""
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled; removals that are under way may end then."""
        while True:
            self._woken.clear()
            seconds = IDLE
            try:
                await self._work_off_unbroken()
                due = await self._store.txt_records.next_due()
                if due is not None:
                    seconds = min(IDLE, max(0.1, (due - self._clock.now()).total_seconds()))
            except StoreUnavailable as error:
                _log.warning("the TXT records cannot be read now: %s", error)
            try:
                async with asyncio.timeout(seconds):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def finish(self) -> None:
        """Remove what is due once more, before the process ends, within the grace."""
        try:
            async with asyncio.timeout(GRACE):
                await self.work_off()
        except (TimeoutError, StoreUnavailable) as error:
            _log.info("records are left to the next process: %s", str(error) or "no time left")

    async def _work_off_unbroken(self) -> None:
        task = asyncio.create_task(self.work_off())
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task], timeout=GRACE)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise

    async def work_off(self) -> int:
        """Remove what is due now; how many rows were tried."""
        tried = 0
        while True:
            now = self._clock.now()
            rows = await self._store.txt_records.claim(Lease(self._owner, now + self._lease), now, BATCH)
            if not rows:
                return tried
            tried += len(rows)
            needed = {_place(row) for row in await self._store.txt_records.list() if row.state is not TxtState.REMOVE}
            await gather_limited(functools.partial(self._remove, needed), rows, ROWS_AT_ONCE)

    async def _remove(self, needed: Collection[tuple[str, str, str]], row: TxtRecord) -> None:
        if _place(row) in needed:  # another order has the same value (the CA gave it the same challenge): its row holds
            await self._store.txt_records.remove(row)
            return
        started = self._clock.monotonic()
        try:
            await self._solver.withdraw(row)
        except (DnsProviderError, Missing, PluginError, SettingsError, VaultError) as error:
            await self._put_off(row, error)
            return
        await self._store.txt_records.remove(row)
        await self._store.records.note(
            [_event(row, self._clock.now(), EventKind.TXT_REMOVED, row.name, self._clock.monotonic() - started)]
        )

    async def _put_off(self, row: TxtRecord, error: Exception) -> None:
        attempts = row.attempts + 1
        seconds = min(LONGEST_PAUSE, 5.0 * 2 ** min(attempts, 12)) * self._rng.uniform(0.8, 1.2)
        asked = error.retry_after if isinstance(error, DnsProviderError) else None
        now = self._clock.now()
        words = f"{row.name}: {error}"
        later = replace(
            row,
            attempts=attempts,
            last_error=str(error),
            run_at=now + timedelta(seconds=max(seconds, min(asked or 0.0, LONGEST_PAUSE))),
            lease_owner=None,
            lease_until=None,
        )
        try:
            await self._store.txt_records.replace(later)
        except Conflict:
            return  # somebody else has the row now
        if attempts % LOUD_AFTER == 0:
            _log.error("TXT record of order %s cannot be removed (%d attempts): %s", row.order_id, attempts, words)
            detail = f"{attempts} attempts: {words}"
            await self._store.records.note([_event(row, now, EventKind.TXT_NOT_REMOVED, detail)])


def _place(row: TxtRecord) -> tuple[str, str, str]:
    return row.zone, row.name, row.value


def _event(row: TxtRecord, at: datetime, kind: EventKind, detail: str, seconds: float | None = None) -> Event:
    return Event(order_id=row.order_id, at=at, kind=kind, detail=detail, server=row.zone, seconds=seconds)

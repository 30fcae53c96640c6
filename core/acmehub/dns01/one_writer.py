"""One writer at a time per managed challenge and zone, of all processes: for providers that replace whole record sets.

Such a provider reads a record set, changes it and writes it back; what another process writes in between is lost. The
lease is in the storage, and held for one call of the provider.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from acmehub.ports.clock import Clock
from acmehub.ports.dns import DnsProviderRefused, DnsProviderUnavailable
from acmehub.ports.store import Store, StoreUnavailable
from acmehub.rules.orders import Lease
from acmehub.runtime.backoff import SteadyClock, jittered
from acmehub.runtime.lru import Lru

LEASE = timedelta(seconds=75)  # longer than a call, which ends after `solver.PROVIDER_SECONDS`
IN_FLIGHT = timedelta(seconds=5)  # the request of a call that failed may still arrive
WAIT_SECONDS = 20.0  # then the caller's retry policy says when to try again
MOST_TRIES = 200
PAUSE = 0.05  # seconds between two tries, and up to as much more
IN_A_ROW = 1.0  # seconds in which a process may take a zone again at once
REST = 0.15  # seconds that it leaves the zone to others after that: longer than their pauses
KEPT_ZONES = 1024

_log = logging.getLogger(__name__)


class _Zone:
    """A zone in this process: who is next, since when calls follow each other, when the last one ended."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.since: float  # set by the first call
        self.left = float("-inf")


class OneWriter:
    """The zone leases of one process, which `owner` names in the storage."""

    def __init__(self, store: Store, clock: Clock, owner: str, rng: random.Random | None = None) -> None:
        self._store = store
        self._clock = SteadyClock(clock)
        self._owner = owner
        self._rng = rng or random.Random()  # noqa: S311  jitter
        self._zones: Lru[tuple[str, str], _Zone] = Lru(KEPT_ZONES)

    @asynccontextmanager
    async def alone(self, managed_challenge_id: str, zone: str) -> AsyncIterator[None]:
        """A context that one caller at a time is in for a zone, of all processes.

        Raises `DnsProviderUnavailable` when others do not leave it in time, or when the lease was lost in the context:
        then another may have written in between, and the caller does its work again.
        """
        place = (managed_challenge_id, zone)
        own = self._zones.get(place) or _Zone()
        self._zones.put(place, own)
        give_up = self._clock.monotonic() + WAIT_SECONDS
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await own.lock.acquire()
        except TimeoutError:
            raise _busy(zone) from None
        try:
            await self._rest(own)
            fence = await self._taken(managed_challenge_id, zone, give_up)
            try:
                yield
            except DnsProviderRefused:
                await self._end(managed_challenge_id, zone, fence)
                raise
            except BaseException:
                await self._end(managed_challenge_id, zone, fence, IN_FLIGHT)
                raise
            now = self._clock.now()
            if not await self._store.zone_leases.end(managed_challenge_id, zone, fence, now):
                raise DnsProviderUnavailable(f"the lease of zone {zone} ran out before its change was made")
        finally:
            own.left = self._clock.monotonic()
            own.lock.release()

    async def _rest(self, own: _Zone) -> None:
        """Leave the zone to other processes for a while, after many calls in a row."""
        now = self._clock.monotonic()
        if now - own.left >= REST:
            own.since = now
        elif now - own.since >= IN_A_ROW:
            await asyncio.sleep(own.left + REST - now)
            own.since = self._clock.monotonic()

    async def _taken(self, managed_challenge_id: str, zone: str, give_up: float) -> int:
        """Take the lease; its fencing token."""
        leases = self._store.zone_leases
        for _ in range(MOST_TRIES):
            now = self._clock.now()
            fence = await leases.take(managed_challenge_id, zone, Lease(self._owner, now + LEASE), now)
            if fence is not None:
                return fence
            if self._clock.monotonic() >= give_up:
                break
            await asyncio.sleep(jittered(PAUSE, self._rng, spread=PAUSE))
        raise _busy(zone)

    async def _end(self, managed_challenge_id: str, zone: str, fence: int, after: timedelta = timedelta()) -> None:
        """End the lease after a call that failed; where that fails as well, the lease runs out by itself."""
        try:
            await self._store.zone_leases.end(managed_challenge_id, zone, fence, self._clock.now() + after)
        except StoreUnavailable as error:
            _log.info("the lease of zone %s is left to run out: %s", zone, error)


def _busy(zone: str) -> DnsProviderUnavailable:
    return DnsProviderUnavailable(
        f"another change of zone {zone} is under way: the provider replaces whole record sets, one change at a time"
    )

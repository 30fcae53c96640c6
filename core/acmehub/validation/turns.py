"""How often the hub connects to one target: clients and zones choose it, and may choose somebody else's."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from acmehub.runtime.lru import Lru

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

AT_ONCE = 16
PER_SECOND = 50.0
BURST = 100
KEPT = 4096


class Turns:
    """Turns at targets, an IPv4 address or an IPv6 /64 each: 16 at once, 100 in a burst and 50 a second after it."""

    def __init__(self) -> None:
        self._gates: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()
        self._full_at: Lru[int, float] = Lru(KEPT)  # when a target's whole burst is there again (loop time)

    @asynccontextmanager
    async def of(self, address: Address) -> AsyncIterator[None]:
        """Wait for a turn at the target of `address`, which lasts as long as the context."""
        target = int(address) >> 64 if address.version == 6 else -int(address)
        gate = self._gates.get(target)
        if gate is None:
            gate = self._gates[target] = asyncio.Semaphore(AT_ONCE)
        async with gate:
            await asyncio.sleep(self._wait(target))
            yield

    def _wait(self, target: int) -> float:
        """Take a turn; the seconds until it comes."""
        now = asyncio.get_running_loop().time()
        full_at = max(self._full_at.get(target) or 0.0, now) + 1 / PER_SECOND
        self._full_at.put(target, full_at)
        return max(0.0, full_at - now - BURST / PER_SECOND)

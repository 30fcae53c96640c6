"""The part of the port for storage that keeps who writes records into a zone.

Only providers that replace whole record sets need it (`ports.dns.RewritesRecordSets`): their reading and writing must
not come between those of another process.
"""

from datetime import datetime
from typing import Protocol

from acmehub.rules.orders import Lease


class ZoneLeases(Protocol):
    """One lease for each managed challenge and zone."""

    async def take(self, managed_challenge_id: str, zone: str, lease: Lease, now: datetime) -> int | None:
        """Take the lease when it is free or over at `now`; its fencing token, which grows with each take. None while
        somebody has it, the caller itself included."""
        ...

    async def end(self, managed_challenge_id: str, zone: str, fence: int, until: datetime) -> bool:
        """Have the lease end at `until`; False, and nothing changes, when it was taken by somebody else since."""
        ...

    async def prune(self, before: datetime) -> None:
        """Forget leases that were over before then."""
        ...

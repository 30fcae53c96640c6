"""The part of the port for storage that keeps what requests spend: nonces, and the tokens of limits."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from acmehub.rules.rate_limits import Charge, TokensLacking, TokensTaken


class UsedNonces(Protocol):
    """Nonces that were used, for storages that several `serve` processes share."""

    async def use(self, nonce: str, expires: datetime) -> bool:
        """Note that `nonce` is used; False when it was before."""
        ...

    async def is_used(self, nonce: str) -> bool:
        """Whether `nonce` was used; writes nothing."""
        ...

    async def prune(self, now: datetime) -> None:
        """Forget those past their `expires`."""
        ...


class RateLimits(Protocol):
    """The buckets of the limits on clients (`rules.rate_limits`); times in microseconds since 1970.

    One that is not stored is full.
    """

    async def take(self, requests: Sequence[Sequence[Charge]], now: int) -> Sequence[TokensTaken | TokensLacking]:
        """Take the tokens of each request, all of its charges or none, in one transaction and in this order; exact
        while other processes do the same. Where every request is refused nothing is written."""
        ...

    async def load(self, now: int, limit: int) -> Mapping[str, int]:
        """Up to `limit` buckets that are not full at `now`."""
        ...

    async def save(self, full_at: Mapping[str, int]) -> None:
        """Store buckets as they are, for a process that is the only one to take from them."""
        ...

    async def prune(self, now: int) -> None:
        """Forget those that are full again."""
        ...

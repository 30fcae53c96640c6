"""The part of the port for storage that keeps what requests spend: nonces, and the tokens of limits."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from acmehub.models import Actor
from acmehub.ports.revisions import Revisions
from acmehub.rules.rate_limits import Charge, TokensLacking, TokensTaken


class NonceUse(msgspec.Struct, frozen=True):
    """Whether a nonce was not used before, and is now; and the revisions at that moment, None where they have changed
    since this process read them."""

    is_first: bool
    revisions: Revisions | None = None


class UsedNonces(Protocol):
    """Nonces that were used, for storages that several `serve` processes share. A crash of the storage's server may
    forget those of the last second (docs/adr/0004-nonces.md)."""

    async def use(self, nonce: str, expires: datetime) -> bool:
        """Note that `nonce` is used; False when it was before."""
        ...

    async def use_by(self, actor: Actor, nonce: str, expires: datetime) -> NonceUse | None:
        """Note that `nonce` is used, if `actor` is what is stored of its account, token and principal. None where that
        has changed, and from a storage that has no such question: the nonce is not used up then."""
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

"""The part of the port for storage that keeps answers to requests with an idempotency key, so that one that comes again
gets the first answer."""

from datetime import datetime
from typing import Protocol

import msgspec


class IdempotencyKey(msgspec.Struct, frozen=True):
    """A key that a client chose. Each owner, the id of a principal or a token, has its own."""

    owner: str
    key: str


class IdempotentRequest(msgspec.Struct, frozen=True):
    """What is stored of a request: the hash of its body, its answer (sealed; None while it is under way), and when it
    is forgotten. `fence` grows with each claim."""

    body_hash: bytes
    sealed_answer: bytes | None
    fence: int
    expires: datetime


class IdempotencyKeys(Protocol):
    """Requests by their keys."""

    async def claim(
        self, key: IdempotencyKey, body_hash: bytes, *, now: datetime, until: datetime, expires: datetime
    ) -> int | IdempotentRequest:
        """Claim a key until `until`, and keep it until `expires`; the fence of the claim. Of several at once one gets
        it.

        Another request that has the key is given back, unless it has expired, or it has the same body, and its claim is
        over and has no answer: the process that made it has died.
        """
        ...

    async def finish(self, key: IdempotencyKey, fence: int, sealed_answer: bytes) -> bool:
        """Keep the answer; False, and nothing is kept, when the claim with this fence is no longer the key's."""
        ...

    async def get(self, key: IdempotencyKey, now: datetime) -> IdempotentRequest | None:
        """What is stored of the request, unless it has expired."""
        ...

    async def forget(self, now: datetime) -> None:
        """Forget the requests that have expired."""
        ...

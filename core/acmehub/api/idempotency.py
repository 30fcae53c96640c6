"""`Idempotency-Key`: the answer to the first request with a key is the answer to all that repeat it, for a day."""

import re
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Protocol

import msgspec

from acmehub.api.answers import Answer
from acmehub.api.problems import ApiError, invalid
from acmehub.ports.clock import Clock
from acmehub.runtime.vault import Vault

HEADER = "idempotency-key"
KEPT = timedelta(hours=24)
PURPOSE = "api.answer"
_KEY = re.compile(r"[!-~]{1,64}")


class KeptAnswer(msgspec.Struct, frozen=True):
    """What is stored of a key: the hash of its first request, and the sealed answer; None while that is under way."""

    body_hash: bytes
    answer: bytes | None


class Idempotency(Protocol):
    """The keys in the storage; all verbs raise `StoreUnavailable`."""

    async def claim(self, key: str, body_hash: bytes, expires: datetime) -> bool:
        """Store a key without an answer; False when it is there, and has not expired."""
        ...

    async def get(self, key: str) -> KeptAnswer | None:
        """What is stored of a key that has not expired."""
        ...

    async def finish(self, key: str, answer: bytes) -> None:
        """Add the sealed answer."""
        ...

    async def release(self, key: str) -> None:
        """Remove a key that has no answer: its request changed nothing, and may be sent again."""
        ...


class Answers:
    """Keeps answers, sealed: they may hold a secret."""

    def __init__(self, keys: Idempotency, vault: Vault, clock: Clock) -> None:
        self._keys = keys
        self._vault = vault
        self._clock = clock

    async def once(self, key: str, credential: str, request: bytes, answer: Callable[[], Awaitable[Answer]]) -> Answer:
        """What `answer` gives, or gave when a request with this key of the same token was answered first.

        A failure of the hub (5xx, or an exception) is not kept. A process that dies leaves the key without an answer,
        since nobody knows what was done: until it expires, the key gets 409.
        """
        if not _KEY.fullmatch(key):
            raise invalid(HEADER, "1 to 64 printable ASCII characters without blanks")
        stored = sha256(f"{credential} {key}".encode()).hexdigest()
        body_hash = sha256(request).digest()
        if not await self._keys.claim(stored, body_hash, self._clock.now() + KEPT):
            return await self._kept(stored, body_hash)
        is_kept = False
        try:
            given = await answer()
            if given.status < 500:
                sealed = self._vault.seal(PURPOSE, stored, msgspec.json.encode(given))
                await self._keys.finish(stored, sealed)
                is_kept = True
            return given
        finally:
            if not is_kept:
                await self._keys.release(stored)

    async def _kept(self, stored: str, body_hash: bytes) -> Answer:
        kept = await self._keys.get(stored)
        if kept is not None and kept.body_hash != body_hash:
            raise ApiError("key-reused", "this Idempotency-Key was sent with another request; use a fresh one")
        if kept is None or kept.answer is None:
            raise ApiError(
                "still-running",
                "the first request with this Idempotency-Key has no answer yet; try again",
                headers={"retry-after": "1"},
            )
        clear = self._vault.open(PURPOSE, stored, kept.answer)
        answer = msgspec.json.decode(clear, type=Answer)
        return msgspec.structs.replace(answer, headers={**answer.headers, "idempotent-replayed": "true"})

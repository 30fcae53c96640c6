"""`Idempotency-Key`: the answer to the first request with a key is the answer to all that repeat it, for a day."""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from hashlib import sha256

import msgspec

from acmehub.api.answers import Answer
from acmehub.api.problems import ApiError, invalid
from acmehub.ports.clock import Clock
from acmehub.ports.idempotency import IdempotencyKey, IdempotencyKeys, IdempotentRequest
from acmehub.runtime.vault import Vault

HEADER = "idempotency-key"
REPLAYED = "idempotent-replayed"
KEPT = timedelta(hours=24)
CLAIMED = timedelta(minutes=2)
"""After this a request without an answer may be sent again: its process has died, or the hub failed."""

PURPOSE = "api.answer"
_KEY = re.compile(r"[!-~]{1,64}")


class Answers:
    """Keeps answers, sealed: they may hold a secret."""

    def __init__(self, keys: IdempotencyKeys, vault: Vault, clock: Clock) -> None:
        self._keys = keys
        self._vault = vault
        self._clock = clock

    async def once(self, key: str, credential: str, request: bytes, answer: Callable[[], Awaitable[Answer]]) -> Answer:
        """What `answer` gives, or gave when a request with this key of the same token was answered first.

        A failure of the hub (5xx, or an exception) is not kept.
        """
        if not _KEY.fullmatch(key):
            raise invalid(HEADER, "1 to 64 printable ASCII characters without blanks")
        owned = IdempotencyKey(credential, key)
        body_hash = sha256(request).digest()
        now = self._clock.now()
        claimed = await self._keys.claim(owned, body_hash, now=now, until=now + CLAIMED, expires=now + KEPT)
        if isinstance(claimed, IdempotentRequest):
            return self._kept(owned, claimed, body_hash)
        given = await answer()
        if given.status < 500:
            sealed = self._vault.seal(PURPOSE, _row(owned), msgspec.json.encode(given))
            await self._keys.finish(owned, claimed, sealed)
        return given

    def _kept(self, key: IdempotencyKey, kept: IdempotentRequest, body_hash: bytes) -> Answer:
        if kept.body_hash != body_hash:
            raise ApiError("key-reused", "this Idempotency-Key was sent with another request; use a fresh one")
        if kept.sealed_answer is None:
            raise ApiError(
                "still-running",
                "the first request with this Idempotency-Key has no answer yet; try again",
                headers={"retry-after": "5"},
            )
        answer = msgspec.json.decode(self._vault.open(PURPOSE, _row(key), kept.sealed_answer), type=Answer)
        return msgspec.structs.replace(answer, headers={**answer.headers, REPLAYED: "true"})


def _row(key: IdempotencyKey) -> str:
    return f"{key.owner} {key.key}"

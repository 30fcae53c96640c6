"""Anti-replay nonces (RFC 8555 section 6.5): issued without a write, accepted exactly once. docs/adr/0004-nonces.md.

A nonce is 24 bytes, 32 characters of base64url: 12 that identify it, then 12 of a MAC. Nobody can forge one, so only
used nonces are stored.
"""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Protocol

import msgspec

from acmehub.models import Actor
from acmehub.ports.clock import Clock
from acmehub.ports.spending import NonceUse, UsedNonces

LIFETIME = 3600.0
"""Seconds for which a nonce is good at least: longer than any long poll (docs/client-rules.md rule 12)."""

_TEXT_SIZE = 32
_BODY_SIZE = 12
_MAC_SIZE = 12
_CHUNK = 1 << 16
_TURN = LIFETIME / 4
_MOST_CHUNKS = 4096
_SKEW = 300.0  # seconds by which the clocks of two processes may differ
_PRUNE_EVERY = 600.0
_KEPT = timedelta(seconds=LIFETIME + 2 * _SKEW)


class Nonces(Protocol):
    """Issues nonces and accepts each of them once."""

    def issue(self) -> str:
        """A fresh nonce."""
        ...

    async def is_good(self, nonce: str) -> bool:
        """Whether `spend` would take it now; writes nothing."""
        ...

    async def spend(self, nonce: str) -> bool:
        """Use a nonce up; False when this hub did not issue it, it is too old, or it was used before."""
        ...

    async def spend_by(self, actor: Actor, nonce: str) -> NonceUse | None:
        """As `spend`, for a request of an actor that was read before; None where the actor has to be read again, and
        the nonce is not used up."""
        ...


class _Chunk(msgspec.Struct):
    """Which of 65 536 consecutive nonces were used, a bit each; `last` is when the last of them was issued."""

    used: bytearray
    last: float


class LocalNonces:
    """Nonces of the only serving process: a counter under a key of this start, and a bitmap of the used ones.

    The bitmap is kept in chunks. A chunk is closed after a quarter of an hour or when it is full, and dropped an hour
    after its last nonce: 8 KiB per 65 536 nonces, at most 32 MiB. A nonce of an earlier start has another key and is
    refused.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._chunks: OrderedDict[int, _Chunk] = OrderedDict()
        self._next = 0
        self._turn = 0.0

    def issue(self) -> str:
        now = self._clock.monotonic()
        if self._next % _CHUNK == 0 or now >= self._turn:
            self._begin_chunk(now)
        number = self._next
        self._next += 1
        self._chunks[number // _CHUNK].last = now
        return _seal(self._key, number.to_bytes(_BODY_SIZE, "big"))

    async def is_good(self, nonce: str) -> bool:
        return self._place(nonce) is not None

    async def spend(self, nonce: str) -> bool:
        place = self._place(nonce)  # nothing is awaited from here to the mark, so that two requests cannot both win
        if place is None:
            return False
        used, index, mask = place
        used[index] |= mask
        return True

    async def spend_by(self, actor: Actor, nonce: str) -> NonceUse | None:  # noqa: ARG002
        """None: where one process serves, reading the actor costs next to nothing."""
        return None

    def _place(self, nonce: str) -> tuple[bytearray, int, int] | None:
        """The bit of a nonce that may be used: bytes, index, mask."""
        body = _open(self._key, nonce)
        if body is None:
            return None
        number, place = divmod(int.from_bytes(body, "big"), _CHUNK)
        chunk = self._chunks.get(number)
        if chunk is None or chunk.last + LIFETIME < self._clock.monotonic():
            return None
        index, mask = place >> 3, 1 << (place & 7)
        return None if chunk.used[index] & mask else (chunk.used, index, mask)

    def _begin_chunk(self, now: float) -> None:
        self._next = -(-self._next // _CHUNK) * _CHUNK
        self._turn = now + _TURN
        while self._chunks and (self._oldest().last + LIFETIME < now or len(self._chunks) >= _MOST_CHUNKS):
            self._chunks.popitem(last=False)
        self._chunks[self._next // _CHUNK] = _Chunk(bytearray(_CHUNK // 8), now)

    def _oldest(self) -> _Chunk:
        return next(iter(self._chunks.values()))


class SharedNonces:
    """Nonces of serving processes that share a store, and thereby a key and the used nonces.

    A nonce holds the time of its issue (seconds, 4 bytes) and 8 random bytes: the processes need no common counter.
    """

    def __init__(self, key: Callable[[], bytes], used: UsedNonces, clock: Clock) -> None:
        """`key` is asked for when the first nonce is needed: it depends on what the storage says."""
        self._find_key = key
        self._used = used
        self._clock = clock
        self._prune_at = clock.monotonic() + _PRUNE_EVERY

    @cached_property
    def _key(self) -> bytes:
        return self._find_key()

    def issue(self) -> str:
        seconds = int(self._clock.now().timestamp())
        return _seal(self._key, seconds.to_bytes(4, "big") + secrets.token_bytes(_BODY_SIZE - 4))

    async def is_good(self, nonce: str) -> bool:
        return self._issued(nonce, self._clock.now()) is not None and not await self._used.is_used(nonce)

    async def spend(self, nonce: str) -> bool:
        now = self._clock.now()
        issued = self._issued(nonce, now)
        if issued is None:
            return False
        await self._prune(now)
        return await self._used.use(nonce, issued + _KEPT)

    async def spend_by(self, actor: Actor, nonce: str) -> NonceUse | None:
        now = self._clock.now()
        issued = self._issued(nonce, now)
        if issued is None:
            return NonceUse(is_first=False)
        await self._prune(now)
        return await self._used.use_by(actor, nonce, issued + _KEPT)

    def _issued(self, nonce: str, now: datetime) -> datetime | None:
        """When a nonce of this hub was issued, if it is not too old."""
        body = _open(self._key, nonce)
        if body is None:
            return None
        issued = datetime.fromtimestamp(int.from_bytes(body[:4], "big"), UTC)
        return issued if -_SKEW <= (now - issued).total_seconds() <= LIFETIME + _SKEW else None

    async def _prune(self, now: datetime) -> None:
        if self._clock.monotonic() >= self._prune_at:
            self._prune_at = self._clock.monotonic() + _PRUNE_EVERY
            await self._used.prune(now)


def _seal(key: bytes, body: bytes) -> str:
    mac = hashlib.blake2b(body, key=key, digest_size=_MAC_SIZE).digest()  # RFC 7693; a third of the time of HMAC
    return urlsafe_b64encode(body + mac).decode()


def _open(key: bytes, nonce: str) -> bytes | None:
    if len(nonce) != _TEXT_SIZE or not nonce.isascii():
        return None
    try:
        body = urlsafe_b64decode(nonce)[:_BODY_SIZE]
    except ValueError:
        return None
    return body if hmac.compare_digest(_seal(key, body), nonce) else None  # the text itself: one spelling per nonce

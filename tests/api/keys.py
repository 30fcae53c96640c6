"""Idempotency keys in memory."""

import asyncio
from datetime import datetime

from msgspec.structs import replace

from acmehub.ports.idempotency import IdempotencyKey, IdempotentRequest


class KeysInMemory:
    """As the storage keeps them, for one process; a claim waits at `gate`."""

    def __init__(self) -> None:
        self.rows: dict[IdempotencyKey, IdempotentRequest] = {}
        self.until: dict[IdempotencyKey, datetime] = {}
        self.gate = asyncio.Event()
        self.gate.set()

    async def claim(
        self, key: IdempotencyKey, body_hash: bytes, *, now: datetime, until: datetime, expires: datetime
    ) -> int | IdempotentRequest:
        row = await self.get(key, now)
        is_dead = (
            row is not None and row.sealed_answer is None and self.until[key] <= now and row.body_hash == body_hash
        )
        if row is not None and not is_dead:
            return row
        fence = row.fence + 1 if row is not None else 1
        self.rows[key] = IdempotentRequest(body_hash, None, fence, expires)
        self.until[key] = until
        await self.gate.wait()
        return fence

    async def finish(self, key: IdempotencyKey, fence: int, sealed_answer: bytes) -> bool:
        if self.rows[key].fence != fence:
            return False
        self.rows[key] = replace(self.rows[key], sealed_answer=sealed_answer)
        return True

    async def get(self, key: IdempotencyKey, now: datetime) -> IdempotentRequest | None:
        row = self.rows.get(key)
        return row if row is not None and row.expires > now else None

    async def forget(self, now: datetime) -> None:
        self.rows = {key: row for key, row in self.rows.items() if row.expires > now}

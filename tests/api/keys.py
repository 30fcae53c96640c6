"""Idempotency keys in memory."""

import asyncio
from datetime import UTC, datetime

from msgspec.structs import replace

from acmehub.api.idempotency import KeptAnswer


class KeysInMemory:
    """As the storage keeps them, for one process; a claim waits at `gate`."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[KeptAnswer, datetime]] = {}
        self.gate = asyncio.Event()
        self.gate.set()

    async def claim(self, key: str, body_hash: bytes, expires: datetime) -> bool:
        if await self.get(key) is not None:
            return False
        self.rows[key] = (KeptAnswer(body_hash, None), expires)
        await self.gate.wait()
        return True

    async def get(self, key: str) -> KeptAnswer | None:
        kept, expires = self.rows.get(key, (None, datetime.max.replace(tzinfo=UTC)))
        return kept if expires > datetime.now(UTC) else None

    async def finish(self, key: str, answer: bytes) -> None:
        kept, expires = self.rows[key]
        self.rows[key] = (replace(kept, answer=answer), expires)

    async def release(self, key: str) -> None:
        del self.rows[key]

"""Requests by their idempotency keys, as rows."""

from datetime import datetime

from acmehub.ports.idempotency import IdempotencyKey, IdempotencyKeys, IdempotentRequest
from acmehub.storage import tables
from acmehub.storage.codec import read_time, storable, time_value
from acmehub.storage.driver import SqlDriver
from acmehub.storage.hot_statements import CLAIM_REQUEST
from acmehub.storage.piccolo_engine import Parameter, prepared
from acmehub.storage.statements import Batch, Unit


class SqlIdempotencyKeys(IdempotencyKeys):
    """Requests as rows."""

    def __init__(self, driver: SqlDriver) -> None:
        self._driver = driver
        table, dialect = tables.Idempotency, driver.dialect
        columns = table.body_hash, table.sealed_answer, table.fence, table.expires
        one = table.select(*columns).where(table.place == Parameter(1), table.expires > Parameter(2))
        self._one = prepared(one, dialect)
        finished = table.update({table.sealed_answer: Parameter(3)}).where(
            table.place == Parameter(1), table.fence == Parameter(2), table.sealed_answer.is_null()
        )
        self._finished = prepared(finished.returning(table.place), dialect)
        self._expired = prepared(table.delete().where(table.expires <= Parameter(1)), dialect)

    async def claim(
        self, key: IdempotencyKey, body_hash: bytes, *, now: datetime, until: datetime, expires: datetime
    ) -> int | IdempotentRequest:
        return await self._driver.write(self._claim, _place(key), body_hash, now, until, expires)

    def _claim(
        self, place: str, body_hash: bytes, now: datetime, until: datetime, expires: datetime
    ) -> Unit[int | IdempotentRequest]:
        times = [time_value(self._driver.dialect, moment) for moment in (until, expires, now)]
        while True:  # again when the request that has the key is forgotten between the two statements
            rows = yield CLAIM_REQUEST(place, body_hash, *times)
            if rows:
                fence: int = rows[0][0]
                return fence
            found = yield from self._read(place, now)
            if found is not None:
                return found

    async def finish(self, key: IdempotencyKey, fence: int, sealed_answer: bytes) -> bool:
        return await self._driver.write(self._finish, _place(key), fence, sealed_answer)

    def _finish(self, place: str, fence: int, sealed_answer: bytes) -> Unit[bool]:
        rows = yield Batch((self._finished(place, fence, sealed_answer),), autocommit=True)
        return bool(rows)

    async def get(self, key: IdempotencyKey, now: datetime) -> IdempotentRequest | None:
        return await self._driver.point_read(self._read, _place(key), now)

    def _read(self, place: str, now: datetime) -> Unit[IdempotentRequest | None]:
        rows = yield self._one(place, time_value(self._driver.dialect, now))
        for body_hash, sealed_answer, fence, stored in rows:
            expires = read_time(self._driver.dialect, stored)
            assert expires is not None
            return IdempotentRequest(body_hash, sealed_answer, fence, expires)
        return None

    async def forget(self, now: datetime) -> None:
        await self._driver.write(self._forget, now)

    def _forget(self, now: datetime) -> Unit[None]:
        yield Batch((self._expired(time_value(self._driver.dialect, now)),), autocommit=True)


def _place(key: IdempotencyKey) -> str:
    return storable(f"{key.owner} {key.key}")

"""Buckets of the limits on clients: taken from in one transaction, or kept for a process that takes from its memory."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from acmehub.ports.spending import RateLimits
from acmehub.rules.rate_limits import Charge, TokensLacking, TokensTaken, take
from acmehub.storage import tables
from acmehub.storage.driver import SqlDriver
from acmehub.storage.hot_statements import ADD_BUCKET, LOCK_BUCKETS, PUT_BUCKET
from acmehub.storage.piccolo_engine import Parameter, prepared
from acmehub.storage.statements import Batch, Unit

_GROUP = 16


class _NothingTaken(Exception):
    """Rolls the transaction back: no request got its tokens."""


class SqlRateLimits(RateLimits):
    """Buckets as rows."""

    def __init__(self, driver: SqlDriver) -> None:
        self._driver = driver
        table, dialect = tables.RateLimit, driver.dialect
        self._beyond = prepared(
            table.select(table.bucket, table.full_at).where(table.full_at > Parameter(1)).limit(Parameter(2)), dialect
        )
        self._full = prepared(table.delete().where(table.full_at <= Parameter(1)), dialect)

    async def take(self, requests: Sequence[Sequence[Charge]], now: int) -> Sequence[TokensTaken | TokensLacking]:
        results: list[TokensTaken | TokensLacking] = []
        with suppress(_NothingTaken):
            await self._driver.write(self._take, requests, now, results)
        return results

    def _take(
        self, requests: Sequence[Sequence[Charge]], now: int, results: list[TokensTaken | TokensLacking]
    ) -> Unit[None]:
        """Rows that are missing are made first, so that two processes cannot both find none; locked in one order."""
        results.clear()  # of a run that the database wanted repeated
        keys = sorted({charge.key for charges in requests for charge in charges})
        stored = yield from self._locked(keys)
        missing = [key for key in keys if key not in stored]
        if missing:
            yield ADD_BUCKET.many([(key, 0) for key in missing])
            stored = yield from self._locked(keys)
        before = dict(stored)
        for charges in requests:
            result = take(stored, charges, now)
            if isinstance(result, TokensTaken):
                stored.update(result.full_at)
            results.append(result)
        changed = [(key, stored[key]) for key in keys if stored[key] != before[key]]
        if not changed:
            raise _NothingTaken
        yield PUT_BUCKET.many(changed)

    def _locked(self, keys: Sequence[str]) -> Unit[dict[str, int]]:
        found: dict[str, int] = {}
        for start in range(0, len(keys), _GROUP):
            group = list(keys[start : start + _GROUP])
            rows = yield LOCK_BUCKETS(*group, *group[-1:] * (_GROUP - len(group)))
            found.update((row[0], row[1]) for row in rows)
        return found

    async def load(self, now: int, limit: int) -> Mapping[str, int]:
        return await self._driver.read(self._load, now, limit)

    def _load(self, now: int, limit: int) -> Unit[dict[str, int]]:
        rows = yield self._beyond(now, limit)
        return {row[0]: row[1] for row in rows}

    async def save(self, full_at: Mapping[str, int]) -> None:
        if full_at:
            await self._driver.write(self._save, full_at)

    def _save(self, full_at: Mapping[str, int]) -> Unit[None]:
        yield Batch((PUT_BUCKET.many(list(full_at.items())),), autocommit=True)

    async def prune(self, now: int) -> None:
        await self._driver.write(self._prune, now)

    def _prune(self, now: int) -> Unit[None]:
        yield Batch((self._full(now),), autocommit=True)

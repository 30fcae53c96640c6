"""Buckets of the limits on clients: taken from in one transaction, or kept for a process that takes from its memory."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from acmehub.ports.spending import RateLimits
from acmehub.rules.rate_limits import Charge, TokensLacking, TokensTaken, take
from acmehub.storage import tables
from acmehub.storage.driver import SqlDriver
from acmehub.storage.hot_statements import NOT_DURABLE
from acmehub.storage.piccolo_engine import Parameter, prepared
from acmehub.storage.statements import Batch, Dialect, Sql, Unit
from acmehub.storage.versioned_cache import VersionedCache

_GROUP = 16
_MOST_KNOWN = 10_000
_TRIES = 2

# each request that a limit counts, where several processes share the storage: see `hot_statements.LOCK_ORDER`
LOCK_BUCKETS = Sql(
    "SELECT bucket, full_at FROM rate_limit WHERE bucket IN ({keys}) ORDER BY bucket {lock}",
    keys=", ".join(f"${number}" for number in range(1, 17)),
)

# a bucket that was full: ON CONFLICT, so that it is there once
ADD_BUCKET = Sql("INSERT INTO rate_limit (bucket, full_at) VALUES ($1, $2) ON CONFLICT (bucket) DO NOTHING")

# buckets that were taken from
PUT_BUCKET = Sql(
    "INSERT INTO rate_limit (bucket, full_at) VALUES ($1, $2)"
    " ON CONFLICT (bucket) DO UPDATE SET full_at = excluded.full_at"
)

# each request that a limit counts, in one round trip; not durable. Values: the buckets; what is known of each (-1: it
# is not stored); what is to be stored. Nothing is, unless all are as known; of several that are not stored some may be.
# Gives how many are stored now, and those that were there
PUT_KNOWN_BUCKETS = Sql.of_postgres(
    "WITH given AS (SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS g (bucket, known, full_at)),"
    " stored AS (SELECT bucket, full_at FROM rate_limit WHERE bucket = ANY ($1::text[]) ORDER BY bucket {lock}),"
    " judged AS (SELECT bool_and(coalesce(stored.full_at, -1) = given.known) AS is_known"
    " FROM given LEFT JOIN stored ON stored.bucket = given.bucket),"
    " added AS (INSERT INTO rate_limit (bucket, full_at) SELECT bucket, full_at FROM given"
    " WHERE known < 0 AND (SELECT is_known FROM judged) ORDER BY bucket"
    " ON CONFLICT (bucket) DO NOTHING RETURNING bucket),"
    " put AS (UPDATE rate_limit SET full_at = given.full_at FROM given WHERE rate_limit.bucket = given.bucket"
    " AND given.known >= 0 AND (SELECT is_known FROM judged)"
    " AND (SELECT count(*) FROM added) = (SELECT count(*) FROM given WHERE known < 0) RETURNING 1)"
    " SELECT (SELECT count(*) FROM added) + (SELECT count(*) FROM put), (SELECT array_agg(bucket) FROM stored),"
    " (SELECT array_agg(full_at) FROM stored), {not_durable}",
    not_durable=NOT_DURABLE,
)


class _NothingTaken(Exception):
    """Rolls the transaction back: no request got its tokens."""


class _BucketsChanged(Exception):
    """Other processes have taken from the buckets, or pruned them: what is `stored` of them."""

    def __init__(self, stored: dict[str, int]) -> None:
        super().__init__()
        self.stored = stored


class SqlRateLimits(RateLimits):
    """Buckets as rows."""

    def __init__(self, driver: SqlDriver) -> None:
        self._driver = driver
        self._known: VersionedCache[tuple[int, ...], int] = VersionedCache(_MOST_KNOWN)
        table, dialect = tables.RateLimit, driver.dialect
        self._beyond = prepared(
            table.select(table.bucket, table.full_at).where(table.full_at > Parameter(1)).limit(Parameter(2)), dialect
        )
        self._full = prepared(table.delete().where(table.full_at <= Parameter(1)), dialect)

    async def take(self, requests: Sequence[Sequence[Charge]], now: int) -> Sequence[TokensTaken | TokensLacking]:
        taken = await self._take_known(requests, now)
        if taken is not None:
            return taken
        results: list[TokensTaken | TokensLacking] = []
        with suppress(_NothingTaken):
            await self._driver.write(self._take, requests, now, results)
        return results

    async def _take_known(
        self, requests: Sequence[Sequence[Charge]], now: int
    ) -> Sequence[TokensTaken | TokensLacking] | None:
        """`take` by what this process knows of the buckets, in one statement that stores it if that is still so; None
        where it is not, or where a request would be refused by that.

        Only behind a network, where a transaction that locks, reads and writes is six round trips.
        """
        if self._driver.dialect is not Dialect.POSTGRES:
            return None
        keys = sorted({charge.key for charges in requests for charge in charges})
        known = {key: full for key in keys if (full := self._known.get(key, ())) is not None}
        for _ in range(_TRIES):
            after = dict(known)
            results: list[TokensTaken | TokensLacking] = []
            for charges in requests:
                result = take(after, charges, now)
                if not isinstance(result, TokensTaken):
                    return None
                after.update(result.full_at)
                results.append(result)
            try:
                await self._driver.write(self._put_known, keys, known, after)
            except _BucketsChanged as changed:
                known = changed.stored
                continue
            for key in keys:
                self._known.put(key, (), after[key])
            return results
        return None

    def _put_known(self, keys: Sequence[str], known: Mapping[str, int], after: Mapping[str, int]) -> Unit[None]:
        """A transaction is needed where several buckets are not stored, of which another process may store some."""
        values = [known.get(key, -1) for key in keys], [after[key] for key in keys]
        alone = len(keys) - len(known) <= 1
        ((count, names, stored, _),) = yield Batch((PUT_KNOWN_BUCKETS(keys, *values),), autocommit=alone)
        if count != len(keys):
            raise _BucketsChanged(dict(zip(names or (), stored or (), strict=True)))

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

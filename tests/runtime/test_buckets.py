"""Buckets in memory and in a shared storage: bounded, exact, brought along over a restart."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

import pytest

from acmehub.ports.store import StoreUnavailable
from acmehub.rules.rate_limits import HOUR, SECOND, Charge, TokensLacking, TokensTaken, charge, limit, take
from acmehub.runtime.client_limits import buckets
from acmehub.runtime.client_limits.buckets import LocalBuckets, SharedBuckets, microseconds
from acmehub.testing.fakes import ManualClock

TEN = limit("ten", 10, HOUR, "things")
SLOW = limit("slow", 2, 24 * HOUR, "things")


class Stored:
    """Buckets as a storage has them; counts its transactions."""

    def __init__(self) -> None:
        self.full_at: dict[str, int] = {}
        self.transactions = 0
        self.fails = False

    async def take(self, requests: Sequence[Sequence[Charge]], now: int) -> Sequence[TokensTaken | TokensLacking]:
        self.transactions += 1
        await asyncio.sleep(0.01)
        if self.fails:
            raise StoreUnavailable("gone")
        results = []
        for charges in requests:
            result = take(self.full_at, charges, now)
            if isinstance(result, TokensTaken):
                self.full_at.update(result.full_at)
            results.append(result)
        return results

    async def load(self, now: int, limit: int) -> Mapping[str, int]:
        return dict([(key, full) for key, full in self.full_at.items() if full > now][:limit])

    async def save(self, full_at: Mapping[str, int]) -> None:
        if self.fails:
            raise StoreUnavailable("gone")
        self.transactions += 1
        self.full_at.update(full_at)

    async def prune(self, now: int) -> None:
        """Nothing is forgotten here."""


async def taken(some: LocalBuckets | SharedBuckets, *charges: Charge) -> bool:
    return isinstance(await some.take(charges), TokensTaken)


async def test_what_lacks_much_is_stored_at_the_end_and_read_at_the_start() -> None:
    stored, clock = Stored(), ManualClock()
    first = LocalBuckets(stored, clock)
    async with first.kept():
        for _ in range(10):
            assert await taken(first, charge(TEN, "a"))
        assert await taken(first, charge(TEN, "b"))  # one token is not worth a row
        assert await taken(first, charge(SLOW, "a"), charge(SLOW, "b"))
        assert await taken(first, charge(SLOW, "a"))
    assert set(stored.full_at) == {"ten/a", "slow/a", "stored"}
    second = LocalBuckets(stored, clock)
    async with second.kept():
        assert not await taken(second, charge(TEN, "a"))
        assert not await taken(second, charge(SLOW, "a"))
        assert await taken(second, charge(TEN, "b"))
        clock.advance(360)
        assert await taken(second, charge(TEN, "a"))


async def test_what_changes_is_stored_regularly_and_again_when_it_could_not_be(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(buckets, "STORE_EVERY", 0.01)
    stored, clock = Stored(), ManualClock()
    local = LocalBuckets(stored, clock)
    async with local.kept():
        stored.fails = True
        await taken(local, charge(TEN, "a", 5))
        await asyncio.sleep(0.05)
        assert not stored.full_at
        assert caplog.text.count("not stored now: gone") == 1
        stored.fails = False
        async with asyncio.timeout(5):
            while not stored.full_at:
                await asyncio.sleep(0.01)
        before = stored.transactions
        await asyncio.sleep(0.05)
        assert stored.transactions == before  # nothing has changed


async def test_a_clock_that_was_put_back_over_a_restart_locks_nobody_out() -> None:
    stored, clock = Stored(), ManualClock()
    first = LocalBuckets(stored, clock)
    async with first.kept():
        await taken(first, charge(TEN, "a", 5))
    clock.jump(-1800)
    second = LocalBuckets(stored, clock)
    async with second.kept():
        assert [await taken(second, charge(TEN, "a")) for _ in range(6)] == [True] * 5 + [False]


async def test_buckets_are_bounded_and_those_that_are_emptiest_stay() -> None:
    clock = ManualClock()
    local = LocalBuckets(Stored(), clock, most=100)
    for _ in range(10):
        await taken(local, charge(TEN, "looping"))
    for number in range(10_000):
        await taken(local, charge(TEN, f"address {number}"))
        assert len(local) <= 100
    assert not await taken(local, charge(TEN, "looping"))
    clock.advance(3600)
    for number in range(100):
        await taken(local, charge(TEN, f"another {number}"))
    assert len(local) <= 100
    assert await taken(local, charge(TEN, "looping"))


async def test_what_arrives_together_is_taken_in_one_transaction_and_exactly() -> None:
    stored = Stored()
    shared = SharedBuckets(stored, ManualClock())
    async with shared.kept():
        results = await asyncio.gather(*(taken(shared, charge(TEN, "a")) for _ in range(40)))
    assert sum(results) == 10
    assert stored.transactions <= 2


async def test_a_bucket_that_has_refused_is_not_asked_for_before_it_can_have_the_tokens() -> None:
    stored, clock = Stored(), ManualClock()
    shared = SharedBuckets(stored, clock)
    assert await taken(shared, charge(TEN, "a", 9))
    refused = await shared.take([charge(TEN, "a", 3)])
    assert isinstance(refused, TokensLacking)
    before = stored.transactions
    for _ in range(5):
        again = await shared.take([charge(TEN, "a", 3), charge(TEN, "b")])
        assert isinstance(again, TokensLacking)
    assert stored.transactions == before
    assert await taken(shared, charge(TEN, "a"))  # costs less
    clock.advance(refused.wait / SECOND)
    await taken(shared, charge(TEN, "a", 3))
    assert stored.transactions == before + 2


async def test_a_storage_that_is_away_is_told_to_each_caller_and_asked_again() -> None:
    stored = Stored()
    shared = SharedBuckets(stored, ManualClock())
    stored.fails = True
    failed = await asyncio.gather(*(shared.take([charge(TEN, "a")]) for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in failed] == [StoreUnavailable] * 3
    stored.fails = False
    assert await taken(shared, charge(TEN, "a"))


async def test_a_caller_that_is_cancelled_disturbs_nobody() -> None:
    stored = Stored()
    shared = SharedBuckets(stored, ManualClock())
    first, second = (asyncio.create_task(shared.take([charge(TEN, "a")])) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert isinstance(await second, TokensTaken)
    with pytest.raises(asyncio.CancelledError):
        await first


def test_microseconds_are_those_of_the_clock() -> None:
    clock = ManualClock()
    before = microseconds(clock)
    clock.advance(1.5)
    assert microseconds(clock) - before == pytest.approx(1_500_000, abs=1)

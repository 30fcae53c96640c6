"""The job loop: woken, refilled, paused by an outage, restarted after a defect, drained."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from acmehub.ports.clock import SystemClock
from acmehub.ports.store import StoreUnavailable
from acmehub.runtime import jobs
from acmehub.runtime.jobs import Loop
from acmehub.runtime.places import NO_GROUPS


class Death(BaseException):
    """Ends a process."""


class Numbers(Loop[str]):
    """Jobs of a list; what happens is noted in `seen`."""

    def __init__(self, *due: str, places: int = 2, refill: int = 1, grace: float = 0.2, idle: float = 60.0) -> None:
        super().__init__("numbers", SystemClock(), Random(1), places=places, refill=refill, grace=grace, idle=idle)
        self.due = list(due)
        self.at: datetime | None = None
        self.limits: list[int] = []
        self.seen: list[str] = []
        self.given_back: list[str] = []
        self.unexpected: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.confirmed = asyncio.Event()
        self.confirmed.set()
        self.claim_fails: list[BaseException] = []
        self.work_fails: list[BaseException] = []

    async def claim(self, limit: int) -> Sequence[str]:
        self.limits.append(limit)
        if self.claim_fails:
            raise self.claim_fails.pop()
        claimed, self.due = self.due[:limit], self.due[limit:]
        await self.confirmed.wait()
        return claimed

    async def next_due(self) -> datetime | None:
        return self.at

    def key(self, job: str) -> str:
        return job

    async def work(self, job: str) -> None:
        if self.work_fails:
            raise self.work_fails.pop()
        if job != "quick":
            await self.gate.wait()
        self.seen.append(job)

    async def handle_unexpected(self, job: str, error: Exception) -> None:
        self.unexpected.append(f"{job} {type(error).__name__}")

    async def give_back(self, job: str) -> None:
        self.given_back.append(job)


@asynccontextmanager
async def running(loop: Numbers) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(loop.run())
    await asyncio.sleep(0)
    yield task
    task.cancel()
    await asyncio.wait([task])


async def until(check: Callable[[], object]) -> None:
    async with asyncio.timeout(5.0):
        while not check():
            await asyncio.sleep(0.005)


async def test_jobs_that_are_due_are_worked_on_and_no_more_than_there_are_places() -> None:
    loop = Numbers("1", "2", "3", "4", "5")
    assert await loop.work_off() == 5
    assert loop.seen == ["1", "2", "3", "4", "5"]
    assert max(loop.limits) == 2


async def test_a_loop_that_is_woken_claims_again() -> None:
    loop = Numbers()
    async with running(loop):
        await until(lambda: loop.limits)
        loop.due = ["1"]
        loop.wake()
        await until(lambda: loop.seen == ["1"])


async def test_a_job_that_becomes_due_is_claimed_then_without_being_woken() -> None:
    loop = Numbers()
    loop.at = datetime.now(UTC) + timedelta(seconds=0.2)
    async with running(loop):
        await until(lambda: loop.limits)
        loop.due = ["1"]
        await asyncio.sleep(0.1)
        early = list(loop.seen)
        assert not early or datetime.now(UTC) > loop.at
        await until(lambda: loop.seen == ["1"])


async def test_news_that_comes_while_the_loop_claims_is_not_lost() -> None:
    loop = Numbers()
    claim = loop.claim

    async def woken_meanwhile(limit: int) -> Sequence[str]:
        found = await claim(limit)
        if len(loop.limits) == 1:
            loop.due = ["1"]
            loop.wake()
        return found

    loop.claim = woken_meanwhile  # type: ignore[method-assign]
    async with running(loop):
        await until(lambda: loop.seen == ["1"])


async def test_news_in_a_burst_cost_one_claim() -> None:
    loop = Numbers()
    async with running(loop):
        await until(lambda: loop.limits)
        for _ in range(50):
            loop.wake()
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)
    assert len(loop.limits) <= 3


async def test_a_started_job_needs_no_claim_and_no_free_place() -> None:
    loop = Numbers(places=1)
    loop.gate.clear()
    loop.start("1")
    loop.start("2")
    assert loop.running() == ["1", "2"]
    assert loop.find("2") == "2"
    assert loop.find("3") is None
    loop.gate.set()
    await loop.wait_until_idle()
    assert (loop.seen, loop.limits) == (["1", "2"], [])


async def test_a_job_is_not_started_before_others_that_wait_for_the_place() -> None:
    loop = Numbers("first", "second", "third", "fourth")
    loop.at = loop._clock.now()
    loop.gate.clear()
    async with running(loop):
        await until(lambda: len(loop.running()) == 2)
        loop.places.leave("first")
        assert not loop.has_place(NO_GROUPS), "a place is free, and the third and the fourth job are due"
        loop.at = None
        loop.gate.set()
        await until(lambda: len(loop.seen) == 4)
        await until(lambda: loop.has_place(NO_GROUPS))


async def test_a_job_that_is_claimed_twice_runs_once() -> None:
    loop = Numbers("1", "1", "2", places=3)
    assert await loop.work_off() == 2
    assert loop.seen == ["1", "2"]


async def test_a_loop_claims_when_enough_places_are_free() -> None:
    loop = Numbers("quick", "2", "3", "4", "5", places=4, refill=2)
    loop.gate.clear()
    async with running(loop):
        await until(lambda: loop.seen == ["quick"])
        await asyncio.sleep(0.1)
        assert loop.running() == ["2", "3", "4"]
        loop.gate.set()
        await until(lambda: len(loop.seen) == 5)
    assert min(loop.limits) >= 2


async def test_an_outage_of_the_storage_pauses_the_claims_with_back_off(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[int] = []

    def pause(failures: int, **_limits: float) -> float:
        asked.append(failures)
        return 0.02

    monkeypatch.setattr(jobs, "back_off", pause)
    caplog.set_level(logging.DEBUG)
    loop = Numbers("1")
    loop.claim_fails = [StoreUnavailable("disk is full"), StoreUnavailable("disk is full")]
    async with running(loop):
        await until(lambda: loop.seen == ["1"])
    assert asked == [1, 2]
    assert "numbers: nothing can be claimed now (again in 0 s): disk is full" in caplog.text


async def test_a_job_that_meets_an_outage_is_left_to_its_next_claim(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    loop = Numbers("1", "2")
    loop.work_fails = [StoreUnavailable("disk is full")]
    assert await loop.work_off() == 2
    assert (loop.seen, loop.unexpected) == (["2"], [])
    assert "numbers: 1 is left to its next claim: disk is full" in caplog.text


async def test_a_job_that_fails_in_an_unexpected_way_is_logged_and_handled_and_stops_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = Numbers("1", "2")
    loop.work_fails = [KeyError("x")]
    await loop.work_off()
    assert (loop.seen, loop.unexpected) == (["2"], ["1 KeyError"])
    assert "numbers: 1 failed in an unexpected way" in caplog.text


async def test_a_handler_that_fails_as_well_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    loop = Numbers("1", "2")
    loop.work_fails = [KeyError("x")]

    async def broken(_job: str, _error: Exception) -> None:
        raise LookupError

    loop.handle_unexpected = broken  # type: ignore[method-assign, assignment]
    await loop.work_off()
    assert loop.seen == ["2"]
    assert "numbers: 1 failed twice" in caplog.text


async def test_a_loop_that_fails_is_logged_and_starts_again_and_its_jobs_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(jobs, "RESTART", 0.02)
    loop = Numbers("1")
    loop.gate.clear()
    async with running(loop):
        await until(lambda: loop.running() == ["1"])
        loop.claim_fails = [KeyError("x")]
        loop.wake()
        await until(lambda: "numbers: the loop ended and starts again" in caplog.text)
        assert loop.running() == ["1"]
        loop.due = ["2"]
        loop.gate.set()
        await until(lambda: loop.seen == ["1", "2"])


async def test_what_ends_the_process_comes_through() -> None:
    loop = Numbers("1")
    loop.work_fails = [Death()]
    with pytest.raises(Death):
        await loop.work_off()
    loop = Numbers("1")
    loop.work_fails = [Death()]
    async with running(loop) as task:
        await asyncio.wait([task], timeout=5.0)
        assert isinstance(task.exception(), Death)


async def test_a_loop_that_stops_lets_jobs_end_within_its_grace() -> None:
    loop = Numbers("1", grace=5.0)
    loop.gate.clear()
    async with running(loop) as task:
        await until(loop.running)
        task.cancel()
        await asyncio.sleep(0.05)
        assert not task.done()
        loop.gate.set()
    assert task.cancelled()
    assert (loop.seen, loop.given_back) == (["1"], [])


async def test_what_a_claim_under_way_gets_is_worked_on_before_the_loop_ends() -> None:
    loop = Numbers("1", grace=5.0)
    loop.confirmed.clear()
    async with running(loop) as task:
        await until(lambda: loop.limits)
        task.cancel()
        await asyncio.sleep(0.02)
        assert not task.done()
        loop.confirmed.set()
    assert loop.seen == ["1"]


async def test_a_claim_that_does_not_end_keeps_no_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(jobs, "LONGEST_CLAIM", 0.02)
    loop = Numbers("1")
    loop.confirmed.clear()
    async with running(loop):
        await until(lambda: loop.limits)
    assert "a claim does not end" in caplog.text


async def test_a_job_that_does_not_end_within_the_grace_is_cancelled_and_given_back() -> None:
    loop = Numbers("1", "2", grace=0.05)
    loop.gate.clear()
    async with running(loop):
        await until(lambda: len(loop.running()) == 2)
    assert (loop.seen, loop.given_back) == ([], ["1", "2"])
    assert loop.running() == []


class Again(Numbers):
    """Jobs that say when they are due again."""

    again: datetime | None = None

    def due_again(self, job: str) -> datetime | None:
        return self.again


async def test_a_job_that_is_not_due_again_causes_no_claim_and_one_that_is_causes_it_then() -> None:
    loop = Again("1")
    async with running(loop):
        await until(lambda: loop.seen == ["1"])
        await asyncio.sleep(0.1)
        asked = len(loop.limits)
        loop.start("2")
        await until(lambda: "2" in loop.seen)
        await asyncio.sleep(0.1)
        assert len(loop.limits) == asked
        loop.again = loop._clock.now() + timedelta(seconds=0.2)
        loop.start("3")
        await until(lambda: "3" in loop.seen)
        loop.due = ["4"]
        assert len(loop.limits) == asked
        await until(lambda: "4" in loop.seen)
        assert loop._clock.now() >= loop.again


async def test_a_place_that_is_reserved_is_taken_and_comes_free_unless_its_job_was_started() -> None:
    loop = Numbers(places=2)
    assert loop.reserve("1", NO_GROUPS)
    assert loop.reserve("2", NO_GROUPS)
    assert not loop.reserve("3", NO_GROUPS)
    assert loop.is_reserved("2")
    loop.free("1")
    assert loop.places.free == 1
    loop.gate.clear()
    loop.start("2")
    loop.free("2")
    assert (loop.places.free, loop.is_reserved("2")) == (1, False)
    loop.gate.set()
    await loop.wait_until_idle()
    assert loop.places.free == 2

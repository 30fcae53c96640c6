"""An outage of the storage is a line when it begins, one a minute, and one at its end."""

import logging

import pytest

from acmehub.ports.store import StoreUnavailable
from acmehub.storage.outages import StorageOutages
from acmehub.testing.fakes import ManualClock

AWAY = StoreUnavailable("the disk is full: make room there")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def outages(clock: ManualClock) -> StorageOutages:
    return StorageOutages(clock.monotonic)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_one_line_at_the_begin_one_a_minute_one_at_the_end(
    outages: StorageOutages, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    outages.answered()
    for _ in range(150):
        outages.failed(AWAY)
        clock.advance(1)
    outages.answered()
    outages.answered()
    assert lines(caplog) == [
        "the storage is unavailable: the disk is full: make room there",
        "the storage is still unavailable, for 60 s, 61 failures: the disk is full: make room there",
        "the storage is still unavailable, for 120 s, 121 failures: the disk is full: make room there",
        "the storage is available again, after 150 s and 150 failures",
    ]


def test_what_was_found_out_late_has_its_length(
    outages: StorageOutages, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    clock.advance(100)
    outages.failed(AWAY, clock.monotonic() - 3)
    outages.answered()
    assert lines(caplog)[-1] == "the storage is available again, after 3 s and 1 failures"


def test_a_storage_that_comes_and_goes_has_one_line_a_minute_and_each_told_outage_its_end(
    outages: StorageOutages, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(120):
        outages.failed(AWAY)
        outages.answered()
        clock.advance(1)
    assert [line.partition(":")[0].partition(",")[0] for line in lines(caplog)] == [
        "the storage is unavailable",
        "the storage is available again",
    ] * 2

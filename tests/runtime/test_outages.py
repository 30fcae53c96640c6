"""Outages: two lines, whatever comes between, late or flickering."""

from typing import cast

import pytest

from acmehub.ports.dns import DnsProviderRefused
from acmehub.ports.store import Store
from acmehub.runtime.outages import AUTHORITY, MANAGED_CHALLENGE, QUIET, RENEWAL_INFORMATION, Outages
from acmehub.runtime.snapshot import Snapshots
from acmehub.testing.fakes import ManualClock

BEGIN, END = "authority cannot be used", "authority works again"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def outages(clock: ManualClock) -> Outages:
    return Outages(Snapshots(cast(Store, None), clock), clock)


def fail(outages: Outages, clock: ManualClock, what: str = AUTHORITY, began: float | None = None) -> None:
    outages.failed(what, "ca", "connection refused", clock.monotonic() if began is None else began, "https://ca.test")


def test_an_outage_is_two_lines_with_why_and_how_long(
    outages: Outages, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(50):
        fail(outages, clock)
        clock.advance(2)
    for _ in range(50):
        outages.works(AUTHORITY, "ca", clock.monotonic())
    assert caplog.messages == [BEGIN, END]
    begin, end = (vars(record) for record in caplog.records)
    assert (begin["authority"], begin["reason"], begin["server"]) == ("ca", "connection refused", "https://ca.test")
    assert (end["authority"], end["seconds"], end["failures"]) == ("ca", 100.0, 50)


def test_what_was_under_way_at_the_begin_and_at_the_end_changes_nothing(
    outages: Outages, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    before = clock.monotonic()
    clock.advance(1)
    fail(outages, clock)
    outages.works(AUTHORITY, "ca", before)
    assert caplog.messages == [BEGIN]
    within = clock.monotonic()
    clock.advance(QUIET * 2)
    outages.works(AUTHORITY, "ca", clock.monotonic())
    clock.advance(QUIET * 2)
    fail(outages, clock, began=within)
    assert caplog.messages == [BEGIN, END]


def test_what_comes_and_goes_is_two_lines_a_minute_and_what_stays_away_is_told(
    outages: Outages, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(int(QUIET) - 1):
        fail(outages, clock)
        outages.works(AUTHORITY, "ca", clock.monotonic())
        clock.advance(1)
    assert caplog.messages == [BEGIN, END]
    fail(outages, clock)
    assert caplog.messages == [BEGIN, END]
    clock.advance(2)
    fail(outages, clock)
    assert caplog.messages == [BEGIN, END, BEGIN]


def test_each_authority_and_managed_challenge_has_its_own(
    outages: Outages, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    fail(outages, clock)
    fail(outages, clock, RENEWAL_INFORMATION)  # the same outage
    for _ in range(2):
        with pytest.raises(DnsProviderRefused), outages.of_managed_challenge("zone"):
            raise DnsProviderRefused("wrong key", server="ns.test")
    outages.works(AUTHORITY, "other", clock.monotonic())
    outages.works(AUTHORITY, "ca", clock.monotonic())
    fail(outages, clock, RENEWAL_INFORMATION)
    outages.works(RENEWAL_INFORMATION, "ca", clock.monotonic())
    with outages.of_managed_challenge("zone"):
        pass
    assert caplog.messages == [
        BEGIN,
        "managed challenge cannot be used",
        END,
        "authority does not say when to renew",
        "authority says when to renew again",
        "managed challenge works again",
    ]
    assert vars(caplog.records[1])["managed_challenge"] == "zone"


def test_what_is_remembered_is_bounded(outages: Outages, clock: ManualClock) -> None:
    for number in range(3000):
        outages.failed(MANAGED_CHALLENGE, str(number), "gone", clock.monotonic())
    assert len(outages._present) == 1024

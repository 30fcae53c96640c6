"""Figures of issuance: what the documentation promises, and what bounds the cost of an order."""

from datetime import timedelta

import pytest

from acmehub.issuance import (
    authorizing,
    idle_orders,
    issuing,
    job,
    known_limits,
    pruning,
    publishing,
    ready_orders,
    renewal_windows,
    retry_policy,
    upstream_order,
    verifying,
    worker,
)
from tests.figures import is_said

RELIABILITY = "reliability.md"


@pytest.mark.parametrize(
    ("figure", "value", "page", "words"),
    [
        (job.LONGEST_NAP, 1.0, RELIABILITY, "a pause of up to a second is taken within it"),
        (retry_policy.MOST_NOT_READY, 8, RELIABILITY, "eight times in a row, within about four minutes"),
        (retry_policy.MOST_FAILED_VALIDATIONS, 3, RELIABILITY, "has failed three times within the hour"),
        (known_limits.HOUR, 3600.0, RELIABILITY, "has failed three times within the hour"),
        (retry_policy.LONGEST_SIGNING_PAUSE, 3600.0, RELIABILITY, "retried with pauses that grow to an hour"),
        (worker.GRACE, 10.0, "cli.md", "the worker finishes the step it is at (within 10 seconds each)"),
        (renewal_windows.USUAL, 6 * 3600.0, "renewal.md", "6 hours"),
    ],
)
def test_what_the_documentation_says_holds(figure: float, value: float, page: str, words: str) -> None:
    assert figure == value
    assert is_said(page, words)


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        (authorizing.READS_AT_ONCE, 4),
        (authorizing.LOOK_CLOSELY_EVERY, 4),
        (issuing.MOST_ALTERNATES, 8),
        (issuing.ALTERNATES_SECONDS, 30.0),
        (publishing.RECORDS_AT_ONCE, 4),
        (publishing.WRITE_AGAIN_EVERY, 6),
        (verifying.NAMES_AT_ONCE, 16),
        (renewal_windows.ASKED_AT_ONCE, 4),
        (renewal_windows._EXCHANGE_SECONDS, 60.0),
        (job.EXCHANGE_SECONDS, 120.0),
        (retry_policy.LONGEST_RATE_LIMIT_PAUSE, 3600.0),
        (retry_policy.SURE_OF_LOSS, 3),
        (retry_policy.SURE_OF_LOSS_AFTER_CSR, 6),
        (retry_policy.MOST_CONTRADICTIONS, 5),
        (retry_policy.MOST_STILLBORN, 3),
    ],
)
def test_what_one_order_costs_a_ca_and_dns_is_bounded(figure: float, value: float) -> None:
    assert figure == value


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        (job.MOST_ASLEEP, 1024),
        (job.WRITE_TRIES, 6),
        (known_limits.KEPT, 2048),
        (known_limits.MOST_TIMES, 16),
        (ready_orders.KEPT, 4096),
        (ready_orders.KEPT_SECONDS, 60.0),
        (idle_orders.BATCH, 100),
        (pruning.BATCH, 50),
        (pruning.LINES, 500),
        (pruning.FILLED_AT_ONCE, 25),
        (pruning.EXPIRED_AT_ONCE, 8),
        (verifying.PAUSES, (0.5, 1.0, 2.0, 3.0, 4.0)),
        (verifying.SLOW, 4.0),
    ],
)
def test_what_one_process_keeps_and_does_at_once_is_bounded(figure: object, value: object) -> None:
    assert figure == value


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        (worker.IDLE, 60.0),
        (idle_orders.INTERVAL, 60.0),
        (pruning.INTERVAL, 60.0),
        (pruning.FORGET_EVERY, 3600.0),
        (renewal_windows.INTERVAL, 60.0),
        (renewal_windows.AFTER_FAILURE, 3600.0),
        (renewal_windows.PAUSE, 600.0),
        (renewal_windows.CLAIM, timedelta(minutes=5)),
        (pruning.KEEP_ZONE_LEASES, timedelta(days=1)),
        (upstream_order.WAIT_SECONDS, 2.0),
    ],
)
def test_what_comes_again_comes_this_often(figure: object, value: object) -> None:
    assert figure == value

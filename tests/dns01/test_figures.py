"""Figures of dns-01: what the documentation promises, and what bounds the cost of a name."""

from datetime import timedelta

import pytest

from acmehub.dns01 import one_writer, propagation, resolver, solver, txt_cleanup, zones
from tests.figures import is_said

CONFIGURE = "configure.md"
CHALLENGES = "managed-challenges.md"
RELIABILITY = "reliability.md"


@pytest.mark.parametrize(
    ("figure", "value", "page", "words"),
    [
        (resolver.MOST_SERVERS, 13, CONFIGURE, "at most 13 name servers of the zone"),
        (resolver.EACH_KIND, 2, CONFIGURE, "two IPv4 and two IPv6 addresses of each"),
        (propagation.MOST_ADDRESSES, 20, CONFIGURE, "and 20 addresses in all"),
        (one_writer.WAIT_SECONDS, 20.0, CHALLENGES, "after 20 seconds its step counts as failed"),
        (one_writer.LEASE, timedelta(seconds=75), CHALLENGES, "keeps the zone for 75 seconds at most"),
        (one_writer.IN_FLIGHT, timedelta(seconds=5), RELIABILITY, "may still arrive keeps it five seconds more"),
    ],
)
def test_what_the_documentation_says_holds(figure: object, value: object, page: str, words: str) -> None:
    assert figure == value
    assert is_said(page, words)


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        (resolver.TRIES, 2),
        (resolver.MOST_LEVELS, 16),
        (resolver.MOST_DIRECT, 4),
        (resolver.MOST_ADDRESSES, 32),
        (resolver.KEPT_SECONDS, 30.0),
        (resolver.KEPT_ZONES, 1024),
        (zones.LONGEST_CHAIN, 16),
        (propagation.LOOK_TIMEOUTS, 6),
    ],
)
def test_what_a_name_costs_dns_servers_is_bounded(figure: float, value: float) -> None:
    assert figure == value


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        (solver.PROVIDER_SECONDS, 60.0),
        (solver.ADD_MAY_LAST, timedelta(seconds=90)),
        (solver.NAMES_AT_ONCE, 8),
        (solver.APART_AT_ONCE, 4),
        (solver.MOST_TOGETHER, 64),
        (solver.KEPT_RESOLVERS, 64),
        (one_writer.MOST_TRIES, 200),
        (one_writer.PAUSE, 0.05),
        (one_writer.IN_A_ROW, 1.0),
        (one_writer.REST, 0.15),
        (one_writer.KEPT_ZONES, 1024),
    ],
)
def test_what_a_provider_is_asked_for_is_bounded(figure: object, value: object) -> None:
    assert figure == value


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        (txt_cleanup.REMOVALS_AT_ONCE, 8),
        (txt_cleanup.BATCH, 32),
        (txt_cleanup.FIRST_PAUSE, 10.0),
        (txt_cleanup.LONGEST_PAUSE, 3600.0),
        (txt_cleanup.IDLE, 15.0),
        (txt_cleanup.LOUD_AFTER, 5),
        (txt_cleanup.GRACE, 5.0),
    ],
)
def test_removals_come_this_often_and_no_more_at_once(figure: float, value: float) -> None:
    assert figure == value

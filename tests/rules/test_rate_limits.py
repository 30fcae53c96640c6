"""Token buckets: what is taken, what is refused for how long, and what does not confuse them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acmehub.rules.rate_limits import (
    AT_ONCE,
    DAY,
    HOUR,
    SECOND,
    RateLimit,
    TokensLacking,
    TokensTaken,
    charge,
    limit,
    name_set_subject,
    seconds_of,
    take,
)

NOW = 1_800_000_000 * SECOND
THREE = limit("three", 3, HOUR, "things of this account")


def spend(buckets: dict[str, int], limit: RateLimit, now: int, cost: int = 1) -> TokensTaken | TokensLacking:
    result = take(buckets, [charge(limit, "me", cost)], now)
    if isinstance(result, TokensTaken):
        buckets.update(result.full_at)
    return result


def test_as_many_as_the_number_at_once_then_one_each_interval_and_not_a_moment_before() -> None:
    buckets: dict[str, int] = {}
    assert [isinstance(spend(buckets, THREE, NOW), TokensTaken) for _ in range(4)] == [True, True, True, False]
    refused = spend(buckets, THREE, NOW)
    assert isinstance(refused, TokensLacking)
    assert refused.wait == 1200 * SECOND
    assert isinstance(spend(buckets, THREE, NOW + refused.wait - 1), TokensLacking)
    assert isinstance(spend(buckets, THREE, NOW + refused.wait), TokensTaken)
    assert isinstance(spend(buckets, THREE, NOW + refused.wait), TokensLacking)
    assert buckets.keys() == {"three/me"}


def test_a_bucket_that_rests_is_full_and_not_more() -> None:
    buckets: dict[str, int] = {}
    spend(buckets, THREE, NOW)
    later = NOW + 1000 * 3600 * SECOND
    assert sum(isinstance(spend(buckets, THREE, later), TokensTaken) for _ in range(9)) == 3


def test_what_costs_more_than_the_number_takes_a_whole_bucket() -> None:
    buckets: dict[str, int] = {}
    assert isinstance(spend(buckets, THREE, NOW, 100), TokensTaken)
    refused = spend(buckets, THREE, NOW, 100)
    assert isinstance(refused, TokensLacking)
    assert refused.wait == 3600 * SECOND


def test_all_or_none_and_the_longest_wait_is_named() -> None:
    one = limit("one", 1, DAY, "orders")
    buckets: dict[str, int] = {}
    charges = [charge(THREE, "me", 2), charge(one, "me")]
    first = take(buckets, charges, NOW)
    assert isinstance(first, TokensTaken)
    buckets.update(first.full_at)
    second = take(buckets, charges, NOW)
    assert isinstance(second, TokensLacking)
    assert second.charge.limit is one
    assert take(buckets, charges[::-1], NOW) == second
    assert isinstance(spend(buckets, THREE, NOW), TokensTaken)  # the third is still there


def test_one_bucket_that_is_charged_twice_is_charged_twice() -> None:
    assert isinstance(take({}, [charge(THREE, "me", 2), charge(THREE, "me", 2)], NOW), TokensLacking)


def test_requests_wait_for_their_turn_where_a_limit_lets_them() -> None:
    pace = limit("pace", 2, 1.0, "orders", turn_within=1.0)
    buckets: dict[str, int] = {}
    results = [spend(buckets, pace, NOW) for _ in range(5)]
    assert [result.wait for result in results] == [0, 0, SECOND // 2, SECOND, SECOND // 2]
    assert [isinstance(result, TokensTaken) for result in results] == [True] * 4 + [False]


def test_a_clock_that_was_put_back_and_a_limit_that_was_lowered_lock_nobody_out() -> None:
    buckets = {"three/me": NOW + 10 * 3600 * SECOND}
    assert isinstance(spend(buckets, THREE, NOW), TokensTaken)
    buckets = {"three/me": NOW + 3600 * SECOND}
    assert isinstance(
        spend(buckets, THREE, NOW - 60 * SECOND), TokensLacking
    )  # a clock that is corrected gives nothing away


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 4)), max_size=60))
def test_no_window_ever_has_more_than_twice_the_number(steps: list[tuple[int, int]]) -> None:
    buckets: dict[str, int] = {}
    now, taken = NOW, []
    for pause, cost in steps:
        now += pause * SECOND
        if isinstance(spend(buckets, THREE, now, cost), TokensTaken):
            taken.append((now, min(cost, 3)))
    for start, _ in taken:
        assert sum(cost for at, cost in taken if start <= at < start + 3600 * SECOND) < 2 * 3


def test_a_limit_says_what_it_is() -> None:
    assert THREE.text == "things of this account: at most 3 an hour (limit three)"
    assert limit("open", 5, AT_ONCE, "open orders").text == "open orders: at most 5 at once (limit open)"


@pytest.mark.parametrize(("wait", "seconds"), [(0, 1), (1, 1), (SECOND, 1), (SECOND + 1, 2), (90 * SECOND, 90)])
def test_retry_after_is_whole_seconds_and_never_too_early(wait: int, seconds: int) -> None:
    assert seconds_of(wait) == seconds


def test_a_hundred_names_make_a_short_key() -> None:
    names = " ".join(f"{number}.example.com" for number in range(100))
    assert len(name_set_subject("a" * 44, names)) < 90
    assert name_set_subject("a", names) != name_set_subject("b", names)

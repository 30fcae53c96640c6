"""Pauses: one formula and one jitter for the whole product."""

import ast
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from acmehub.runtime.backoff import PollCounts, back_off, jittered, poll_in

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "core" / "acmehub" / "runtime" / "backoff.py"
DRAWS = {"uniform", "random", "randint", "randrange", "triangular", "expovariate", "gauss"}


def second_formulas(source: str) -> Iterator[str]:
    """Powers whose exponent is computed, and random numbers."""
    for node in ast.walk(ast.parse(source)):
        power = (
            isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and not isinstance(node.right, ast.Constant)
        )
        draw = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in DRAWS
        if power or draw:
            yield ast.unparse(node)


def test_nobody_else_has_a_back_off_or_a_jitter() -> None:
    testing = ROOT / "core" / "acmehub" / "testing"
    product = [*(ROOT / "core").rglob("*.py"), *(ROOT / "plugins").rglob("acmehub_*/**/*.py")]
    found = {
        str(path.relative_to(ROOT)): lines
        for path in product
        if path != HOME and testing not in path.parents and (lines := list(second_formulas(path.read_text())))
    }
    assert found == {}
    assert len(list(second_formulas(HOME.read_text()))) == 2


@pytest.mark.parametrize("line", ["pause = 5.0 * 2 ** min(attempts, 12)", "pause *= rng.uniform(0.8, 1.2)"])
def test_a_second_formula_is_found(line: str) -> None:
    assert list(second_formulas(line))


def test_pauses_double_up_to_the_longest() -> None:
    assert [back_off(number) for number in (1, 2, 3, 8, 9, 10_000)] == [2.0, 4.0, 8.0, 256.0, 300.0, 300.0]
    assert [back_off(number, first=10.0, longest=3600.0) for number in (1, 2, 10_000)] == [10.0, 20.0, 3600.0]


def test_the_other_sides_retry_after_lengthens_a_pause_up_to_an_hour() -> None:
    assert back_off(1, 30.0) == 30.0
    assert back_off(5, 30.0) == 32.0
    assert back_off(1, 86_400.0) == 3600.0


def test_polls_grow_to_five_seconds_unless_the_other_side_says_when() -> None:
    assert poll_in(1, first=0.04) == 0.04
    assert poll_in(2, first=0.04) == pytest.approx(0.08)
    assert poll_in(1000, first=0.04) == 5.0
    assert poll_in(1, 30.0, first=0.04) == 30.0
    assert poll_in(9, 0.0, first=0.04) == 0.25
    assert poll_in(1, 86_400.0, first=0.04) == 3600.0


def test_jitter_is_never_early_and_at_most_a_fifth_late() -> None:
    rng = Random(1)
    drawn = [jittered(10.0, rng) for _ in range(1000)]
    assert 10.0 <= min(drawn) < 10.1
    assert 11.9 < max(drawn) <= 12.0
    spread = [jittered(10.0, rng, spread=60.0) for _ in range(1000)]
    assert 10.0 <= min(spread) < 11.0
    assert 69.0 < max(spread) <= 70.0


def test_polls_are_counted_by_order_and_phase() -> None:
    polls = PollCounts()
    assert [polls.next("a", "issuance"), polls.next("a", "issuance"), polls.next("a", "validation")] == [1, 2, 1]
    assert polls.next("b", "issuance") == 1

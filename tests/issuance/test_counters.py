"""Nothing is decided by the words of a timeline: they may be reworded."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CORE = Path(__file__).resolve().parents[2] / "core" / "acmehub"
ROOMS = ("models", "rules", "runtime", "dns01", "validation", "issuance", "acme", "admin")
WORDS = {"detail", "last_error"}
TESTS = {"startswith", "endswith", "find", "index", "count"}


def decisions_by_words(source: str) -> Iterator[str]:
    """Comparisons of, and questions to, the texts that events and problems carry."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Compare(left=left, comparators=others):
                if any(isinstance(item, ast.Attribute) and item.attr in WORDS for item in (left, *others)):
                    yield ast.unparse(node)
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr=text), attr=verb)):
                if text in WORDS and verb in TESTS:
                    yield ast.unparse(node)


def test_no_decision_compares_words() -> None:
    found = {
        str(path.relative_to(CORE)): lines
        for room in ROOMS
        for path in (CORE / room).rglob("*.py")
        if (lines := list(decisions_by_words(path.read_text())))
    }
    assert found == {}


@pytest.mark.parametrize(
    "line",
    ["sum(item.detail == 'gone' for item in timeline)", "'gone' in event.detail", "event.detail.startswith('gone')"],
)
def test_a_comparison_of_words_is_found(line: str) -> None:
    assert list(decisions_by_words(line))

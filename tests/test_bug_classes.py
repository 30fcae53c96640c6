"""docs/bug-classes.md: each test that it names is there, and each class has one that was seen red."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "bug-classes.md"
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
DEFINED = re.compile(r"^ *(?:async )?def (test_\w+)\(", re.MULTILINE)


def rows() -> list[list[str]]:
    """The cells of every row: the class, the tests, how the code was broken to see them red."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and not line.startswith("| class")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def defined(path: str) -> set[str]:
    """The tests of a file, from `tests/`, or of a contract suite, from the top."""
    found = next((place for place in (ROOT / "tests" / path, ROOT / path) if place.is_file()), None)
    return set(DEFINED.findall(found.read_text())) if found is not None else set()


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:60])
def test_a_class_of_bugs_has_tests_that_are_there_and_were_red(row: list[str]) -> None:
    what, shown, broken = row
    named = NAMED.findall(shown)
    assert what
    assert broken
    assert named
    assert [(path, test) for path, test in named if test not in defined(path)] == []


def test_no_class_is_left_out() -> None:
    assert len(rows()) >= 46  # docs/reliability.md section 6: 37 classes and nine rules

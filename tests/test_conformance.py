"""docs/conformance.md: each test that it names is there, and what a server MUST do is shown by one."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
PAGE = TESTS.parent / "docs" / "conformance.md"
NAMED = re.compile(r"`([\w/]+/test_\w+\.py)::(test_\w+)`")
DEFINED = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)
LEVELS = ("MUST", "SHOULD")


def rows() -> list[list[str]]:
    """The cells of every row that has a level."""
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.read_text().splitlines()]
    return [row for row in cells if len(row) > 1 and row[1] in LEVELS]


def test_every_test_that_is_named_is_there() -> None:
    named = NAMED.findall(PAGE.read_text())
    files = {path: set(DEFINED.findall((TESTS / path).read_text())) for path, _ in named if (TESTS / path).exists()}
    assert [(path, test) for path, test in named if test not in files.get(path, ())] == []
    assert len(named) > 100


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row[0]} {row[2][:40]}")
def test_what_a_server_has_to_do_is_shown_by_a_test(row: list[str]) -> None:
    section, level, what, shown = row
    assert re.fullmatch(r"\d+(\.\d+)*(, \d+(\.\d+)*)*", section)
    assert what
    assert NAMED.search(shown) or (level == "SHOULD" and "**Deviation:**" in shown)


def test_a_reference_is_written_in_one_way() -> None:
    loose = re.findall(r"(?<![`\w/])[\w/]*test_\w+\.py::\w+", PAGE.read_text())
    assert loose == []
    assert sum(row[1] == "MUST" for row in rows()) > 60

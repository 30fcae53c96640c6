"""docs/architecture.md: the files that it names are there, and every room and direct dependency has its row.

Beside it the crash points of docs/reliability.md, "Crashes".
"""

import re
import tomllib
from pathlib import Path

import pytest

from tests.map import core

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()
PATH = re.compile(r"`((?:[\w.-]+/)+(?:[\w-]+\.\w+)?|[\w/-]+/[\w-]+)`")
PLACES = (ROOT / "core" / "acmehub", ROOT / "core", ROOT)


def column(first: str) -> list[str]:
    """The names in the first column of the table that begins with `| first |`."""
    table = PAGE.partition(f"| {first} |")[2].partition("\n\n")[0]
    return [name for row in table.splitlines()[2:] for name in re.findall(r"[\w/.-]+", row.split("|")[1])]


@pytest.mark.parametrize("path", sorted(set(PATH.findall(PAGE))))
def test_a_file_that_is_named_is_there(path: str) -> None:
    assert any((place / path).exists() for place in PLACES)


def test_every_room_has_a_row() -> None:
    rows = {name.rstrip("/").replace("/", ".") for name in column("room")}
    rooms = {room.removeprefix("acmehub.") for room in core().rooms}
    assert rooms - rows - {"plugins.ca_local"} == set()


def test_every_direct_dependency_has_a_row_and_no_other() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [re.split(r"[<>=;]", requirement)[0] for requirement in project["dependencies"]]
    assert sorted(column("package")) == sorted(named)


def test_the_crash_points_are_those_of_the_page_in_their_sequence() -> None:
    source = (ROOT / "core" / "acmehub" / "runtime" / "crash_points.py").read_text()
    page = (ROOT / "docs" / "reliability.md").read_text()
    assert re.findall(r'^    [A-Z_]+ = "(\w+)"', source, re.MULTILINE) == re.findall(r"^\| `(\w+)`", page, re.MULTILINE)

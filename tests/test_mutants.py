"""`make mutants` (scripts/mutants) on a small project: each kind of break is made, and noticed where a test looks."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.mutants.__main__ import Project
from scripts.mutants.covering import Covering
from scripts.mutants.places import described, places

ROOT = Path(__file__).resolve().parent.parent
MODULE = '''"""A docstring is not broken: 1 < 2."""

import logging

_log = logging.getLogger(__name__)
LIMIT = 3
KINDS = frozenset({"a", "b"})


class Box:
    size: int = 5

    def fill(self, more: int, flag: bool = True) -> int:
        """Also not broken: `size == 5`."""
        _log.info("size %d", self.size + 1)
        if flag and not more < LIMIT:
            raise ValueError(more)
        self.size = more
        return self.size

    async def kind(self, name: str) -> str:
        try:
            return dict(a=name, b="none")[name]
        except KeyError:
            return "unknown" if name == "c" else "other"

'''
OPERATORS = {
    "if flag and (not more < LIMIT):": {
        "if flag or not more < LIMIT:", "if flag and more < LIMIT:", "if flag and (not more <= LIMIT):",
        "if flag and (not more >= LIMIT):",
    },
    "raise ValueError(more)": {"pass"},
    "self.size = more": {"pass"},
    "return self.size": {"return None"},
    "return dict(a=name, b='none')[name]": {"return dict(a='none', b=name)[name]", "return None"},
    "except KeyError:": {"except ():"},
    "return 'unknown' if name == 'c' else 'other'": {
        "return 'unknown' if name != 'c' else 'other'", "return 'unknown' if name == 'cX' else 'other'", "return None",
    },
    "LIMIT = 3": {"LIMIT = 4"},
    "KINDS = frozenset({'a', 'b'})": {"KINDS = frozenset({'a'})", "KINDS = frozenset({'b'})"},
    "size: int = 5": {"size: int = 6"},
    "def fill(self, more: int, flag: bool=True) -> int:": {"def fill(self, more: int, flag: bool=False) -> int:"},
}  # fmt: skip
SMALL = """LIMIT = 3


def fits(size):
    return size < LIMIT


def wait(more):
    while more != 0:
        more -= 1


def unseen():
    return 1
"""
TESTS = """from product.room.box import fits, wait


def test_what_is_small_fits():
    assert [fits(size) for size in (1, 3)] == [True, False]


def test_waiting_ends():
    wait(1)


def test_a_failing_test_is_not_asked():
    assert wait(1)
"""
SURVIVORS = [("while more != 0:", "while more != 1:"), ("while more != 0:", "while more == 0:")]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    files = {
        "product/room/box.py": SMALL,
        "tests/box/test_box.py": TESTS,
        "pyproject.toml": '[tool.pytest.ini_options]\naddopts = "--import-mode=importlib"\npythonpath = ["."]\n'
        'markers = ["slow: ", "e2e: "]\n',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    return tmp_path


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = "import sys, pathlib; from scripts.mutants.__main__ import Project, main; root = pathlib.Path.cwd()\n"
    program += "sys.exit(main(sys.argv[1:], Project(root, ['product/room'], ['tests/box'])))"
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, cwd=root, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)


def test_each_kind_of_break_is_made_and_nothing_else() -> None:
    made: dict[str, set[str]] = {}
    for at, way in places(MODULE):
        mutant = described("box.py", MODULE, at, way)
        made.setdefault(mutant.before, set()).add(mutant.after)
    assert made == OPERATORS


def test_what_no_test_notices_is_named_and_a_second_run_tries_nothing_again(small: Path) -> None:
    done = run(small, "--workers", "2", "--margin", "1")
    assert done.returncode == 1, done.stderr
    assert "\n2 tests hold\n" in done.stdout  # nothing was broken
    named = re.findall(r"^(\w+): .*\n  - (.*)\n  \+ (.*)", done.stdout, re.MULTILINE)
    assert sorted((before, after) for outcome, before, after in named if outcome == "survived") == SURVIVORS
    assert {after for outcome, _, after in named if outcome == "uncovered"} == {"return None", "return 2"}
    assert (small / "product/room/box.py").read_text() == SMALL
    (small / "tests" / "mutants-that-may-live.toml").write_text(
        '[[mutant]]\nmodule = "product/room/box.py"\nin = "wait"\nline = "while more != 0:"\n'
        'broken = "while more == 0:"\nwhy = "nobody sees a pause"\n'
    )
    again = run(small, "--dirty")
    assert " left, " not in again.stdout
    assert "may live: nobody sees a pause" in again.stdout
    assert run(small).returncode == 2  # a sample stands for a commit


def test_a_test_that_fails_by_itself_spoils_the_run(small: Path) -> None:
    (small / "tests" / "box" / "test_box.py").write_text(
        "from pathlib import Path\nfrom product.room.box import fits\n\n"
        "def test_that_passes_once():\n    assert fits(1)\n    Path(__file__).with_name('seen').touch(exist_ok=False)\n"
    )
    done = run(small, "--dirty", "--count", "1")
    assert done.returncode == 2
    assert "test_that_passes_once fails although nothing is broken" in done.stdout


def test_the_seed_decides_the_sample(small: Path) -> None:
    def sample(seed: int) -> list[str]:
        return [mutant.id for mutant in Project(small, ["product/room"], []).sample(seed, 4)]

    assert len(sample(7)) == 4
    assert sample(7) == sample(7)
    assert sample(7) != sample(8)


def test_tests_are_chosen_by_turns_of_their_files_and_folder_by_folder() -> None:
    covering = Covering(
        ["t/a/x::1", "t/a/x::2", "t/b/y::1", "t/a/z::1"], [1.0, 2.0, 0.5, 3.0], {"m": {4: [0, 1, 2, 3]}}
    )
    assert covering.chosen(covering.of("m", [4, 5]), 3) == [2, 0, 3]
    assert covering.of("m", [5]) == set()

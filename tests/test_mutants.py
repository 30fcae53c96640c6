"""`make mutants` (scripts/mutants) on a small project: each kind of break is made, and noticed where a test looks."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.mutants import processes
from scripts.mutants.__main__ import Project
from scripts.mutants.covering import Covering
from scripts.mutants.places import described, places

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {"PYTHONPATH": str(ROOT)}
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
SMALL = """def at_most(number):
    return number


LIMIT = at_most(3)


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


def command(*arguments: str) -> list[str]:
    program = "import sys, pathlib; from scripts.mutants.__main__ import Project, main; root = pathlib.Path.cwd()\n"
    program += "sys.exit(main(sys.argv[1:], Project(root, ['product/room'], ['tests/box'])))"
    return [sys.executable, "-c", program, *arguments]


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=root, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def test_each_kind_of_break_is_made_and_nothing_else() -> None:
    made: dict[str, set[str]] = {}
    for at, way in places(MODULE):
        mutant = described("box.py", MODULE, at, way)
        made.setdefault(mutant.before, set()).add(mutant.after)
    assert made == OPERATORS


def test_what_no_test_notices_is_named_and_a_second_run_tries_nothing_again(small: Path) -> None:
    done = run(small, "--workers", "2", "--margin", "0.3")
    assert done.returncode == 1, done.stderr
    assert sum(map(int, re.findall(r"^(\d) tests hold$", done.stdout, re.MULTILINE))) == 2 + 2  # before and after
    assert "test_waiting_ends (no end)" in done.stdout
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


@pytest.mark.parametrize("runs", [1, 2])
def test_a_test_that_fails_by_itself_is_named_and_proves_nothing(small: Path, runs: int) -> None:
    """It passes with coverage only, or also in the control at the beginning: then the one at the end finds it."""
    (small / "tests" / "box" / "test_box.py").write_text(
        "from pathlib import Path\nfrom product.room.box import fits\n\n"
        "def test_that_passes_at_first():\n    assert fits(1)\n    seen = Path(__file__).with_name('seen')\n"
        "    seen.open('a').write('.')\n    assert seen.stat().st_size <= " + str(runs) + "\n"
    )
    done = run(small, "--dirty", "--count", "1", "--workers", "1", "--seed", "00000002")
    assert ("noticed" in done.stdout.partition("\nroom ")[0]) is (runs == 2)
    assert "not asked, as it fails although nothing is broken: tests/box/test_box.py::test_that" in done.stdout
    assert "0.0% of 1 noticed" in done.stdout
    assert done.returncode == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell a process that its parent has ended")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_stays_when_the_run_is_ended(small: Path, how: signal.Signals) -> None:
    (small / "tests" / "box" / "test_box.py").write_text(
        "import subprocess, time\nfrom pathlib import Path\nfrom product.room.box import fits\n\n"
        "def test_with_a_server():\n"
        "    server = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
        "    pids = Path(__file__).with_name('pids')\n    pids.open('a').write(f'{server.pid} ')\n"
        "    if len(pids.read_text().split()) > 1:\n        time.sleep(1000)\n"
        "    server.kill()\n    server.wait()\n    assert fits(1)\n"
    )
    pids = small / "tests" / "box" / "pids"
    with subprocess.Popen(command("--dirty"), cwd=small, env=ENVIRONMENT, stdout=subprocess.PIPE) as process:
        until(lambda: pids.exists() and len(pids.read_text().split()) > 1)
        server = Path("/proc", pids.read_text().split()[1])
        assert server.exists()
        process.send_signal(how)
    until(lambda: not server.exists())


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_clock_leaves_pauses_and_a_busy_machine_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = {"real": 0.0, "waited": 0.0}
    monkeypatch.setattr("scripts.mutants.processes.time.monotonic", lambda: now["real"])
    monkeypatch.setattr(processes, "_waited", lambda: now["waited"])
    clock = processes.Clock()
    for real, waited in ((1.0, 0.0), (2.0, 0.5), (3.0, 1.5)):
        now.update(real=real, waited=waited)
        clock.tick()
    assert clock.now == pytest.approx(1 + 0.5 + 0.4)
    assert not clock.paused_since(0.0)
    now["real"] = 100.0
    clock.tick()
    assert clock.now == pytest.approx(1 + 0.5 + 0.4 + 2 * clock.TICK)
    assert clock.paused_since(0.0)
    assert not clock.paused_since(clock.now)


def test_the_seed_decides_the_sample(small: Path) -> None:
    def sample(seed: int) -> list[str]:
        return [mutant.id for mutant in Project(small, ["product/room"], []).sample(seed, 4)]

    assert len(sample(7)) == 4
    assert sample(7) == sample(7)
    assert sample(7) != sample(8)


def test_the_likeliest_tests_come_first() -> None:
    names = ["t/a/test_x.py::1[a]", "t/a/test_x.py::1[b]", "t/b/test_y.py::1", "t/a/test_z.py::1", "t/b/test_y.py::2"]
    lines = {"a/x.py": {4: [0, 1, 2, 3, 4], 5: [3]}, "a/y.py": {line: [2] for line in range(8)}}
    covering = Covering(names, [1.0, 1.1, 1.0, 1.0, 1.0], lines, shared=[[], [], [], [], ["a server"]])
    covering.setup["a server"] = 9.0
    positions = covering.of("a/x.py", [4, 6])
    assert covering.of("a/x.py", [6]) == set()
    # of the file; of it as well but alike; of the room; of another room with less and with more; with a server
    assert covering.chosen(positions, "a/x.py", 99) == [0, 1, 3, 2, 4]
    assert covering.chosen(positions, "a/x.py", 2) == [0, 1]
    assert covering.chosen(positions, "a/x.py", 99, 4) == [0, 3, 1, 2, 4]  # 3 alone runs the next line


def test_tests_that_name_a_constant_are_asked_first(small: Path) -> None:
    tests = small / "tests" / "box"
    (tests / "test_figures.py").write_text(
        "import pytest\nfrom product.room import box\n\n"
        "@pytest.mark.parametrize('figure', [box.LIMIT])\ndef test_figures(figure):\n    assert figure == 3\n\n"
        "def test_another():\n    pass\n"
    )
    (tests / "test_elsewhere.py").write_text("def test_of_another_module():\n    LIMIT = 3\n    assert LIMIT\n")
    project = Project(small, ["product/room"], ["tests/box"])
    made = [described("product/room/box.py", SMALL, at, way) for at, way in places(SMALL)]
    limit = next(it for it in made if it.before == "LIMIT = at_most(3)")
    other = next(it for it in made if it.before == "return number")
    name = "tests/box/test_figures.py::test_figures"
    assert project.naming(limit, Covering([], [], {})) == [name]
    known = [f"{name}[1]", f"{name}[2]", "tests/box/test_figures.py::test_figures_too"]
    assert project.naming(limit, Covering(known, [1.0] * 3, {})) == known[:2]
    assert project.naming(other, Covering([], [], {})) == []

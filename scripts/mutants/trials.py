"""Mutants under test: a plugin of pytest that forks one process for each mutant.

Files stay as they are. A break inside of a function is put into the functions of a process in which all has been
imported and collected. One that shows only when a module is imported (a default value, a constant) is put in as the
module's code, in a process that has imported the libraries and nothing of the product yet. Before and after them,
controls run tests while nothing is broken: a test that fails then proves nothing.
"""

import contextlib
import functools
import gc
import importlib
import importlib.machinery
import os
import selectors
import shutil
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import msgspec
import pytest

from scripts.mutants.covering import Covering
from scripts.mutants.places import Mutant, broken_code, replacements
from scripts.mutants.processes import Clock, adopt_orphans, end, end_orphans, end_with_parent

ENDED = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)  # any other end without a verdict is an error
SLOWER = 5  # times as long as in the covering run, and the margin, is too long for a test
CACHE = functools._lru_cache_wrapper


class Trial(msgspec.Struct, frozen=True):
    """A mutant and what came of it: `noticed` (by a test, or by none in time), `survived`, or `uncovered`.

    A control, which breaks nothing, `held`, or each test that fails in it is `unreliable`.
    """

    mutant: Mutant
    outcome: str
    by: str = ""  # the test that failed
    tests: int = 0  # how many were chosen
    seconds: float = 0.0
    hangs: bool = False  # that test did not end


class Todo(msgspec.Struct):
    """A mutant with the node ids of its tests; `codes` take the place of others, None where imports show the break."""

    mutant: Mutant
    tests: list[str]
    codes: dict[CodeType, CodeType] | None = None


class Trials:
    """The plugin: tries mutants (each with its tests), as many at once as there are workers."""

    def __init__(
        self,
        root: Path,
        covering: Covering,
        controls: Sequence[Todo],
        todo: Sequence[Todo],
        workers: int,
        margin: float,
        done: Callable[[Trial], None],
    ) -> None:
        self.root = root
        self.covering = covering
        self.controls = controls
        self.todo = todo
        self.workers = workers
        self.margin = margin  # seconds
        self.done = done
        self.is_child = False
        self._seconds = dict(zip(covering.tests, covering.seconds, strict=True))
        self._bodies: list[Todo] = []
        self._witnesses = set[str]()  # tests that noticed a break
        self._running: dict[int, _Running] = {}
        self._again: list[Todo] = []
        self._hung = set[str]()  # mutants that hung once
        self._selector = selectors.DefaultSelector()
        self._clock = Clock()
        self._folder = Path()
        self._current: Todo | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> None:
        """Run the controls, try what shows at import only, then let everything be collected for the others."""
        adopt_orphans()
        _import_all(self.covering.libraries)
        imports = list[Todo]()
        for todo in self.todo:
            path = str(self.root / todo.mutant.file)
            todo.codes = replacements(Path(path).read_text(), path, todo.mutant)
            (imports if todo.codes is None else self._bodies).append(todo)
        mine = self._try(self.controls) or self._try(imports)
        if mine:
            path = str(self.root / mine.mutant.file)
            if mine.mutant.way >= 0:
                _import_as(path, broken_code(Path(path).read_text(), path, mine.mutant))
        session.config.args = _files([mine] if mine else self.todo)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """In the first process: try the others. In a mutant's: leave its tests for pytest to run."""
        if not self.is_child:
            gc.unfreeze()  # tests/conftest.py froze what was imported; frozen objects are not listed
            functions, caches = _functions(), [it for it in gc.get_objects() if isinstance(it, CACHE)]
            gc.freeze()
            mine = self._try(self._bodies) or self._try(self._last_controls())
            if mine is None:
                return True
            for code, other in (mine.codes or {}).items():
                for function in functions.get(code, ()):
                    function.__code__ = other
            for cache in caches:
                cache.cache_clear()  # its values were found by the code before the break
        if self._current:
            session.items[:] = _named(self._current.tests, session.items)
            session.config.option.maxfail = int(self._current.mutant.way >= 0)  # a control names all that fail
        for item in session.items:
            item.add_marker(pytest.mark.timeout(0), append=False)  # the first process looks after that
        return None

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if self.is_child:
            (self._folder / "now").write_text(nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_collectreport(self, report: pytest.CollectReport) -> Iterator[None]:
        if self.is_child and report.failed:
            self._fails(report.nodeid)
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self.is_child and report.failed:
            self._fails(report.nodeid)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if self.is_child and exitstatus not in ENDED and not (self._folder / "verdict").exists():
            self._fails(f"exit status {exitstatus:d} of pytest")

    def pytest_unconfigure(self) -> None:
        """After Ctrl-C, end what runs."""
        for running in [] if self.is_child else list(self._running.values()):
            self._end(running)

    def _fails(self, test: str) -> None:
        with (self._folder / "verdict").open("a") as file:
            file.write(f"{test}\n")

    def _last_controls(self) -> list[Todo]:
        """Each test that noticed something runs once more, with nothing broken."""
        known = [test for test in self.covering.tests if test in self._witnesses]
        size = -(-len(known) // self.workers) or 1
        parts = [known[at : at + size] for at in range(0, len(known), size)]
        return [Todo(self.controls[0].mutant, part, {}) for part in parts]

    def _try(self, todos: Iterable[Todo]) -> Todo | None:
        """Try all of them. In the process of one, which that one is."""
        queue = deque(todos)
        while queue or self._running:
            if not queue or len(self._running) >= self.workers:
                self._await_one()
                queue += self._again
                self._again.clear()
            elif self._fork(todo := queue.popleft()):
                return todo
        return None

    def _fork(self, todo: Todo) -> bool:
        """True in the mutant's process."""
        folder = Path(tempfile.mkdtemp(prefix="mutant-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        child = os.fork()
        if child:
            running = _Running(todo, folder, child, os.pidfd_open(child), self._clock.now, time.monotonic())
            self._running[running.handle] = running
            self._selector.register(running.handle, selectors.EVENT_READ)
            return False
        os.setsid()  # with what the tests start, for one signal to all
        end_with_parent()
        adopt_orphans()
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(folder)
        output = os.open(folder / "output", os.O_RDWR | os.O_CREAT)
        for stream in (0, 1, 2):
            os.dup2(output, stream)
        self.is_child = True
        self._folder = folder
        self._current = todo
        return True

    def _await_one(self) -> None:
        """Until one has ended, or was ended because it hangs."""
        count = len(self._running)
        while len(self._running) == count:
            ready = {key.fd for key, _ in self._selector.select(self._clock.TICK)}
            self._clock.tick()
            for running in list(self._running.values()):
                if running.handle in ready:
                    self._judge(running, hangs=False)
                elif self._clock.now > running.since(self._clock.now) + self._limit(running.test):
                    self._judge(running, hangs=True)

    def _limit(self, test: str) -> float:
        return self.margin + SLOWER * self._seconds[test] if test in self._seconds else 6 * self.margin

    def _judge(self, running: "_Running", *, hangs: bool) -> None:
        """The trial is over: say what came of it, or put it back."""
        status, verdict, output = self._end(running)
        todo = running.todo
        failed = verdict.splitlines()
        if not failed and hangs:
            failed = [running.test or "no end of the start"]
        elif not failed and (code := os.waitstatus_to_exitcode(status)) not in ENDED:
            failed = [f"ended by signal {-code}" if code < 0 else f"ended with status {code}"]
        if failed and failed[0].startswith("exit status"):
            failed = [f"{failed[0]}: " + " ".join(output.split())[-300:]]
        paused = self._clock.paused_since(running.begun)
        if failed and (paused or (hangs and todo.mutant.id not in self._hung)):
            self._hung |= {todo.mutant.id} if not paused else set()
            self._again.append(todo)  # a test may fail because the machine slept; a hang is believed when seen twice
            return
        took = round(time.monotonic() - running.since_start, 2)
        if todo.mutant.way < 0:
            if not failed:
                self.done(Trial(todo.mutant, "held", "", len(todo.tests), took))
            for test in failed:
                self.done(Trial(todo.mutant, "unreliable", test, len(todo.tests), took))
                for other in self.todo:
                    other.tests = [name for name in other.tests if name != test]
        elif failed:
            self._witnesses |= {*failed}
            self.done(Trial(todo.mutant, "noticed", failed[0], len(todo.tests), took, hangs))
        else:
            self.done(Trial(todo.mutant, "survived" if todo.tests else "uncovered", "", len(todo.tests), took))

    def _end(self, running: "_Running") -> tuple[int, str, str]:
        """End the process and what it started; its exit status, the tests that failed, its output."""
        status = end(running.child)
        self._selector.unregister(running.handle)
        os.close(running.handle)
        del self._running[running.handle]
        end_orphans(others={it.child for it in self._running.values()})
        texts = [path.read_text(errors="replace") if path.exists() else "" for path in
                 (running.folder / "verdict", running.folder / "output")]  # fmt: skip
        shutil.rmtree(running.folder, ignore_errors=True)
        return status, texts[0], texts[1]


class _Running(msgspec.Struct):
    todo: Todo
    folder: Path
    child: int
    handle: int  # of the process, for waiting
    begun: float  # by the clock of the trials
    since_start: float  # by the system's
    test: str = ""  # that runs now
    test_begun: float = -1.0

    def since(self, now: float) -> float:
        """When its present test began."""
        with contextlib.suppress(FileNotFoundError):
            test = (self.folder / "now").read_text()
            if test != self.test:
                self.test, self.test_begun = test, now
        return self.test_begun if self.test else self.begun


def _named(names: Sequence[str], items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The items of these names; a name may stand for all items of a file or a function, and may be unknown."""
    exact, found = {item.nodeid: item for item in items}, list[pytest.Item]()
    for name in names:
        within = (f"{name}[", f"{name}::")
        found += [exact[name]] if name in exact else [it for it in items if it.nodeid.startswith(within)]
    return found


def _files(todos: Iterable[Todo]) -> list[str]:
    return sorted({test.partition("::")[0] for todo in todos for test in todo.tests})


def _import_all(modules: Sequence[str]) -> None:
    with warnings.catch_warnings(action="ignore"):
        for name in modules:
            try:
                importlib.import_module(name)
            except ImportError:
                continue  # made by code, as `six.moves` is


def _import_as(path: str, code: CodeType) -> None:
    """The module of this file has this code."""
    loader: Any = importlib.machinery.SourceFileLoader
    read = loader.get_code
    loader.get_code = lambda self, name: code if self.path == path else read(self, name)


def _functions() -> dict[CodeType, list[FunctionType]]:
    found: dict[CodeType, list[FunctionType]] = {}
    for it in gc.get_objects():
        if type(it) is FunctionType:
            found.setdefault(it.__code__, []).append(it)
    return found

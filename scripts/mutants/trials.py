"""Mutants under test: a plugin of pytest that forks one process for each mutant.

Files stay as they are. A break inside of a function is put into the functions of a process in which all has been
imported and collected. One that shows only when a module is imported (a default value, a constant) is put in as the
module's code, in a process that has imported the libraries and nothing of the product yet.
"""

import contextlib
import functools
import gc
import importlib
import importlib.machinery
import os
import selectors
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import msgspec
import pytest

from scripts.mutants.covering import Covering
from scripts.mutants.places import Mutant, broken_code, replacements

TICK = 1.0  # seconds
PAUSED = 5.0  # seconds; a tick that long was a pause of the process
SLOWER = 10  # times as long as in the covering run, and the margin, is too long for a test


class Trial(msgspec.Struct, frozen=True):
    """A mutant and what came of it: `noticed` (by a test, or by none in time), `survived`, or `uncovered`."""

    mutant: Mutant
    outcome: str
    by: str = ""  # the test that failed
    tests: int = 0  # how many were chosen
    seconds: float = 0.0


class Trials:
    """The plugin: tries mutants (each with the positions of its tests), as many at once as there are workers."""

    def __init__(
        self,
        root: Path,
        covering: Covering,
        todo: Sequence[tuple[Mutant, list[int]]],
        workers: int,
        margin: float,
        only: Sequence[str],
        done: Callable[[Trial], None],
    ) -> None:
        self.root = root
        self.covering = covering
        self.todo = todo
        self.workers = workers
        self.margin = margin  # seconds
        self.only = only  # tests that are run for all, in place of those chosen for each
        self.done = done
        self.is_child = False
        self._running: dict[int, _Running] = {}
        self._selector = selectors.DefaultSelector()
        self._paused = 0.0  # when this process was found to have been stopped for a while
        self._verdict = Path()
        self._chosen: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> None:
        """Try what shows at import only, then let everything be collected for the others."""
        _import_all(self.covering.libraries)
        bodies, needed = [], set[str]()
        for mutant, tests in self.todo:
            path = str(self.root / mutant.file)
            source = Path(path).read_text()
            found = replacements(source, path, mutant)
            files = {self.covering.tests[test].partition("::")[0] for test in tests} | set(self.only)
            if found is not None:
                bodies.append((mutant, tests, found))
                needed |= files
            elif self._fork(mutant, tests):
                _import_as(path, broken_code(source, path, mutant))
                session.config.args = sorted(files)
                return
        self._await(0)
        self._bodies = bodies
        session.config.args = sorted(needed)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """In the first process: try the others. In a mutant's: leave its tests for pytest to run."""
        if not self.is_child:
            gc.unfreeze()  # tests/conftest.py froze what was imported; frozen objects are not listed
            functions = _functions()
            gc.freeze()
            for mutant, tests, found in self._bodies:
                if self._fork(mutant, tests):
                    for code, other in found.items():
                        for function in functions.get(code, ()):
                            function.__code__ = other
                    _forget_cached()
                    break
            else:
                self._await(0)
                return True
        items = {item.nodeid: item for item in session.items}
        seconds = dict(zip(self.covering.tests, self.covering.seconds, strict=True))
        if not self.only:
            session.items[:] = [items[name] for name in self._chosen if name in items]  # some ids have the time of day
        for item in session.items:
            item.add_marker(pytest.mark.timeout(SLOWER * seconds.get(item.nodeid, 1.0) + self.margin))
        return None

    @pytest.hookimpl(wrapper=True)
    def pytest_collectreport(self, report: pytest.CollectReport) -> Iterator[None]:
        if self.is_child and report.failed:
            self._verdict.write_text(report.nodeid)
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self.is_child and report.failed:
            self._verdict.write_text(report.nodeid)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if self.is_child and exitstatus != 0 and not self._verdict.exists():
            self._verdict.write_text(f"exit status {exitstatus:d} of pytest")

    def pytest_unconfigure(self) -> None:
        """After Ctrl-C, end what runs."""
        for running in [] if self.is_child else list(self._running.values()):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.child, signal.SIGKILL)
            shutil.rmtree(running.folder, ignore_errors=True)

    def _fork(self, mutant: Mutant, tests: list[int]) -> bool:
        """True in the mutant's process."""
        self._await(self.workers - 1)
        folder = Path(tempfile.mkdtemp(prefix="mutant-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        child = os.fork()
        if child:
            limit = 5 * self.margin + sum(SLOWER * self.covering.seconds[test] + 1 for test in tests)
            running = _Running(mutant, len(tests), folder, child, os.pidfd_open(child), time.monotonic(), limit)
            self._running[running.handle] = running
            self._selector.register(running.handle, selectors.EVENT_READ)
            return False
        os.setsid()  # with what the tests start, for one signal to all
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(folder)
        output = os.open(folder / "output", os.O_RDWR | os.O_CREAT)
        for stream in (0, 1, 2):
            os.dup2(output, stream)
        self.is_child = True
        self._chosen = [self.covering.tests[test] for test in tests]
        self._verdict = folder / "verdict"
        return True

    def _await(self, most: int) -> None:
        """Until no more than this many run."""
        while len(self._running) > most:
            before = time.monotonic()
            ready = {key.fd for key, _ in self._selector.select(TICK)}
            now = time.monotonic()
            if now - before > PAUSED:
                self._paused = now
            for running in list(self._running.values()):
                if running.handle in ready or now >= running.begun + running.limit:
                    self._end(running, late=running.handle not in ready)

    def _end(self, running: "_Running", *, late: bool) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.child, signal.SIGKILL)
        _, status = os.waitpid(running.child, 0)
        verdict = running.folder / "verdict"
        by = verdict.read_text() if verdict.exists() else ""
        if by.startswith("exit status"):
            by += ": " + " ".join((running.folder / "output").read_text().split())[-300:]
        if late:
            by = by or "no end in time"
        elif not os.WIFEXITED(status):
            by = by or f"ended by signal {os.WTERMSIG(status)}"
        self._selector.unregister(running.handle)
        os.close(running.handle)
        del self._running[running.handle]
        shutil.rmtree(running.folder, ignore_errors=True)
        took = round(time.monotonic() - running.begun, 2)
        if self._paused > running.begun:
            return  # the machine slept, or somebody stopped the processes: what was late says nothing
        self.done(Trial(running.mutant, "noticed" if by else "survived", by, running.tests, took))


class _Running(msgspec.Struct, frozen=True):
    mutant: Mutant
    tests: int
    folder: Path
    child: int
    handle: int  # of the process, for waiting
    begun: float
    limit: float


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


def _forget_cached() -> None:
    """What `functools.cache` keeps was found by the code before the break."""
    for it in gc.get_objects():
        if isinstance(it, functools._lru_cache_wrapper):
            it.cache_clear()

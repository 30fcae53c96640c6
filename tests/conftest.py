"""What all tests share: free ports, logs that are searched for secrets at the end, and no silent skips in CI."""

import functools
import gc
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_type_hints

import pytest

from acmehub.testing import hub_process
from tests.journal import Journal

TESTS = Path(__file__).resolve().parent
FAST = ("acme", "admin", "config", "models", "ports", "rules")
_JOURNAL = pytest.StashKey[Journal]()


@pytest.fixture(scope="session")
def journal(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Journal:
    """The run's `Journal`. A test that starts a server writes its output to `new_log` and names its secrets."""
    kept = Journal(tmp_path_factory.mktemp("logs"))
    request.config.stash[_JOURNAL] = kept
    return kept


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Gives a port of 127.0.0.1 that nothing listens on, for TCP and UDP, another one each time."""
    return hub_process.free_port


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not see the caller's `ACMEHUB_…`."""
    for name in [name for name in os.environ if name.startswith("ACMEHUB_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def loggers_as_they_were() -> Iterator[None]:
    """After the test, logs go where they went before it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks


# ------------------------------------------------------------------------------------------------- make check


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--part 2/3`: the second third of the files, for runs side by side."""
    parser.addoption("--part", metavar="I/N", default="1/1", help="collect every N-th file only, from the I-th on")


@pytest.hookimpl(tryfirst=True)
def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m fast`, do not even import the other folders; with `--part`, nor the files of other parts."""
    if collection_path.suffix != ".py" or collection_path.name == "conftest.py":
        return None
    if config.option.markexpr == "fast" and not _in_fast_folder(collection_path):
        return True
    part, parts = map(int, config.getoption("--part").split("/"))
    if parts == 1:
        return None
    files = sorted(collection_path.parent.glob("test_*.py"))
    return (collection_path in files and files.index(collection_path) % parts != part - 1) or None


def pytest_collection_finish() -> None:
    """What is imported by now stays: no collection of cycles looks at it again, which saves a tenth of the time."""
    _build_hubs_quickly()
    gc.collect()
    gc.freeze()


def _build_hubs_quickly() -> None:
    """What each hub of this process finds out for itself it finds out once: half of what it costs to build one."""
    if "acmehub.runtime.plugins" not in sys.modules:
        return  # no test here builds a hub
    from acmehub.runtime import plugins
    from acmehub.storage import codec

    vars(codec)["get_type_hints"] = functools.cache(get_type_hints)
    look = functools.lru_cache(8)(lambda _folders, find=plugins.installed_entry_points: find())
    plugins.installed_entry_points = lambda: list(look(_folders_of_plugins()))


def _folders_of_plugins() -> tuple[tuple[str, int], ...]:
    """The folders of `sys.path` with the time when something was last put there: a new plugin is seen."""
    found = [(name, Path(name)) for name in sys.path]
    return tuple((name, path.stat().st_mtime_ns if path.is_dir() else 0) for name, path in found)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Tests in the folders of `FAST` are `fast`, unless they are marked `slow` or `e2e`."""
    if _in_fast_folder(item.path) and not any(item.get_closest_marker(name) for name in ("slow", "e2e")):
        item.add_marker("fast")


def _in_fast_folder(path: Path) -> bool:
    return path.is_relative_to(TESTS) and path.relative_to(TESTS).parts[0] in FAST


@pytest.fixture(autouse=True)
def no_process_in_a_fast_test(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `fast` test that starts a process fails."""

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(f"a fast test starts no process: mark it slow, or move it ({arguments[1:2]})")

    if request.node.get_closest_marker("fast"):
        monkeypatch.setattr(subprocess.Popen, "__init__", refuse)


# ------------------------------------------------------------------------------------------- what ends the run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """With CI=true a skip is a failure, with its reason."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if report.skipped and os.environ.get("CI") == "true":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else getattr(report, "wasxfail", "")
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} did not run, and CI=true: {reason}"
    return report  # type: ignore[return-value]


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    """The same for a module that skips itself."""
    report: pytest.CollectReport = yield  # type: ignore[assignment]
    if report.outcome == "skipped" and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was not collected, and CI=true: {report.longrepr}"
    return report  # type: ignore[return-value]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """The run fails when a log holds a secret."""
    kept = session.config.stash.get(_JOURNAL, None)
    if kept is not None and kept.leaks():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the secrets found in logs."""
    kept = config.stash.get(_JOURNAL, None)
    for line in kept.leaks() if kept else []:
        terminalreporter.write_line(f"FAILED: a secret in a log: {line}", red=True)

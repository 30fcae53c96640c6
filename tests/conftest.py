"""What all tests share: free ports, logs that are searched for secrets at the end, and no silent skips in CI."""

import os
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.journal import Journal

_JOURNAL = pytest.StashKey[Journal]()


@pytest.fixture(scope="session")
def journal(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Journal:
    """The run's `Journal`; whoever starts a server writes its output to `new_log`, and says its secrets."""
    kept = Journal(tmp_path_factory.mktemp("logs"))
    request.config.stash[_JOURNAL] = kept
    return kept


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Gives a port of 127.0.0.1 that nothing listens on, for TCP and UDP, another one each time."""
    given: set[int] = set()

    def find() -> int:
        while True:
            with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
                tcp.bind(("127.0.0.1", 0))
                port: int = tcp.getsockname()[1]
                try:
                    udp.bind(("127.0.0.1", port))
                except OSError:
                    continue
            if port not in given:
                given.add(port)
                return port

    return find


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not see the caller's `ACMEHUB_…`."""
    for name in [name for name in os.environ if name.startswith("ACMEHUB_")]:
        monkeypatch.delenv(name)


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

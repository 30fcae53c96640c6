"""Runs the real command in a folder of the test's own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from acmehub.cli.root import run
from acmehub.cli.shared.remote_hub import MACHINE_VERBS
from acmehub.config import load_config
from tests.cli.served import TOKEN, serving

COMMAND = Path(sys.executable).with_name("acmehub")


class Cli:
    """`acmehub` in `folder`, with nothing of the caller's settings in its environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str, user: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ACMEHUB_")}
        return subprocess.run(
            [COMMAND, *arguments],
            cwd=self.folder,
            env={**kept, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            user=user or None,
        )

    def ok(self, *arguments: str, **environment: str) -> str:
        """Standard output of a command that must succeed."""
        done = self(*arguments, **environment)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    def json(self, *arguments: str, status: int = 0) -> Any:
        """What a command with --json prints."""
        done = self(*arguments, "--json")
        assert done.returncode == status, (arguments, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def refused(self, status: int, *arguments: str, **environment: str) -> str:
        """The one line that a command says which must exit with `status`."""
        done = self(*arguments, **environment)
        assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stderr.strip()


class Terminal:
    """The same command in this process, which is quicker, for what needs no process of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
        self.folder = folder
        self._capsys = capsys
        self._caplog = caplog

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Status, standard output, standard error; of `serve` and `worker`, which say all in their log, its errors."""
        self._capsys.readouterr()
        self._caplog.clear()
        status = run(arguments)
        said, err = self._capsys.readouterr(), ""
        if arguments[0] in ("serve", "worker"):
            err = "".join(f"acmehub: {item.message}\n" for item in self._caplog.records if item.levelname == "ERROR")
        return status, said.out, said.err + err

    def ok(self, *arguments: str) -> str:
        """Standard output of a command that must succeed."""
        status, out, err = self(*arguments)
        assert status == 0, (arguments, status, out, err)
        return out

    def json(self, *arguments: str, status: int = 0) -> Any:
        """What a command with --json prints."""
        ended, out, err = self(*arguments, "--json")
        assert ended == status, (arguments, ended, out, err)
        return json.loads(out)

    def refused(self, status: int, *arguments: str) -> str:
        """What a command says on standard error that must exit with `status`."""
        ended, out, err = self(*arguments)
        assert ended == status, (arguments, ended, out, err)
        return err.strip()


class RemoteTerminal(Terminal):
    """The command with `--hub`, for the hub of the folder, which is served from the first verb on that can be asked for
    so; verbs of the hub's machine run without it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
        super().__init__(folder, capsys, caplog)
        self.stack = ExitStack()
        self.options: tuple[str, ...] = ()

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        if arguments[0] in MACHINE_VERBS:
            return super().__call__(*arguments)
        if not self.options:
            self.options = self._served()
        return super().__call__(*self.options, *arguments)

    def _served(self) -> tuple[str, ...]:
        path = self.folder / "acmehub.toml"
        config = load_config(path if path.exists() else None, overrides={"data_dir": self.folder / "data"})
        served = self.stack.enter_context(serving(config))
        token = self.folder / "data" / "api.token"
        token.write_text(f"{TOKEN}\n")
        token.chmod(0o600)
        return ("--hub", served.url, "--token-file", str(token), "--ca-file", str(served.root_file))


OVER_API = {"test_resources", "test_operations", "test_profiles", "test_campaigns", "test_audit_verbs"}
"""Files whose tests of `terminal` run over the API, too: each noun once. CLI_OVER_API=1 adds all others."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`terminal` on the hub's machine and, where a test can, over the API."""
    if "terminal" not in metafunc.fixturenames:
        return
    is_chosen = metafunc.module.__name__.rpartition(".")[2] in OVER_API or bool(os.environ.get("CLI_OVER_API"))
    is_local = next(metafunc.definition.iter_markers("on_machine"), None) is not None
    ways = ["here", "over-api"] if is_chosen and not is_local else ["here"]
    if next(metafunc.definition.iter_markers("over_api"), None) is not None:
        ways = ["over-api"]
    metafunc.parametrize("terminal", ways, indirect=True)


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a hub that has just been founded, to be copied."""
    folder = tmp_path_factory.mktemp("founded") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("acmehub.cli.shared.session.set_up_logs", lambda config: None)
        assert run(["init", "--hub", "--data-dir", str(folder)]) == 0
    return folder


@pytest.fixture
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one; logs of commands in this process go to pytest."""
    monkeypatch.chdir(tmp_path)
    for module in ("shared.session", "serve"):
        monkeypatch.setattr(f"acmehub.cli.{module}.set_up_logs", lambda config: None)
    return tmp_path


@pytest.fixture
def empty_terminal(quiet: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Terminal:
    """The command in an empty folder, in this process."""
    return Terminal(quiet, capsys, caplog)


@pytest.fixture
def terminal(
    quiet: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    founded: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Terminal]:
    """The command for a hub in `data` of a folder of its own: on its machine, or over its API."""
    shutil.copytree(founded, quiet / "data")
    if request.param == "here":
        yield Terminal(quiet, capsys, caplog)
        return
    remote = RemoteTerminal(quiet, capsys, caplog)
    with remote.stack:
        yield remote


@pytest.fixture
def empty_cli(tmp_path: Path) -> Cli:
    """The command in an empty folder."""
    return Cli(tmp_path)


@pytest.fixture
def cli(empty_cli: Cli, founded: Path) -> Cli:
    """The command in a folder with a hub in `data`."""
    shutil.copytree(founded, empty_cli.folder / "data")
    return empty_cli

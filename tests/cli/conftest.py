"""Runs the real command in a folder of the test's own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from acmehub.cli.root import run

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


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a hub that has just been founded, to be copied."""
    folder = tmp_path_factory.mktemp("founded") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("acmehub.cli.shared.session.set_up_logs", lambda config: None)
        assert run(["init", "--hub", "--data-dir", str(folder)]) == 0
    return folder


@pytest.fixture
def empty_terminal(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> Terminal:
    """The command in an empty folder, in this process; its logs go to pytest."""
    monkeypatch.chdir(tmp_path)
    for module in ("shared.session", "serve"):
        monkeypatch.setattr(f"acmehub.cli.{module}.set_up_logs", lambda config: None)
    return Terminal(tmp_path, capsys, caplog)


@pytest.fixture
def terminal(empty_terminal: Terminal, founded: Path) -> Terminal:
    """The same in a folder with a hub in `data`."""
    shutil.copytree(founded, empty_terminal.folder / "data")
    return empty_terminal


@pytest.fixture
def empty_cli(tmp_path: Path) -> Cli:
    """The command in an empty folder."""
    return Cli(tmp_path)


@pytest.fixture
def cli(empty_cli: Cli, founded: Path) -> Cli:
    """The command in a folder with a hub in `data`."""
    shutil.copytree(founded, empty_cli.folder / "data")
    return empty_cli

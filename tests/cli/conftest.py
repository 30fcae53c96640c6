"""Runs the real command in a folder of the test's own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acmehub.testing.hub_process import HubProcess

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
            timeout=60,
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


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command in an empty folder."""
    return Cli(tmp_path)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    """A hub that serves, in its own folder."""
    with HubProcess(tmp_path / "hub") as process:
        yield process

"""A new user's walk, from README.md alone: a fresh clone, `make run`, the lines that it prints; for `make nightly`."""

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from acmehub.testing.hub_process import free_port
from tests.e2e.test_make import KEPT, LINE, ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


def typed(line: str, cwd: Path, environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        ["/bin/sh", "-c", line], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    return done.stdout


def test_a_fresh_clone_runs_and_gives_a_device_its_certificate(tmp_path: Path) -> None:
    home, clone, port = tmp_path / "home", tmp_path / "clone", free_port()
    home.mkdir()
    login = {"HOME": str(home), "PATH": os.environ["PATH"]}
    typed(f"git clone --quiet {shlex.quote(str(ROOT))} {shlex.quote(str(clone))}", tmp_path, login)
    run = re.search(r"^(make run) ", (clone / "README.md").read_text(), re.MULTILINE)
    assert run is not None
    command = [*run[1].split(), f"PORT={port}"]
    with subprocess.Popen(
        command,
        cwd=clone,
        env=login,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            text = ""
            for line in process.stdout:
                text += line
                if line.startswith("Serving"):
                    break
            assert "Serving" in text, text
            lines = LINE.findall(text)
            assert len(lines) == 5
            for line in lines:
                typed(line, tmp_path, login)
            kept = KEPT.search(text)
            assert kept is not None
            assert "END CERTIFICATE" in Path(f"{home}{kept[1]}").read_text()
            assert typed("git status --porcelain", clone, login) == ""
        finally:
            os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
            process.wait(60)

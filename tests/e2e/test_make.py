"""What `make demo` and `make run` do, without make."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from acmehub.testing.hub_process import free_port
from tests.journal import Journal

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_demo_ends_well_and_tells_the_story() -> None:
    command = [sys.executable, "-m", "scripts.demo"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    for step in ("certificate issued", "the chain verifies", "no TXT record is left"):
        assert step in done.stdout


def test_run_issues_a_first_certificate_says_how_to_point_a_client_and_serves_until_stopped(
    tmp_path: Path, journal: Journal
) -> None:
    port = free_port()
    command = [sys.executable, "-m", "scripts.run", "--port", str(port), "--folder", str(tmp_path / "hub")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Serving"):
                break
        text = "".join(lines)
        assert f"https://localhost:{port}/acme/directory" in text
        assert "Successfully received certificate" in text
        for client in ("certbot", "lego", "Caddy", "acme.sh"):
            assert re.search(client, text, re.IGNORECASE), text
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0

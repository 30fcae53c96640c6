"""What `make demo` and `make run` do, without make; the lines that `make run` prints are run as they are printed."""

import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import pytest
from cryptography import x509

from acmehub.testing.hub_process import HubFailed, HubProcess, free_port
from scripts.certbot import FROM_PYPI
from tests.journal import Journal
from tests.servers.programs import need

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parent.parent.parent
RUN = [sys.executable, "-u", "-m", "scripts.run"]
NOBODY = 65534
LINE = re.compile(r"^    ('?/.*)$", re.MULTILINE)
KEPT = re.compile(r"The certificate is then ~(\S+),")


def test_the_demo_ends_well_and_tells_the_story() -> None:
    need(FROM_PYPI)
    command = [sys.executable, "-m", "scripts.demo"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    for step in ("certificate issued", "the chain verifies", "no TXT record is left"):
        assert step in done.stdout


class Running(NamedTuple):
    """`make run`: what it printed, its port and folder, the process."""

    text: str
    port: int
    folder: Path
    process: "subprocess.Popen[str]"

    def lines(self, word: str) -> list[str]:
        """The commands to paste that have this word."""
        return [line for line in LINE.findall(self.text) if word in line]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter; pytest's are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="acmehub-run-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def running(open_folder: Path, journal: Journal) -> Iterator[Running]:
    """`make run` on a free port, until the line that says that it serves."""
    need(FROM_PYPI)
    port, folder = free_port(), open_folder / "a hub"
    command = [*RUN, "--port", str(port), "--folder", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if line.startswith("Serving"):
                    break
            text = "".join(lines)
            assert "Serving" in text, text
            yield Running(text, port, folder, process)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def paste(line: str, home: Path, user: int) -> "subprocess.Popen[str]":
    """A shell of that user, with nothing in its environment but HOME and PATH, is given the line."""
    command = ["/bin/sh", "-c", line]
    if user != os.getuid():
        # This clone or Python may be out of another user's reach; who may read it still writes nothing.
        reached = all(is_open(path) for path in (ROOT, Path(sys.executable).resolve()))
        reads = [] if reached else ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        need("setpriv")
        command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *reads, *command]
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    return subprocess.Popen(
        command, cwd="/", env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def is_open(path: Path) -> bool:
    """Whether every user may reach a file."""
    return all(item.stat().st_mode & 0o001 for item in (path, *path.parents))


def test_run_issues_a_first_certificate_and_every_line_that_it_prints_works(
    running: Running, open_folder: Path
) -> None:
    text = running.text
    assert f"https://localhost:{running.port}/acme/directory" in text
    assert ":8443" not in text
    for client in ("certbot", "lego", "Caddy", "acme.sh"):
        assert re.search(client, text, re.IGNORECASE), text
    saved = re.search(r"Certificate is saved at: (.*)$", text, re.MULTILINE)
    assert saved is not None
    assert b"END CERTIFICATE" in Path(saved[1]).read_bytes()

    users = [os.getuid(), *([NOBODY] if os.getuid() == 0 else [])]
    homes = {user: open_folder / f"home of {user}" for user in users}
    for user, home in homes.items():
        home.mkdir()
        os.chown(home, user, -1)
    kept = KEPT.search(text)
    assert kept is not None
    serials = []
    for word in ("certonly", "renew"):
        (line,) = running.lines(f"certbot' {word}")
        shells = [paste(line, homes[user], user) for user in users]
        for shell in shells:
            said = shell.communicate(timeout=300)[0]
            assert shell.returncode == 0, said
        certificates = [
            x509.load_pem_x509_certificate(Path(f"{home}{kept[1]}").read_bytes()) for home in homes.values()
        ]
        serials += [item.serial_number for item in certificates]
    assert len(set(serials)) == 2 * len(users)

    said = ""
    for line in running.lines("bin/acmehub "):
        shell = paste(line, homes[os.getuid()], os.getuid())
        said += shell.communicate(timeout=300)[0]
        assert shell.returncode == 0, said
    for told in ("Device 2", "HMAC key", "-d device-2.example.test", "host.example.test"):
        assert told in said

    assert running.process.poll() is None
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(30) == 0


def run_with(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*RUN, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_port_in_use_is_one_line_with_the_cure_before_anything_is_made(tmp_path: Path, address: str) -> None:
    with socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET) as taken:
        port = taken.getsockname()[1]
        for check in ([], ["--check"]):
            done = run_with("--port", str(port), "--folder", tmp_path, *check)
            assert done.returncode == 1
            assert re.fullmatch(rf"acmehub: port {port} is in use .*: make run PORT=(\d+)\n", done.stderr)
            assert done.stdout == ""
    assert [item.name for item in tmp_path.iterdir()] == ["run.lock"]


def test_a_number_that_is_no_port_is_named(tmp_path: Path) -> None:
    done = run_with("--port", "70000", "--folder", tmp_path)
    assert done.returncode == 2
    assert "'70000' is no port: 1 to 65535" in done.stderr


def test_make_looks_at_the_port_before_it_installs_a_client_and_passes_it_on() -> None:
    command = [
        "make",
        "--no-print-directory",
        "-n",
        "run",
        "PORT=9443",
        "CERTBOT=.run/not-there/certbot",
        "-o",
        ".venv/bin/.stamp",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    steps = done.stdout.splitlines()
    (checks,) = [at for at, step in enumerate(steps) if "scripts.run --port 9443 --check" in step]
    (installs,) = [at for at, step in enumerate(steps) if "scripts/pip-install" in step]
    assert checks < installs
    assert steps[-1].endswith("scripts.run --port 9443")


def test_what_the_readme_has_a_new_user_type_is_there_and_explained() -> None:
    commands = re.findall(r"^make (\w+) ", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert commands[0] == "run"
    help_text = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in commands:
        dry = ["make", "-n", target, "-o", ".venv/bin/.stamp"]
        assert subprocess.run(dry, cwd=ROOT, capture_output=True, check=False).returncode == 0
        assert f"make {target} " in help_text


def test_the_hub_of_a_folder_runs_once(tmp_path: Path) -> None:
    with (tmp_path / "run.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = run_with("--port", str(free_port()), "--folder", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"the hub in {tmp_path} runs already" in done.stderr


class Stranger(BaseHTTPRequestHandler):
    """Another server, which is ready for everything."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def test_a_stranger_on_the_port_does_not_pass_for_the_hub(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Stranger) as stranger:
        thread = Thread(target=stranger.serve_forever)
        thread.start()
        try:
            hub = HubProcess(tmp_path, config='[tls]\nmode = "off"', port=stranger.server_port)
            with pytest.raises(HubFailed, match="the port is in use"):
                hub.start()
        finally:
            stranger.shutdown()
            thread.join()

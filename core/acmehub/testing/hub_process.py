"""A hub in a process and a folder of its own, for end-to-end tests, the demo and the benchmark.

with HubProcess(folder, config="[acme]\\nhold = 5") as hub:
    hub.apply(RESOURCES)
    credentials = hub.eab("Firewall")
    ...                                   # point a client at credentials["directory"], trusting hub.ca_file
"""

import itertools
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

START_SECONDS = 60.0
STOP_SECONDS = 20.0


class HubFailed(Exception):
    """The process ended, or a command failed; the message has the end of its output."""


def _ports() -> Iterator[int]:
    """Ports below those that the system gives to outgoing connections, which may take a port at any time."""
    setting = Path("/proc/sys/net/ipv4/ip_local_port_range")
    begin, end = 10_000, int(setting.read_text().split()[0]) if setting.exists() else 32_768
    while end - begin < 1000:  # this system gives away nearly all of them: ports that it chooses now
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            yield probe.getsockname()[1]
    for offset in itertools.count(secrets.randbelow(end - begin)):
        yield begin + offset % (end - begin)


_candidates = _ports()


def free_port(*addresses: str) -> int:
    """A port that nothing listens on at these addresses (127.0.0.1 unless given), for TCP and UDP.

    It is another one each time, and stays free for a server that starts later or again: no outgoing connection gets it.
    """
    while True:
        port = next(_candidates)
        with ExitStack() as probes, suppress(OSError):
            for address in addresses or ("127.0.0.1",):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    probes.enter_context(socket.socket(type=kind)).bind((address, port))
            return port


class HubProcess:
    """`acmehub serve`, or another long-running `command` (`worker`), with `acmehub.toml` in `folder`.

    `config`: TOML for the end of that file; `environment`: additional variables. The output goes to `log`. `program`:
    the `acmehub` of another installation than this Python's.
    """

    def __init__(
        self,
        folder: Path,
        *,
        config: str = "",
        command: str = "serve",
        arguments: tuple[str, ...] = (),
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
        program: Path | None = None,
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.log = log or folder / "hub.log"
        self._program = str(program) if program is not None else _executable()
        self._config = config
        self._command = (command, *arguments)
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._instance = ""

    @property
    def directory(self) -> str:
        """The directory URL for clients."""
        return f"https://localhost:{self.port}/acme/directory"

    @property
    def ca_file(self) -> Path:
        """The certificate of the private CA that signed the hub's own TLS certificate."""
        return self.folder / "data" / "ca.pem"

    @property
    def pid(self) -> int:
        """The process's id."""
        if self._process is None:
            raise HubFailed("not started")
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """The exit status (negative: ended by that signal); None while the process runs."""
        return self._process.poll() if self._process is not None else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def configure(self) -> None:
        """Write `acmehub.toml`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = f'listen = "127.0.0.1:{self.port}"\ndata_dir = "data"\n{self._config}\n'
        path = self.folder / "acmehub.toml"
        path.touch(0o600)
        path.write_text(text)

    def found(self, **environment: str) -> None:
        """Write `acmehub.toml` and found the hub, unless it has been started."""
        self.configure()
        if self._process is None:
            self.run("init", "--hub", **environment)

    def launch(self, **environment: str) -> None:
        """Start the process with more `environment`, without waiting."""
        self.configure()
        self._instance = secrets.token_hex(16)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, *self._command],
                env=self._env({"ACMEHUB_INSTANCE": self._instance, **environment}),
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )

    def start(self, **environment: str) -> None:
        """Start the process, and wait until it serves."""
        self.launch(**environment)
        if self._command[0] == "serve":
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until `/readyz` of this very process answers 200. Raises `HubFailed` when it ends, or after a minute."""
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if self.ended(0.05):
                raise HubFailed(f"{self._command} ended at its start:\n{self.last_words()}")
            if time.monotonic() > deadline:
                raise HubFailed(f"{self._command} is not ready after {START_SECONDS} s:\n{self.last_words()}")

    def ended(self, seconds: float) -> bool:
        """Whether the process has ended, or ends within `seconds`."""
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        """Send SIGTERM and wait. If the process does not end within 20 seconds, send SIGKILL and raise `HubFailed`."""
        if self.ended(0):
            return
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        if not self.ended(STOP_SECONDS):
            self.kill()
            raise HubFailed(f"{self._command} did not stop:\n{self.last_words()}")

    def kill(self) -> None:
        """Send SIGKILL and wait."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def run(self, *arguments: str, **environment: str) -> str:
        """Run an `acmehub` command with this hub's configuration; returns its standard output. Raises `HubFailed`."""
        done = subprocess.run(
            [self._program, *arguments],
            env=self._env(environment),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise HubFailed(f"acmehub {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Run a command with `--json`; returns the decoded output."""
        return json.loads(self.run(*arguments, "--json"))

    def apply(self, resources: str, **environment: str) -> str:
        """Write `resources.toml` and run `acmehub apply` on it, on a hub that is founded first where nothing serves
        yet; secrets may be `env:NAME`."""
        self.found(**environment)
        path = self.folder / "resources.toml"
        path.write_text(resources)
        return self.run("apply", str(path), **environment)

    def eab(self, token: str) -> dict[str, str]:
        """EAB credentials of a token, by title: `kid`, `hmac_key`, `directory`."""
        found = self.json("token", "eab", token)
        return {name: found[name] for name in ("kid", "hmac_key", "directory")}

    def last_words(self) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    def _env(self, more: Mapping[str, str]) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ACMEHUB_")}
        config = {"ACMEHUB_CONFIG": str(self.folder / "acmehub.toml")}
        return {**inherited, **self._environment, **config, **more}

    def _ready(self) -> bool:
        unchecked = ssl.create_default_context()  # only whether it is up; clients verify the certificate
        unchecked.check_hostname = False
        unchecked.verify_mode = ssl.CERT_NONE
        scheme = "http" if 'mode = "off"' in self._config else "https"
        url = f"{scheme}://127.0.0.1:{self.port}/readyz"
        try:
            with urllib.request.urlopen(url, timeout=5, context=unchecked) as answer:
                return bool(answer.status == 200 and answer.headers["Acmehub-Instance"] == self._instance)
        except (urllib.error.URLError, OSError):
            return False


def _executable() -> str:
    beside = Path(sys.executable).with_name("acmehub")
    return str(beside) if beside.exists() else shutil.which("acmehub") or "acmehub"

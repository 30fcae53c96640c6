"""A device with a client on it: a folder, a name, credentials of the hub, and checks of the client's certificate."""

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.x509.verification import VerificationError

from acmehub.cli.snippets import Values, snippet
from acmehub.testing.hub_process import HubProcess, free_port
from tests.issued import Issued, verified
from tests.servers.pebble import Pebble

MAIL = "ops@example.org"
LAST_LINES = 25


class ClientFailed(Exception):
    """A client did not do what was asked of it; the text has its last lines."""


class Around(Protocol):
    """What a device knows of the world."""

    hub: HubProcess
    pebble: Pebble


class Device:
    """One device: its client may use `directory` with `kid` and `hmac_key`, or `secret_directory` without them.

    `name` is a host of its own (names below it are its too), `ca_file` what its client must trust, `folder` where it
    keeps everything (it is `HOME`), `log` what it prints. `timeout` in seconds is when the matrix ends a client.
    """

    def __init__(
        self, around: Around, folder: Path, name: str, credentials: dict[str, str], timeout: float, profile: str = ""
    ) -> None:
        self.folder = folder
        self.name = name
        self.directory = credentials["directory"]
        self.kid = credentials["kid"]
        self.hmac_key = credentials["hmac_key"]
        self.secret_directory = credentials.get("secret_directory", "")
        self.ca_file = around.hub.ca_file
        self.profile = profile
        self.mail = MAIL
        self.log = folder / "client.log"
        self.slowest = 0.0
        self.certificates = 0
        self._around = around
        self._timeout = timeout
        self._since = time.monotonic()
        self._deadline = self._since + timeout
        folder.mkdir(parents=True)

    # ------------------------------------------------------------------------------------------ running a client

    def run(self, *command: str | Path, **environment: str) -> str:
        """Run a command in `folder` until it ends; what it printed. Raises `ClientFailed` when it failed or hung."""
        text = shlex.join(map(str, command))
        with self.log.open("a+") as log:
            print(f"$ {text}", file=log, flush=True)
            begin = log.tell()
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=self.folder,
                env=self._environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                status = process.wait(max(1.0, self._deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _end(process)
                raise ClientFailed(f"not done after {self._timeout:.0f} s\n{self.last_lines()}") from None
            log.seek(begin)
            printed = log.read()
        if status:
            raise ClientFailed(f"{Path(str(command[0])).name} ended with {status}\n{self.last_lines()}")
        return printed

    def shell(self, text: str, **environment: str) -> str:
        """As `run`, of lines for a shell, each of which must succeed."""
        return self.run("/bin/sh", "-ec", text, **environment)

    @contextmanager
    def daemon(self, *command: str | Path, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Run a command beside the block, and end it (SIGTERM) after it."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=self.folder,
                env=self._environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            _end(process)

    def until(self, holds: Callable[[], bool], process: "subprocess.Popen[bytes] | None" = None) -> None:
        """Wait until `holds`; raises `ClientFailed` when `process` ends before, or the device's timeout does."""
        while not holds():
            if process is not None and process.poll() is not None:
                raise ClientFailed(f"ended with {process.returncode}\n{self.last_lines()}")
            if time.monotonic() > self._deadline:
                raise ClientFailed(f"not done after {self._timeout:.0f} s\n{self.last_lines()}")
            time.sleep(0.1)

    def pasted(self, client: str, *, trusted: bool = False) -> str:
        """What docs/clients.md has a user paste for a client, with this device's values in it; `trusted`: without the
        lines that make it trust the hub's private CA."""
        values = Values(
            directory=self.directory,
            kid=self.kid,
            hmac_key=self.hmac_key,
            name=self.name,
            ca="" if trusted else str(self.ca_file),
            secret_directory=self.secret_directory,
            mail=self.mail,
            port=self.free_port(),
        )
        return snippet(client).filled(values)

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        """A file in `folder`."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def free_port(self) -> int:
        """A port of 127.0.0.1 that a client may listen on, as clients will, though nobody comes."""
        return free_port()

    def last_lines(self) -> str:
        """The end of what the client printed."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-LAST_LINES:])

    # ------------------------------------------------------------------------------------- checks of its certificate

    def got(self, chain: Path, *names: str) -> Issued:
        """The client got `chain`: for exactly `names` (`self.name` if none are said), and it leads to Pebble's root."""
        wanted = frozenset(names or (self.name,))
        if not chain.exists():
            raise ClientFailed(f"no certificate in {chain}\n{self.last_lines()}")
        try:
            issued = verified(chain, self._around.pebble.root())
        except (ValueError, VerificationError, InvalidSignature) as error:
            raise ClientFailed(f"{chain.name} does not lead to Pebble's root: {error}\n{self.last_lines()}") from error
        if issued.names != wanted:
            raise ClientFailed(f"a certificate for {sorted(issued.names)} instead of {sorted(wanted)}")
        now = time.monotonic()
        self.slowest = max(self.slowest, now - self._since)
        self._since = now
        self._deadline = now + self._timeout
        self.certificates += 1
        return issued

    def revoked(self, issued: Issued) -> None:
        """The client revoked it: Pebble says so too."""
        status = self._around.pebble.certificate_status(f"{issued.serial:x}")
        if status != "Revoked":
            raise ClientFailed(f"Pebble says {status} of the certificate\n{self.last_lines()}")

    def hurry(self, issued: Issued) -> None:
        """Have the hub say by ARI that the certificate is overdue: an operator's campaign that began yesterday."""
        yesterday = datetime.now(UTC) - timedelta(days=1)
        campaign = ("--name", f"{issued.serial:x}", "--names", self.name, "--starts", yesterday.isoformat())
        self._around.hub.run("certificate", "renew-by", "+1m", *campaign)

    def profiled(self) -> None:
        """The hub knows that the order was for `profile`."""
        orders = [
            item for item in self._around.hub.json("order", "list", "--limit", "1000") if self.name in item["names"]
        ]
        told = self._around.hub.json("order", "show", orders[0]["id"])
        if told["profile"] != self.profile:
            raise ClientFailed(f"the order's profile is {told['profile']!r}, not {self.profile!r}")

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ACMEHUB_", "LEGO_"))}
        return {**inherited, "HOME": str(self.folder), **more}


def _end(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM, after 10 s SIGKILL, to a process and what it started."""
    if process.poll() is not None:
        return
    for number, seconds in ((15, 10.0), (9, 10.0)):
        try:
            os.killpg(process.pid, number)
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
        return

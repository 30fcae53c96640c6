"""Pebble, the ACME test CA: started with its own configuration and TLS certificate on free ports, stopped at the end.

Debian's Pebble deadlocks under concurrency unless it runs on one processor: GOMAXPROCS=1 always. `TEST_PEBBLE=PATH` has
the tests use another one than the first of PATH.
"""

import json
import os
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import trustme

from acmehub.testing.hub_process import free_port
from tests.servers.programs import need, program

PROGRAM = program("pebble", "TEST_PEBBLE")
_START_TIMEOUT = 20.0


class PebbleOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How Pebble behaves.

    `dns_server` (HOST:PORT) is where it validates, None with `always_valid` when it does not. `nonce_reject` and
    `authz_reuse` in percent; `sleep` is the longest it waits before a validation, in seconds. `eab_keys` (key id to
    HMAC key in base64url) makes External Account Binding required. `alternate_roots` adds chains, `chain_length` is
    the number of intermediates. `program` is another Pebble than the one that the tests use.
    """

    dns_server: str | None = None
    always_valid: bool = False
    nonce_reject: int = 0
    authz_reuse: int = 0
    sleep: int = 0
    strict: bool = False
    eab_keys: Mapping[str, str] = {}
    blocked_names: Sequence[str] = ()
    alternate_roots: int = 0
    chain_length: int = 1
    certificate_validity: int = 90 * 24 * 3600
    program: str = PROGRAM


class Pebble:
    """A running Pebble."""

    def __init__(self, directory: str, management: str, ca_file: Path, process: "subprocess.Popen[bytes]") -> None:
        self.directory = directory
        self.management = management
        self.ca_file = ca_file
        self.process = process

    def root(self, index: int = 0) -> str:
        """A root certificate (PEM) that issued chains lead to."""
        return self._read(f"/roots/{index}")

    def intermediate(self, index: int = 0) -> str:
        """An intermediate certificate (PEM)."""
        return self._read(f"/intermediates/{index}")

    def certificate_status(self, serial: str) -> str:
        """`Valid` or `Revoked`, by serial in hexadecimal; an `HTTPError` for one that it did not issue."""
        return str(json.loads(self._read(f"/cert-status-by-serial/{serial}"))["Status"])

    def cpu_seconds(self) -> float:
        """Processor time it has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _read(self, path: str) -> str:
        context = ssl.create_default_context(cafile=self.ca_file)
        with urllib.request.urlopen(self.management + path, context=context, timeout=10) as answer:
            return str(answer.read().decode())


@contextmanager
def running_pebble(folder: Path, options: PebbleOptions | None = None, *, log: Path | None = None) -> Iterator[Pebble]:
    """Pebble with its files in `folder`, until the block ends; `log` gets what it prints."""
    options = options or PebbleOptions(always_valid=True)
    need(options.program)
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    ca_file = folder / "pebble-ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    port, management_port = free_port(), free_port()
    (folder / "pebble.json").write_text(json.dumps({"pebble": _configuration(folder, port, management_port, options)}))
    command = [options.program, "-config", str(folder / "pebble.json"), f"-strict={str(options.strict).lower()}"]
    if options.dns_server:
        command += ["-dnsserver", options.dns_server]
    log = log or folder / "pebble.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=_environment(options), stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _wait_for(port, process, log)
            _wait_for(management_port, process, log)
            yield Pebble(f"https://127.0.0.1:{port}/dir", f"https://127.0.0.1:{management_port}", ca_file, process)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _configuration(folder: Path, port: int, management_port: int, options: PebbleOptions) -> dict[str, object]:
    return {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{management_port}",
        "certificate": str(folder / "cert.pem"),
        "privateKey": str(folder / "key.pem"),
        "httpPort": 5002,
        "tlsPort": 5001,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": bool(options.eab_keys),
        "externalAccountMACKeys": dict(options.eab_keys),
        "domainBlocklist": list(options.blocked_names),
        "certificateValidityPeriod": options.certificate_validity,
    }


def _environment(options: PebbleOptions) -> dict[str, str]:
    environment = {
        "PATH": os.environ["PATH"],
        "GOMAXPROCS": "1",
        "PEBBLE_WFE_NONCEREJECT": str(options.nonce_reject),
        "PEBBLE_AUTHZREUSE": str(options.authz_reuse),
        "PEBBLE_ALTERNATE_ROOTS": str(options.alternate_roots),
        "PEBBLE_CHAIN_LENGTH": str(options.chain_length),
    }
    if options.sleep:
        environment["PEBBLE_VA_SLEEPTIME"] = str(options.sleep)
    else:
        environment["PEBBLE_VA_NOSLEEP"] = "1"
    if options.always_valid:
        environment["PEBBLE_VA_ALWAYS_VALID"] = "1"
    return environment


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"Pebble ended with {process.returncode}: {log.read_text(errors='replace')[-2000:]}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"Pebble does not listen on port {port}: {log.read_text(errors='replace')[-2000:]}")

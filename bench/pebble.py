"""Pebble in a process of its own: a current one built by Go when there is a `go`, else Debian's."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import trustme

from acmehub.testing.hub_process import free_port
from bench.machine import wait_for_port

LABEL = "Pebble"
MODULE = "github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1"
_BUILT = Path(__file__).resolve().parent.parent / ".run" / "bin" / "pebble"
_SIGNED = b"Issued certificate serial"
# One processor: both versions deadlock under concurrency otherwise. Each order has authorizations of its own.
_CALM = {
    "GOMAXPROCS": "1",
    "PEBBLE_VA_ALWAYS_VALID": "1",
    "PEBBLE_VA_NOSLEEP": "1",
    "PEBBLE_WFE_NONCEREJECT": "0",
    "PEBBLE_AUTHZREUSE": "0",
}


class Server(NamedTuple):
    """A server under load; `arguments` are further ones of the generator."""

    label: str
    directory: str
    pid: int
    arguments: tuple[str, ...] = ()


class Pebble(NamedTuple):
    """A running Pebble; `ca_file` has the root of its TLS certificate."""

    server: Server
    ca_file: Path
    log: Path

    def minted(self) -> int:
        """Certificates that it has signed so far."""
        return self.log.read_bytes().count(_SIGNED)


@contextmanager
def running_pebble(folder: Path) -> Iterator[Pebble]:
    """Always valid, without pauses and refused nonces, with its files in `folder`; killed at the end of the block."""
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    leaf.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    leaf.private_key_pem.write_to_path(str(folder / "key.pem"))
    port = free_port()
    config = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{free_port()}",
        "certificate": str(folder / "cert.pem"),
        "privateKey": str(folder / "key.pem"),
        "httpPort": 5002,
        "tlsPort": 5001,
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
    path = folder / "pebble.log"
    with path.open("wb") as log:
        command = [_executable(), "-config", str(folder / "pebble.json")]
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **_CALM})
        try:
            wait_for_port(port, process)
            server = Server(LABEL, f"https://127.0.0.1:{port}/dir", process.pid)
            yield Pebble(server, folder / "ca.pem", path)
        finally:
            process.kill()  # a Pebble that hangs reacts to nothing else
            process.wait()


def _executable() -> str:
    if not _BUILT.exists() and shutil.which("go"):
        print(f"go install {MODULE}")
        environment = {**os.environ, "GOBIN": str(_BUILT.parent)}
        subprocess.run(["go", "install", MODULE], env=environment, check=True)
    if _BUILT.exists():
        return str(_BUILT)
    packaged = shutil.which("pebble")
    if packaged is None:
        raise SystemExit("no Pebble here: install go, or apt-get install pebble")
    return packaged

"""Real ACME clients, driven alike: `issue`, `renew`, and the chain each keeps for a name."""

import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from acmehub.testing.hub_process import free_port
from scripts.certbot import FROM_PYPI, Certbot
from tests.servers.programs import program

CERTBOT_APT = Path("/usr/bin/certbot")
LEGO = Path(program("lego"))
CADDY = Path(program("caddy"))
CADDY_SECONDS = 90.0


class ClientFailed(Exception):
    """A client did not get its certificate; the text is what it printed."""


class Client(Protocol):
    """What each client is asked to do; both return the files that hold the chains (one, unless the client makes an
    order per name), and raise `ClientFailed`."""

    def issue(self, *names: str) -> list[Path]:
        """Order a certificate for `names`, in one order where the client can."""
        ...

    def renew(self) -> list[Path]:
        """Renew the last one, due or not."""
        ...


class CertbotClient:
    """certbot, from Debian or PyPI."""

    def __init__(self, certbot: Certbot) -> None:
        self._certbot = certbot
        self._name = ""

    def issue(self, *names: str) -> list[Path]:
        self._name = names[0].replace("*", "any")
        return self._chain(self._certbot.certonly(names, name=self._name))

    def renew(self) -> list[Path]:
        return self._chain(self._certbot.renew(name=self._name))

    def _chain(self, done: "subprocess.CompletedProcess[str]") -> list[Path]:
        if done.returncode:
            raise ClientFailed(done.stdout)
        return [self._certbot.chain(self._name)]


class Lego:
    """lego 4, as Debian has it; it binds a port for the http-01 answer that nobody asks for."""

    def __init__(
        self, folder: Path, ca_file: Path, directory: str, credentials: Mapping[str, str], *options: str
    ) -> None:
        self._folder = folder
        self._ca_file = ca_file
        self._base = ["--path", str(folder), "-s", directory, "-a", "-m", "ops@example.org", "--eab"]
        self._base += ["--kid", credentials["kid"], "--hmac", credentials["hmac_key"], *options]
        self._names: tuple[str, ...] = ()

    def issue(self, *names: str) -> list[Path]:
        self._names = names
        return self._run("run")

    def renew(self) -> list[Path]:
        return self._run("renew", "--days", "10000", "--no-random-sleep")

    def _run(self, *verb: str) -> list[Path]:
        domains = [part for name in self._names for part in ("-d", name)]
        port = ("--http", "--http.port", f"127.0.0.1:{free_port()}")
        done = subprocess.run(
            [LEGO, *self._base, *port, *domains, *verb],
            env={**os.environ, "LEGO_CA_CERTIFICATES": str(self._ca_file)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise ClientFailed(done.stdout)
        return [self._folder / "certificates" / f"{self._names[0].replace('*', '_')}.crt"]


class Caddy:
    """Caddy 2, as Debian has it, with nothing but its certificate management; it makes one order per name."""

    def __init__(self, folder: Path, ca_file: Path, directory: str, credentials: Mapping[str, str], log: Path) -> None:
        self._folder = folder
        self._log = log
        self._issuer = {
            "module": "acme",
            "ca": directory,
            "email": "ops@example.org",
            "trusted_roots_pem_files": [str(ca_file)],
            "external_account": {"key_id": credentials["kid"], "mac_key": credentials["hmac_key"]},
        }
        self._names: tuple[str, ...] = ()

    def issue(self, *names: str) -> list[Path]:
        self._names = names
        return self._run({})

    def renew(self) -> list[Path]:
        """See `Client`: the whole lifetime is declared to be the renewal window."""
        return self._run({"renewal_window_ratio": 1.0})

    def _chains(self) -> dict[Path, str]:
        wanted = {name.replace("*", "wildcard_") for name in self._names}
        return {path: path.read_text() for path in self._folder.glob("certificates/*/*/*.crt") if path.stem in wanted}

    def _run(self, policy: Mapping[str, object]) -> list[Path]:
        self._folder.mkdir(parents=True, exist_ok=True)
        challenges = {"http": {"alternate_port": free_port()}, "tls-alpn": {"alternate_port": free_port()}}
        issuer = {**self._issuer, "challenges": challenges}
        tls = {
            "certificates": {"automate": list(self._names)},
            "automation": {"policies": [{"issuers": [issuer], **policy}]},
        }
        config = {
            "admin": {"disabled": True, "config": {"persist": False}},
            "storage": {"module": "file_system", "root": str(self._folder)},
            "apps": {"tls": tls},
        }
        path = self._folder / "caddy.json"
        path.write_text(json.dumps(config))
        before = self._chains()
        environment = {**os.environ, "HOME": str(self._folder)}
        with self._log.open("ab") as log:
            process = subprocess.Popen([CADDY, "run", "--config", path], env=environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + CADDY_SECONDS
            while not self._all_new(before):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise ClientFailed(self._log.read_text())
                time.sleep(0.1)
        finally:
            process.terminate()
            process.wait()
        return sorted(self._chains())

    def _all_new(self, before: Mapping[Path, str]) -> bool:
        now = self._chains()
        done = [path for path, text in now.items() if text.count("END CERTIFICATE") > 1 and before.get(path) != text]
        return len(done) == len(self._names)


def certbot_from_debian(folder: Path, ca_file: Path, directory: str, credentials: Mapping[str, str]) -> CertbotClient:
    """certbot 2.1, as Debian 12 has it."""
    return CertbotClient(Certbot(folder, ca_file, directory, credentials, CERTBOT_APT))


def certbot_from_pypi(folder: Path, ca_file: Path, directory: str, credentials: Mapping[str, str]) -> CertbotClient:
    """The current certbot."""
    return CertbotClient(Certbot(folder, ca_file, directory, credentials, FROM_PYPI))

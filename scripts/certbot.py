"""certbot as a device would run it: in folders of its own, with EAB credentials, no private path to the hub."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from acmehub.testing.hub_process import free_port

ROOT = Path(__file__).resolve().parent.parent
FROM_PYPI = ROOT / ".run" / "certbot" / "bin" / "certbot"


class Certbot(NamedTuple):
    """One certbot: `folder` holds its accounts, certificates and logs; `ca_file` is what it trusts."""

    folder: Path
    ca_file: Path
    directory: str
    credentials: Mapping[str, str] = {}
    executable: Path = FROM_PYPI

    def certonly(self, names: Sequence[str], *options: str, name: str = "demo") -> "subprocess.CompletedProcess[str]":
        """Order one certificate for `names`; standard output and error together are in `stdout`."""
        eab = self.credentials and (
            "--eab-kid",
            self.credentials["kid"],
            "--eab-hmac-key",
            self.credentials["hmac_key"],
        )
        account = ("--agree-tos", "-m", "ops@example.org", *eab)
        domains = [part for value in names for part in ("-d", value)]
        # The authenticator is there because certbot wants one; the hub proves control of the names, not the device.
        authenticator = ("--standalone", "--http-01-port", str(free_port()))
        return self._run("certonly", *account, *authenticator, "--cert-name", name, *domains, *options)

    def renew(self, *options: str, name: str = "demo") -> "subprocess.CompletedProcess[str]":
        """Renew it, due or not."""
        return self._run("renew", "--cert-name", name, "--force-renewal", "--no-random-sleep-on-renew", *options)

    def renew_if_due(self, *options: str, name: str = "demo") -> "subprocess.CompletedProcess[str]":
        """What the daily timer does: renew it when it is due, by ARI or by its dates."""
        return self._run("renew", "--cert-name", name, "--no-random-sleep-on-renew", *options)

    def chain(self, name: str = "demo") -> Path:
        """The certificate that it keeps: leaf and intermediates."""
        return self.folder / "config" / "live" / name / "fullchain.pem"

    def _run(self, command: str, *options: str) -> "subprocess.CompletedProcess[str]":
        self.folder.mkdir(parents=True, exist_ok=True)
        own = {f"--{kind}-dir": str(self.folder / kind) for kind in ("config", "work", "logs")}
        places = [part for pair in own.items() for part in pair]
        return subprocess.run(
            [self.executable, command, "--non-interactive", "--server", self.directory, *places, *options],
            env={**os.environ, "REQUESTS_CA_BUNDLE": str(self.ca_file)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

"""`python -m tests.matrix.ari`: lego renews early because of a campaign, and Pebble hears what it replaces (RFC 9773).

lego 5 follows ARI and sends `replaces`; a Pebble of today has ARI, which Debian's has not. Both are built by Go. A hub
stands between them; BIND is there for Pebble's validation.
"""

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from acmehub.rules.renewal import cert_id_in
from acmehub.testing.hub_process import HubProcess, free_port
from bench.compare import ROOT
from bench.pebble import MODULE
from tests.e2e.stack import Stack, eventually
from tests.journal import Journal
from tests.matrix.registry import clients
from tests.servers.bind import Bind, Zone
from tests.servers.pebble import PebbleOptions, running_pebble

PEBBLE = ROOT / ".run" / "bin" / "pebble"
LEGO = ROOT / ".run" / "matrix" / "go" / "bin" / "lego"
NAME = "early.corp.test"
IMPATIENT = "[acme]\nrenewal_info_seconds = 1\n"  # lego keeps to Retry-After
_REPLACEMENT = re.compile(r'ARI: order "([^"]*)" is a replacement of')


def main() -> int:
    """Build what is missing, and run it; raises when something is not as it should be."""
    build()
    with tempfile.TemporaryDirectory(prefix="acmehub-ari-") as folder, running_stack(Path(folder)) as (stack, log):
        with stack.hub("device", config=IMPATIENT) as hub:
            first, second = renewed_early(stack, hub)
            told = _REPLACEMENT.findall(log.read_text())
            assert len(told) == 1, f"Pebble was told {len(told)} times that an order replaces a certificate"
            assert cert_id_in(first.read_text()) != cert_id_in(second.read_text())
        with hub:  # its worker asks Pebble when it starts
            cert_id = cert_id_in(second.read_text())
            theirs = _window(stack.pebble.directory, stack.pebble.ca_file, cert_id)
            ours: Callable[[], Any] = lambda: _window(hub.directory, hub.ca_file, cert_id)  # noqa: E731
            eventually(lambda: bool(ours() == theirs), lambda: f"the hub says {ours()}, Pebble {theirs}")
    print("lego renewed early because of a campaign; Pebble was told what it replaces; Pebble's window reached clients")
    return 0


def build() -> None:
    """Pebble and lego, where they are not there yet."""
    if not PEBBLE.exists():
        environment = {**os.environ, "GOBIN": str(PEBBLE.parent), "GOFLAGS": "-mod=mod"}
        subprocess.run(["nice", "-n", "15", "go", "install", MODULE], env=environment, check=True)
    if not LEGO.exists():
        for client in clients(("clients_go",)):
            if client.name.startswith("lego") and client.build is not None:
                client.build()


@contextmanager
def running_stack(folder: Path) -> Iterator[tuple[Stack, Path]]:
    """BIND and a Pebble of today, and the latter's log."""
    log = folder / "pebble.log"
    zones = [Zone(name, hosts=("*",)) for name in ("corp.test", "lab.test", "slow.test")]
    with Bind(folder / "bind", zones, log=folder / "bind.log", resolves=True) as bind:
        options = PebbleOptions(dns_server=f"{bind.primary}:{bind.port}", nonce_reject=15, program=str(PEBBLE))
        with running_pebble(folder / "pebble", options, log=log) as pebble:
            yield Stack(folder, bind, pebble, log, Journal(folder)), log


def renewed_early(stack: Stack, hub: HubProcess) -> tuple[Path, Path]:
    """The chain that lego got first, and the one that it got because of the campaign, and not before it."""
    folder = stack.new_folder("lego")
    chain = folder / "certificates" / f"{NAME}.crt"
    credentials = stack.credentials(hub, "device")

    def serial_after_the_timer() -> int:
        _lego(folder, hub, credentials)
        return stack.verified(chain).serial

    serial = serial_after_the_timer()
    first = Path(shutil.copy(chain, folder / "first.crt"))
    assert serial_after_the_timer() == serial, "lego renews a certificate that is new"
    hub.run("certificate", "renew-by", "+2d", "--starts", "+1d", "--name", "later")
    assert serial_after_the_timer() == serial, "lego renews before the campaign has begun"
    hub.run("certificate", "end-campaign", "later")
    hub.run("certificate", "renew-by", "+1m", "--starts", "2026-01-01", "--name", "now", "--names", "*.corp.test")
    assert serial_after_the_timer() != serial, "lego does not renew because of the campaign"
    [campaign] = [item for item in hub.json("certificate", "campaigns") if item["name"] == "now"]
    assert (campaign["left"], campaign["total"]) == (0, 1), campaign
    return first, chain


def _lego(folder: Path, hub: HubProcess, credentials: Mapping[str, str]) -> None:
    account = ["--path", str(folder), "-s", hub.directory, "-a", "-m", "ops@example.org", "--no-random-sleep"]
    account += ["--eab", "--eab.kid", credentials["kid"], "--eab.hmac", credentials["hmac_key"]]
    http = ["--http", "--http.address", f"127.0.0.1:{free_port()}", "-d", NAME]
    done = subprocess.run(
        [LEGO, "run", *account, *http],
        env={**os.environ, "LEGO_CA_CERTIFICATES": str(hub.ca_file)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def _window(directory: str, ca_file: Path, cert_id: str) -> list[datetime]:
    """What a server's renewalInfo says, to the second."""
    trusted = ssl.create_default_context(cafile=ca_file)

    def read(url: str) -> Any:
        with urllib.request.urlopen(url, context=trusted, timeout=10) as answer:
            return json.loads(answer.read())

    window = read(f"{read(directory)['renewalInfo']}/{cert_id}")["suggestedWindow"]
    return [datetime.fromisoformat(window[key]).replace(microsecond=0) for key in ("start", "end")]


if __name__ == "__main__":
    sys.exit(main())

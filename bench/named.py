"""BIND in a process of its own: one zone, which a hub changes by RFC 2136 with TSIG; its TXT records are counted."""

import base64
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.query
import dns.zone

from acmehub.testing.hub_process import free_port
from bench.machine import wait_for_port

ZONE = "load.test"
KEY_NAME = "hub."
_SYSTEM = "/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin"
_LOOK_SECONDS = 0.05
_CONFIG = """
key "{key}" {{ algorithm hmac-sha256; secret "{secret}"; }};
options {{
    directory "{home}"; pid-file none; session-keyfile none; recursion no; notify no; dnssec-validation no;
    listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
    empty-zones-enable no; allow-transfer {{ 127.0.0.1; }}; tcp-clients 2000;
}};
controls {{ }};
zone "{zone}" {{ type primary; file "zone"; update-policy {{ grant {key} zonesub TXT; }}; }};
"""
_RECORDS = f"""$ORIGIN {ZONE}.
$TTL 60
@ SOA ns1 hostmaster 1 3600 600 86400 60
@ NS ns1
ns1 A 127.0.0.1
"""


class Named:
    """A running BIND on 127.0.0.1; `secret` is the TSIG key's, in base64."""

    def __init__(self, port: int, secret: str) -> None:
        self.port = port
        self.secret = secret

    def txt(self) -> int:
        """TXT values in the zone now."""
        content = dns.zone.Zone(f"{ZONE}.", relativize=False)
        dns.query.inbound_xfr("127.0.0.1", content, port=self.port, timeout=10)
        return sum(len(rdataset) for _, rdataset in content.iterate_rdatasets("TXT"))

    def txt_left(self, seconds: float) -> int:
        """TXT values that are left after `seconds`; returns as soon as there is none."""
        deadline = time.monotonic() + seconds
        while (left := self.txt()) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        return left


@contextmanager
def running_named(folder: Path) -> Iterator[Named]:
    """BIND on one processor with its files in `folder`, until the block ends."""
    program = shutil.which("named", path=_SYSTEM)
    if program is None:
        raise SystemExit("no BIND here: apt-get install bind9")
    own = shutil.copy(program, folder / "named")  # AppArmor, where it is on, binds the other path to its own folders
    port, secret = free_port(), base64.b64encode(secrets.token_bytes(32)).decode()
    (folder / "zone").write_text(_RECORDS)
    (folder / "named.conf").write_text(_CONFIG.format(key=KEY_NAME, secret=secret, home=folder, port=port, zone=ZONE))
    with (folder / "named.log").open("wb") as log:
        command = [own, "-g", "-4", "-n", "1", "-c", str(folder / "named.conf")]
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            wait_for_port(port, process)
            yield Named(port, secret)
        finally:
            process.kill()
            process.wait()

"""A real BIND: a primary and, if wanted, secondaries, each a `named` process on a loopback address of its own.

    with Bind(folder, [Zone("corp.test", hosts=("", "www"))], log=journal.new_log("bind")) as bind:
        ...                       # bind.primary, bind.port; bind.key is what the hub is given
        assert bind.txt() == {}

All of them listen on the same port, so that a resolver can find each by its address. The zones' name servers are
`ns1.<zone>` (the primary), `ns2.<zone>` … The key may change TXT records of `_acme-challenge` at the zone's `hosts`
and nothing else; changes reach the secondaries by NOTIFY and zone transfer.
"""

import base64
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rdatatype
import dns.tsig
import dns.update
import dns.zone

from acmehub.testing.hub_process import free_port
from tests.servers.forwarder import Forwarder
from tests.servers.programs import need, program

NAMED = program("named")
START_SECONDS = 20.0


@dataclass(frozen=True)
class TsigKey:
    """A TSIG key; `secret` is base64."""

    name: str
    algorithm: str = "hmac-sha256"
    secret: str = field(default_factory=lambda: base64.b64encode(secrets.token_bytes(32)).decode(), repr=False)

    def keyring(self) -> dns.tsig.Key:
        """As dnspython takes it."""
        return dns.tsig.Key(self.name, self.secret, f"{self.algorithm}.")


@dataclass(frozen=True)
class Zone:
    """A zone: `hosts` (below the apex, `""` being the apex, `"*"` any name) whose challenges the hub's key may answer;
    `records` are further lines of the zone file.

    With a `key` of its own that key may answer for `hosts`, and the hub's only below the names `guests`.
    """

    name: str
    hosts: tuple[str, ...] = ("",)
    records: tuple[str, ...] = ()
    key: TsigKey | None = None
    guests: tuple[str, ...] = ()


class Bind:
    """The servers, started and stopped by `with`; `key` is the hub's, `admin` may change everything.

    With `resolves` they are resolvers as well, as a validating CA needs one: a CNAME is followed into another zone,
    and names outside the zones do not exist.
    """

    def __init__(
        self,
        folder: Path,
        zones: Sequence[Zone],
        *,
        secondaries: int = 0,
        log: Path | None = None,
        key: TsigKey | None = None,
        resolves: bool = False,
    ) -> None:
        self.zones = tuple(zones)
        self.key = key or TsigKey("hub.")
        self.admin = TsigKey("admin.")
        network = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250) + 1}"
        self.addresses = tuple(f"{network}.{number}" for number in range(1, secondaries + 2))
        self.port = free_port(*self.addresses)
        self._ports = {address: free_port() for address in self.addresses}
        self._forwarder = Forwarder({(item, self.port): ("127.0.0.1", self._ports[item]) for item in self.addresses})
        self.log = log or folder / "named.log"
        self._folder = folder
        self._resolves = resolves
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def primary(self) -> str:
        """The address that takes updates."""
        return self.addresses[0]

    def key_of(self, zone_name: str) -> TsigKey:
        """The key for a zone: its own, else the hub's."""
        own = next(zone.key for zone in self.zones if zone.name == zone_name)
        return own or self.key

    def __enter__(self) -> Self:
        need(NAMED)
        # A copy, because AppArmor, where it is on, lets /usr/sbin/named write to /var/lib/bind and nowhere else.
        self._folder.mkdir(parents=True, exist_ok=True)
        self._named = shutil.copy(NAMED, self._folder / "named")
        self._forwarder.__enter__()
        try:
            for address in self.addresses:
                self._write(address)
                self.start(address)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        for address in list(self._processes):
            self.stop(address)
        self._forwarder.__exit__()

    def start(self, address: str) -> None:
        """Start the server at `address` and wait until it answers for every zone."""
        with self.log.open("ab") as log:
            command = [self._named, "-g", "-4", "-n", "1", "-c", str(self._home(address) / "named.conf")]
            self._processes[address] = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._home(address))
        deadline = time.monotonic() + START_SECONDS
        for zone in self.zones:
            while not self._serves(address, zone):
                if self._processes[address].poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"named at {address} does not serve {zone.name}:\n{self._last_words()}")
                time.sleep(0.05)

    def stop(self, address: str) -> None:
        """Stop the server at `address`; the others go on."""
        process = self._processes.pop(address)
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def freeze(self, address: str) -> None:
        """Have the server at `address` be silent (SIGSTOP) until `thaw`; returns when all its threads stand still."""
        process = self._processes[address]
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self, address: str) -> None:
        """End `freeze`."""
        self._processes[address].send_signal(signal.SIGCONT)

    def txt(self, address: str | None = None) -> dict[str, list[str]]:
        """Every TXT value of all zones (by zone transfer), by name without a trailing dot."""
        found: dict[str, list[str]] = {}
        for zone in self.zones:
            content = dns.zone.Zone(zone.name, relativize=False)
            dns.query.inbound_xfr(address or self.primary, content, port=self.port, timeout=5)
            for name, rdataset in content.iterate_rdatasets("TXT"):
                key = name.to_text(omit_final_dot=True)
                found[key] = sorted(b"".join(item.strings).decode() for item in rdataset)
        return found

    def change(self, zone: str, *, add: Sequence[str] = (), delete: Sequence[str] = ()) -> None:
        """Add or delete records (`NAME TTL TYPE VALUE`; to delete `NAME TYPE [VALUE]`), as the zone's administrator."""
        update = dns.update.UpdateMessage(zone, keyring=self.admin.keyring())
        for line in add:
            name, ttl, kind, value = line.split(None, 3)
            update.add(name, int(ttl), kind, value)
        for line in delete:
            update.delete(*line.split(None, 2))
        response = dns.query.tcp(update, self.primary, port=self.port, timeout=5)
        if response.rcode():
            raise RuntimeError(f"{zone}: {response.rcode().name}")

    def _home(self, address: str) -> Path:
        return self._folder / address

    def _serves(self, address: str, zone: Zone) -> bool:
        query = dns.message.make_query(zone.name, dns.rdatatype.SOA)
        try:
            response = dns.query.udp(query, address, port=self.port, timeout=0.5)
        except (dns.exception.Timeout, OSError):
            return False
        return bool(response.answer) and bool(response.flags & dns.flags.AA)

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])

    def _write(self, address: str) -> None:
        home = self._home(address)
        home.mkdir(parents=True)
        (home / "root.zone").write_text("$TTL 60\n. SOA ns. hostmaster. 1 2 1 86400 1\n. NS ns.\nns. A 127.0.0.1\n")
        config = [self._options(address)]
        config += [
            f'key "{key.name}" {{ algorithm {key.algorithm}; secret "{key.secret}"; }};'
            for key in (self.key, self.admin, *(zone.key for zone in self.zones if zone.key is not None))
        ]
        for zone in self.zones:
            if address == self.primary:
                (home / f"{zone.name}.zone").write_text(self._zone_file(zone))
                config.append(self._primary_zone(zone))
            else:
                config.append(
                    f'zone "{zone.name}" {{ type secondary; file "{zone.name}.zone"; '
                    f"primaries port {self._ports[self.primary]} {{ 127.0.0.1; }}; }};"
                )
        (home / "named.conf").write_text("\n".join(config) + "\n")

    def _options(self, address: str) -> str:
        others = " ".join(f"127.0.0.1 port {self._ports[item]};" for item in self.addresses if item != self.primary)
        told = f"notify explicit; also-notify {{ {others} }};"
        notify = told if address == self.primary and others else "notify no;"
        return f"""
options {{
    directory "{self._home(address)}"; pid-file none; session-keyfile none; managed-keys-directory ".";
    listen-on port {self._ports[address]} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
    {"recursion yes; allow-recursion { any; };" if self._resolves else "recursion no;"}
    dnssec-validation no; empty-zones-enable no;
    allow-query {{ any; }}; allow-transfer {{ 127.0.0.0/8; }};
    {notify}
    notify-delay 0; notify-rate 1000; startup-notify-rate 1000; serial-query-rate 1000; min-refresh-time 1;
}};
controls {{ }};
{'zone "." { type primary; file "root.zone"; };' if self._resolves else ""}"""

    def _zone_file(self, zone: Zone) -> str:
        lines = [f"$ORIGIN {zone.name}.", "$TTL 60", "@ SOA ns1 hostmaster 1 2 1 86400 1"]
        for number, address in enumerate(self.addresses, 1):
            lines += [f"@ NS ns{number}", f"ns{number} A {address}"]
        return "\n".join([*lines, *zone.records]) + "\n"

    def _primary_zone(self, zone: Zone) -> str:
        grants = [f"grant {self.admin.name} zonesub ANY;"]
        for host in zone.hosts:
            name = f"{host}.{zone.name}" if host else zone.name
            rule = "zonesub" if host == "*" else f"name _acme-challenge.{name}."
            grants.append(f"grant {self.key_of(zone.name).name} {rule} TXT;")
        grants += [f"grant {self.key.name} subdomain {guest}.{zone.name}. TXT;" for guest in zone.guests]
        policy = " ".join(grants)
        return f'zone "{zone.name}" {{ type primary; file "{zone.name}.zone"; update-policy {{ {policy} }}; }};'

"""The world that a hub lives in: BIND with three zones, Pebble that validates through it, and hubs between them."""

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from acmehub.testing.hub_process import HubProcess
from tests.issued import Issued, verified
from tests.journal import Journal
from tests.servers.bind import Bind, TsigKey
from tests.servers.pebble import Pebble

BLOCKED = "blocked.test"  # two labels: Debian's Pebble panics on names with fewer labels than a blocked one
SETTLE_SECONDS = 60.0
_ISSUED = re.compile(r"Issued certificate serial \w+ for order (\S+)")

RESOURCES = """
[[authority]]
name = "pebble"
plugin = "ca_acme"
default = true
settings = {{ directory = "{directory}", ca_file = "{ca_file}", email = "ops@example.org" }}

[[managed_challenge]]
name = "corp zone"
plugin = "dns_rfc2136"
match = "corp.test, *.corp.test, *.blocked.test"
cname_zones = ["lab.test"]
settings = {dns}

[[managed_challenge]]
name = "lab zone"
plugin = "dns_rfc2136"
match = "lab.test, *.lab.test"
settings = {lab_dns}

[[managed_challenge]]
name = "slow zone"
plugin = "dns_rfc2136"
match = "*.slow.test"
propagation = {{ mode = "delay", delay = {slow_seconds} }}
settings = {dns}

[[principal]]
name = "device"
type = "application"
roles = ["managed_acme_consumer", "managed_challenge_consumer"]
"""

TOKEN = """
[[token]]
title = "{title}"
principal = "device"
scope = ["managed_acme_consumer"]
{more}
"""


class Stack:
    """The servers around hubs; `hub` makes one."""

    def __init__(self, folder: Path, bind: Bind, pebble: Pebble, pebble_log: Path, journal: Journal) -> None:
        self.bind = bind
        self.pebble = pebble
        self._folder = folder
        self._pebble_log = pebble_log
        self._journal = journal
        self._count = 0
        self._credentials: dict[tuple[Path, str], dict[str, str]] = {}
        for zone in bind.zones:
            journal.keep_secret(f"TSIG key for {zone.name}", bind.key_of(zone.name).secret)

    def new_folder(self, name: str) -> Path:
        """A folder for one client or server."""
        self._count += 1
        folder = self._folder / f"{self._count:03d}-{name}"
        folder.mkdir()
        return folder

    def new_log(self, name: str) -> Path:
        """A log that is searched for secrets at the end of the run."""
        return self._journal.new_log(name)

    def hub(
        self,
        *tokens: str,
        config: str = "",
        storage: str = "",
        port: int | None = None,
        arguments: tuple[str, ...] = (),
        command: str = "serve",
        slow_seconds: int = 60,
        apply: bool = True,
    ) -> HubProcess:
        """A hub with this world's resources and `tokens` (`TITLE` or `TITLE: more TOML`), not started."""
        address = f"{self.bind.primary}:{self.bind.port}"
        hub = HubProcess(
            self.new_folder("hub"),
            config=f'{config}\n{storage}\n[dns]\nresolvers = ["{address}"]\nport = {self.bind.port}\n',
            port=port,
            command=command,
            arguments=arguments,
            log=self.new_log("hub"),
        )
        if apply:
            self.apply(hub, *tokens, slow_seconds=slow_seconds)
        else:
            hub.configure()
        return hub

    def apply(self, hub: HubProcess, *tokens: str, slow_seconds: int = 60) -> None:
        """Give a hub's storage this world's resources."""
        lab_key = self.bind.key_of("lab.test")
        text = RESOURCES.format(
            directory=self.pebble.directory,
            ca_file=self.pebble.ca_file,
            dns=self._dns_settings(self.bind.key, "TSIG"),
            lab_dns=self._dns_settings(lab_key, "LAB_TSIG"),
            slow_seconds=slow_seconds,
        )
        for token in tokens:
            title, _, more = token.partition(":")
            text += TOKEN.format(title=title, more=more.strip())
        hub.apply(text, TSIG=self.bind.key.secret, LAB_TSIG=lab_key.secret)

    def _dns_settings(self, key: TsigKey, variable: str) -> str:
        return (
            f'{{ server = "{self.bind.primary}", port = {self.bind.port}, key_name = "{key.name}", '
            f'key_secret = "env:{variable}", key_algorithm = "{key.algorithm}" }}'
        )

    def credentials(self, hub: HubProcess, title: str) -> dict[str, str]:
        """EAB credentials of a token."""
        wanted = (hub.folder, title)
        if wanted not in self._credentials:
            self._credentials[wanted] = hub.eab(title)
            self._journal.keep_secret(f"HMAC key of {title}", self._credentials[wanted]["hmac_key"])
        return self._credentials[wanted]

    def verified(self, path: Path) -> Issued:
        """What a chain file holds, when it leads to Pebble's root for each of its names."""
        return verified(path, self.pebble.root())

    def issued_upstream(self) -> list[str]:
        """Pebble's orders that it issued a certificate for, one entry each time."""
        return _ISSUED.findall(self._pebble_log.read_text())

    def assert_no_txt_left(self) -> None:
        """Every TXT record is gone; they are removed soon after the CA has seen them."""
        eventually(lambda: self.bind.txt() == {}, lambda: f"TXT records are left: {self.bind.txt()}")


def eventually(holds: Callable[[], bool], otherwise: Callable[[], str], seconds: float = SETTLE_SECONDS) -> None:
    """Wait until something outside this process holds; AssertionError with `otherwise()` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.1)


def unsettled(orders: Sequence[Any]) -> list[Any]:
    """Orders (as `acmehub order list --json` has them) that are under way."""
    return [order for order in orders if order["status"] not in ("valid", "invalid")]

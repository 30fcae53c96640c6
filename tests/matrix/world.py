"""The environment of the devices: BIND, Pebble that validates through it, and one hub in mode `auto` between them.

An upstream is slow by its zone: the hub is told that a record there is seen after 60 or 170 s only, so that the CA
validates no earlier. Pebble rejects 15 % of the nonces and reuses no authorization: each order needs a validation. The
hub answers no CSR from an earlier order (`same_csr_seconds`), because here clients renew within the hour, some with the
key that they have.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from acmehub.testing.hub_process import HubProcess
from tests.matrix.contract import Speed
from tests.matrix.device import Device
from tests.servers.bind import Bind, Zone
from tests.servers.pebble import Pebble, PebbleOptions, running_pebble

TOKEN = "matrix"
PROFILE = "devices"
PATIENCE = {Speed.FAST: 120.0, Speed.SLOW_60: 300.0, Speed.SLOW_170: 600.0}

RESOURCES = """
[[authority]]
name = "pebble"
plugin = "ca_acme"
default = true
settings = {{ directory = "{directory}", ca_file = "{ca_file}", email = "ops@example.org" }}

[[principal]]
name = "devices"
type = "application"
roles = ["managed_acme_consumer", "managed_challenge_consumer"]

[[token]]
title = "{token}"
principal = "devices"
scope = ["managed_acme_consumer"]
secret_directory = true

[[profile]]
name = "{profile}"
description = "For the client matrix"
authority = "pebble"
"""

ZONE = """
[[managed_challenge]]
name = "{zone}"
plugin = "dns_rfc2136"
match = "{zone}, *.{zone}"
propagation = {propagation}
settings = {{ server = "{server}", port = {port}, key_name = "{key}", key_secret = "env:TSIG" }}
"""


class World:
    """The servers; `device` makes a new device in front of the hub."""

    def __init__(self, folder: Path, bind: Bind, pebble: Pebble, hub: HubProcess) -> None:
        self.bind = bind
        self.pebble = pebble
        self.hub = hub
        self._folder = folder
        self._credentials: dict[str, str] = hub.json("token", "eab", TOKEN)
        self._numbers = count(1)

    @property
    def secrets(self) -> dict[str, str]:
        """What must stand in no log of the servers, by what it is."""
        return {name: self._credentials[name] for name in ("hmac_key", "secret_directory")}

    def device(self, speed: Speed, client: str, way: str) -> Device:
        """A device of its own for one case."""
        number = next(self._numbers)
        plain = "".join(letter if letter.isalnum() else "-" for letter in f"{client} {way} {speed.typed}".lower())
        folder = self._folder / "devices" / f"{number:03d}-{plain}"
        return Device(self, folder, f"c{number}.{speed.zone}", self._credentials, PATIENCE[speed], PROFILE)


@contextmanager
def running_world(folder: Path, logs: Path | None = None, url: str = "", port: int | None = None) -> Iterator[World]:
    """The servers, with all their files in `folder` (and their logs in `logs`), until the block ends; clients reach
    the hub by `url`, if that is another one than that of its `port` (a free one)."""
    folder.mkdir(parents=True, exist_ok=True)
    logs = logs or folder
    zones = [Zone(speed.zone, hosts=("*",)) for speed in Speed]
    with Bind(folder / "bind", zones, log=logs / "matrix-bind.log", resolves=True) as bind:
        address = f"{bind.primary}:{bind.port}"
        options = PebbleOptions(dns_server=address, nonce_reject=15)
        with running_pebble(folder / "pebble", options, log=logs / "matrix-pebble.log") as pebble:
            config = f'[acme]\nsame_csr_seconds = 0\n[dns]\nresolvers = ["{address}"]\nport = {bind.port}\n'
            around = {"ACMEHUB_PUBLIC_URL": url} if url else {}
            hub = HubProcess(folder / "hub", config=config, port=port, environment=around, log=logs / "matrix-hub.log")
            resources = RESOURCES.format(
                directory=pebble.directory, ca_file=pebble.ca_file, token=TOKEN, profile=PROFILE
            )
            hub.apply(resources + "".join(_zone(speed, bind) for speed in Speed), TSIG=bind.key.secret)
            with hub:
                yield World(folder, bind, pebble, hub)


def _zone(speed: Speed, bind: Bind) -> str:
    seen_after = f'{{ mode = "delay", delay = {speed.value} }}' if speed.value else "{}"
    return ZONE.format(zone=speed.zone, propagation=seen_after, server=bind.primary, port=bind.port, key=bind.key.name)

"""A Pebble that validates dns-01 against a test DNS server: the environment for the contract of `RelayAuthority`."""

import asyncio
import json
import ssl
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from acmehub import AcmeRelay, PluginContext, RelayAuthority, RelaySettings, UpstreamAccount
from acmehub.ports.clock import SystemClock
from acmehub.testing.dns_server import DnsServer
from acmehub.upstream.exchange import Exchanger
from acmehub.upstream.hosts import Hosts
from acmehub.upstream.keys import UpstreamAccountKey
from acmehub.upstream.nonces import UpstreamNonces
from tests.servers.pebble import Pebble

ZONE = "corp.test"
USER_AGENT = "acmehub/test (+https://example.test)"


def context(data_dir: Path) -> PluginContext:
    """A context for factories of plugins."""
    return PluginContext(user_agent=USER_AGENT, data_dir=data_dir, clock=SystemClock())


def settings_for(pebble: Pebble, **more: object) -> RelaySettings:
    """Settings that Pebble accepts."""
    given = {"directory": pebble.directory, "ca_file": str(pebble.ca_file), "terms_of_service_agreed": True, **more}
    return RelaySettings(**given)  # type: ignore[arg-type]


def post_as(pebble: Pebble, account: UpstreamAccount, url: str, payload: dict[str, object]) -> bytes:
    """A signed POST with any payload."""
    trusted = ssl.create_default_context(cafile=pebble.ca_file)
    with urllib.request.urlopen(pebble.directory, context=trusted) as answer:
        new_nonce = json.loads(answer.read())["newNonce"]
    exchanger = Exchanger(
        pebble.directory,
        user_agent=USER_AGENT,
        ca_file=str(pebble.ca_file),
        timeout=10,
        connections=1,
        hosts=Hosts(settings_for(pebble)),
        nonces=UpstreamNonces(SystemClock().monotonic),
        now=lambda: datetime.now(UTC),
    )
    body = json.dumps(payload).encode()
    done = exchanger.post(url, body, UpstreamAccountKey(account.key), kid=account.url, new_nonce=new_nonce)
    exchanger.close()
    return done.body


class PebbleLab:
    """A `RelayLab` with Pebble and a test DNS server."""

    zone = ZONE

    def __init__(
        self, pebble: Pebble, server: DnsServer, make: Callable[[str], RelayAuthority], dead_port: int
    ) -> None:
        self.pebble = pebble
        self._server = server
        self._make = make
        self._dead_port = dead_port

    def authority(self) -> RelayAuthority:
        return self._make(self.pebble.directory)

    def authority_without_server(self) -> RelayAuthority:
        return self._make(f"https://127.0.0.1:{self._dead_port}/dir")

    async def publish(self, name: str, value: str) -> None:
        self._server.zones.add(name, "TXT", value)

    async def deactivate(self, account: UpstreamAccount) -> None:
        await asyncio.to_thread(post_as, self.pebble, account, account.url, {"status": "deactivated"})


@asynccontextmanager
async def pebble_lab(
    pebble: Pebble, dns_port: int, dead_port: int, make: Callable[[str], RelayAuthority] | None = None
) -> AsyncIterator[PebbleLab]:
    """A lab around a Pebble that was started with 127.0.0.1:`dns_port` as its DNS server."""

    def relay(directory: str) -> RelayAuthority:
        settings = settings_for(pebble, email="ops@example.test", directory=directory)
        return AcmeRelay(settings, context(pebble.ca_file.parent))

    async with DnsServer([ZONE], port=dns_port) as server:
        yield PebbleLab(pebble, server, make or relay, dead_port)

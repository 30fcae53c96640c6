"""A Pebble that validates dns-01 against a test DNS server: the environment for the contract of `RelayAuthority`."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from acmehub import AcmeRelay, Closes, HttpClient, PluginContext, RelayAuthority, RelaySettings, UpstreamAccount
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


async def post_as(pebble: Pebble, account: UpstreamAccount, url: str, payload: dict[str, object]) -> bytes:
    """A signed POST with any payload."""
    client = HttpClient(user_agent=USER_AGENT, ca_file=str(pebble.ca_file), timeout=20)
    try:
        directory = json.loads((await client.send("GET", pebble.directory)).body)
        exchanger = Exchanger(
            pebble.directory,
            client,
            seconds=20,
            hosts=Hosts(settings_for(pebble)),
            nonces=UpstreamNonces(SystemClock().monotonic),
            now=lambda: datetime.now(UTC),
        )
        body, key = json.dumps(payload).encode(), UpstreamAccountKey(account.key)
        done = await exchanger.post(url, body, key, kid=account.url, new_nonce=directory["newNonce"])
    finally:
        await client.aclose()
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
        self._made: list[RelayAuthority] = []

    def authority(self) -> RelayAuthority:
        return self._closed_later(self._make(self.pebble.directory))

    def authority_without_server(self) -> RelayAuthority:
        return self._closed_later(self._make(f"https://127.0.0.1:{self._dead_port}/dir"))

    def _closed_later(self, authority: RelayAuthority) -> RelayAuthority:
        self._made.append(authority)
        return authority

    async def aclose(self) -> None:
        """Close the authorities."""
        for authority in self._made:
            assert isinstance(authority, Closes)
            await authority.aclose()

    async def publish(self, name: str, value: str) -> None:
        self._server.zones.add(name, "TXT", value)

    async def deactivate(self, account: UpstreamAccount) -> None:
        await post_as(self.pebble, account, account.url, {"status": "deactivated"})


@asynccontextmanager
async def pebble_lab(
    pebble: Pebble, dns_port: int, dead_port: int, make: Callable[[str], RelayAuthority] | None = None
) -> AsyncIterator[PebbleLab]:
    """A lab around a Pebble that was started with 127.0.0.1:`dns_port` as its DNS server."""

    def relay(directory: str) -> RelayAuthority:
        settings = settings_for(pebble, email="ops@example.test", directory=directory)
        return AcmeRelay(settings, context(pebble.ca_file.parent))

    async with DnsServer([ZONE], port=dns_port) as server:
        lab = PebbleLab(pebble, server, make or relay, dead_port)
        yield lab
        await lab.aclose()

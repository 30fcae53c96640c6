"""DNS servers for the solver's tests: a scripted one in the process, and a real BIND."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from acmehub.config import Dns
from acmehub.dns01.resolver import Resolver
from acmehub.testing.dns_server import DnsServer
from tests.journal import Journal
from tests.servers.bind import Bind, Zone

ADDRESSES = ("127.0.71.1", "127.0.71.2", "127.0.71.3")


@pytest_asyncio.fixture
async def dns() -> AsyncIterator[DnsServer]:
    """Three name servers of four zones."""
    async with DnsServer(
        ["corp.test", "far.test", "sub.corp.test", "_acme-challenge.own.corp.test"], addresses=ADDRESSES
    ) as server:
        yield server


@pytest.fixture
def settings(dns: DnsServer) -> Dns:
    return Dns(resolvers=(f"{ADDRESSES[0]}:{dns.port}",), port=dns.port, timeout=0.4)


@pytest.fixture
def resolver(settings: Dns) -> Resolver:
    return Resolver(settings)


@pytest.fixture(scope="session")
def bind(tmp_path_factory: pytest.TempPathFactory, journal: Journal) -> Iterator[Bind]:
    """A primary and two secondaries."""
    zones = [
        Zone("corp.test", ("", "www"), ("_acme-challenge.alias CNAME alias.far.test.", '@ CAA 0 issue "ca.test"')),
        Zone("far.test", ("*",)),
        Zone("lan", ("*",)),
    ]
    with Bind(tmp_path_factory.mktemp("bind"), zones, secondaries=2, log=journal.new_log("bind-dns01")) as servers:
        yield servers

"""A Pebble that validates every challenge, a fault proxy before it, and an `AcmeRelay` that connects to the proxy."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from acmehub import AcmeRelay, UpstreamAccount
from acmehub.testing.fault_proxy import FaultProxy
from tests.servers.pebble import Pebble, PebbleOptions, running_pebble
from tests.servers.pebble_lab import context, settings_for

MakeRelay = Callable[..., AcmeRelay]
PLAIN: dict[str, object] = {"renewalInfo": None, "meta": {"termsOfService": "https://ca.test/terms"}}
"""Members of a directory without renewal information and profiles; newer Pebbles have both."""

_made: list[AcmeRelay] = []


def closed_later(relay: AcmeRelay) -> AcmeRelay:
    """The relay, which is closed at the end of the test."""
    _made.append(relay)
    return relay


@pytest.fixture(autouse=True)
async def _closing() -> AsyncIterator[None]:
    yield
    while _made:
        await _made.pop().aclose()


@pytest.fixture(scope="package")
def pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with running_pebble(tmp_path_factory.mktemp("pebble"), PebbleOptions(always_valid=True)) as running:
        yield running


@pytest.fixture
def proxy(pebble: Pebble, tmp_path: Path) -> Iterator[FaultProxy]:
    with FaultProxy(pebble.directory.removesuffix("/dir"), target_ca=pebble.ca_file, folder=tmp_path) as running:
        yield running


@pytest.fixture
def make_relay(pebble: Pebble, proxy: FaultProxy, tmp_path: Path) -> MakeRelay:
    """A relay that goes through the proxy; settings may be given by name."""

    def make(**settings: object) -> AcmeRelay:
        given = {"directory": f"{proxy.url}/dir", "ca_file": str(proxy.ca_file), "timeout": 10, **settings}
        return closed_later(AcmeRelay(settings_for(pebble, **given), context(tmp_path)))

    return make


@pytest.fixture
def relay(make_relay: MakeRelay) -> AcmeRelay:
    return make_relay()


@pytest.fixture
async def account(relay: AcmeRelay) -> UpstreamAccount:
    return await relay.register(relay.new_account_key())

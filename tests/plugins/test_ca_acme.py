"""`ca_acme` against Pebble, which validates for real: the contract, with and without rejected nonces."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from acmehub import RelayAuthority, RelaySettings
from acmehub.runtime.plugins import build_registry
from acmehub.testing.authority_contract import RelayAuthorityContract
from tests.servers.pebble import Pebble, PebbleOptions, running_pebble
from tests.servers.pebble_lab import PebbleLab, context, pebble_lab, settings_for


@pytest.fixture(scope="module")
def dns_port(free_port: Callable[[], int]) -> int:
    return free_port()


@pytest.fixture(scope="module", params=[0, 15], ids=["all nonces good", "15 % of nonces rejected"])
def pebble(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, dns_port: int) -> Iterator[Pebble]:
    options = PebbleOptions(dns_server=f"127.0.0.1:{dns_port}", nonce_reject=request.param)
    with running_pebble(tmp_path_factory.mktemp("pebble"), options) as running:
        yield running


class TestContract(RelayAuthorityContract):
    @pytest.fixture
    async def lab(self, pebble: Pebble, dns_port: int, free_port: Callable[[], int]) -> AsyncIterator[PebbleLab]:
        async with pebble_lab(pebble, dns_port, free_port()) as lab:
            yield lab


def test_the_plugin_offers_a_relay_authority_under_its_name(pebble: Pebble) -> None:
    registration = build_registry().authorities["ca_acme"]
    assert registration.settings is RelaySettings
    made = registration.factory(settings_for(pebble), context(pebble.ca_file.parent))
    assert isinstance(made, RelayAuthority)
    assert made.server == pebble.directory

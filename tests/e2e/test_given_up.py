"""A client that hangs up on a slow CA: the work goes on without it, and its next order, with another key, is quick."""

import asyncio
import ssl
import time
from base64 import urlsafe_b64decode
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from acmehub.testing.acme_client import AcmeClient
from acmehub.testing.acme_keys import ExternalAccount, PrivateKey, make_csr
from acmehub.testing.hub_process import HubProcess
from tests.e2e.stack import Stack
from tests.journal import Journal
from tests.servers.pebble import PebbleOptions, running_pebble

pytestmark = pytest.mark.e2e

SLOW = 20  # seconds until the records count as seen, then up to SLEEP in the CA
SLEEP = 3
QUICK = 12.0  # on a busy machine; it is about one second on an idle one
PATIENCE = 3.0
NAMES = ["given-up.slow.test", "*.given-up.slow.test"]


async def test_the_next_order_of_a_client_that_gave_up_takes_seconds(
    stack: Stack, tmp_path: Path, journal: Journal
) -> None:
    log = journal.new_log("pebble-slow")
    options = PebbleOptions(dns_server=f"{stack.bind.primary}:{stack.bind.port}", authz_reuse=100, sleep=SLEEP)
    with running_pebble(tmp_path / "pebble", options, log=log) as pebble:
        world = Stack(tmp_path, stack.bind, pebble, log, journal)
        with world.hub("device", config="[acme]\nhold = 25", slow_seconds=SLOW) as hub:
            credentials = world.credentials(hub, "device")
            first = await _give_up(hub, credentials)
            await _until_valid(hub, first)
            begun = time.monotonic()
            pem, key = await _issue(hub, credentials)
            seconds = time.monotonic() - begun
            leaf = x509.load_pem_x509_certificates(pem.encode())[0]
            assert leaf.public_key() == key.public_key()
            assert seconds < QUICK, f"{seconds:.1f} s"
            assert len(world.issued_upstream()) == 2
            world.assert_no_txt_left()


async def _client(hub: HubProcess, credentials: dict[str, str], http: httpx.AsyncClient) -> AcmeClient:
    client = await AcmeClient.discover(http, hub.directory)
    key = urlsafe_b64decode(credentials["hmac_key"] + "=")
    await client.register(ExternalAccount(credentials["kid"], key))
    return client


def _http(hub: HubProcess, timeout: float) -> httpx.AsyncClient:
    return httpx.AsyncClient(verify=ssl.create_default_context(cafile=hub.ca_file), timeout=timeout)


async def _give_up(hub: HubProcess, credentials: dict[str, str]) -> str:
    """Order and finalize with a client that waits three seconds for an answer, then hangs up; the order's id."""
    async with _http(hub, 60.0) as http:
        client = await _client(hub, credentials, http)
        orders = (await client.post(client.kid)).json["orders"]
        http.timeout = httpx.Timeout(PATIENCE)
        with pytest.raises(httpx.ReadTimeout):
            await client.new_order(NAMES)
        http.timeout = httpx.Timeout(60.0)
        (url,) = (await client.post(orders)).json["orders"]
        http.timeout = httpx.Timeout(PATIENCE)
        with pytest.raises(httpx.ReadTimeout):
            await client.finalize({"finalize": f"{url}/finalize"}, make_csr(NAMES)[0])
    return str(url).rpartition("/")[2]


async def _until_valid(hub: HubProcess, order_id: str) -> None:
    deadline = time.monotonic() + 120
    while (shown := hub.json("order", "show", order_id))["status"] != "valid":
        assert time.monotonic() < deadline, shown
        await asyncio.sleep(1)


async def _issue(hub: HubProcess, credentials: dict[str, str]) -> tuple[str, PrivateKey]:
    """The client again: another account, another key."""
    async with _http(hub, 60.0) as http:
        client = await _client(hub, credentials, http)
        return await client.issue(NAMES, seconds=60)

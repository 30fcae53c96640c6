"""A CA that sends octet by octet: the hub ends in time although it is in the middle of exchanges with it."""

import ssl
import threading
import time
from base64 import urlsafe_b64decode
from pathlib import Path

import httpx
import pytest

from acmehub.testing.acme_client import AcmeClient
from acmehub.testing.acme_keys import ExternalAccount
from acmehub.testing.hub_process import HubProcess
from tests.servers.dripping import dripping, no_body

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

RESOURCES = """
[[authority]]
name = "drips"
plugin = "ca_acme"
default = true
settings = {{ directory = "http://127.0.0.1:{port}/dir" }}

[[managed_challenge]]
name = "corp"
plugin = "dns_rfc2136"
match = "*.corp.test"
settings = {{ server = "127.0.0.1", key_name = "hub.", key_secret = "c2VjcmV0LXRzaWcta2V5LW9mLXRoaXMtdGVzdA==" }}

[[principal]]
name = "device"
type = "application"
roles = ["managed_acme_consumer"]

[[token]]
title = "device"
principal = "device"
scope = ["managed_acme_consumer"]
authorization = "preapproved"
"""
NAMES = ["a.corp.test", "b.corp.test", "c.corp.test"]


async def test_sigterm_with_a_dripping_ca_ends_in_less_than_twelve_seconds(tmp_path: Path) -> None:
    asked = threading.Semaphore(0)

    def drip(connection: object) -> None:
        asked.release()
        no_body(connection)  # type: ignore[arg-type]

    with dripping(drip) as port:
        hub = HubProcess(tmp_path, config="[acme]\nhold = 1")
        hub.apply(RESOURCES.format(port=port))
        credentials = hub.eab("device")
        with hub:
            trusted = ssl.create_default_context(cafile=hub.ca_file)
            async with httpx.AsyncClient(verify=trusted, timeout=20) as http:
                client = await AcmeClient.discover(http, hub.directory)
                key = urlsafe_b64decode(credentials["hmac_key"] + "=")
                await client.register(ExternalAccount(credentials["kid"], key))
                for name in NAMES:
                    await client.new_order([name])
            assert asked.acquire(timeout=10), "the hub asks the CA"
            begun = time.monotonic()
            hub.stop()
            seconds = time.monotonic() - begun
        assert hub.exit_status == 0, hub.last_words()
        assert seconds < 12, f"{seconds:.1f} s"
        assert "Traceback" not in hub.log.read_text()

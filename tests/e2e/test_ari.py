"""Renewed early, for real (RFC 9773): certbot because of a campaign, and a CA that is told what is replaced.

lego, and a Pebble that has ARI, are in tests/matrix/ari.py: neither is in Debian.
"""

import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from acmehub.rules.jws import decode_base64url
from acmehub.rules.renewal import cert_id_in
from acmehub.testing.acme_client import AcmeClient
from acmehub.testing.acme_keys import ExternalAccount
from acmehub.testing.fault_proxy import Call, FaultProxy, Forward, ProxyReply
from acmehub.testing.hub_process import HubProcess
from acmehub.testing.upstream_faults import changed
from scripts.certbot import FROM_PYPI, Certbot
from tests.e2e.stack import Stack, eventually

pytestmark = pytest.mark.e2e
IMPATIENT = "[acme]\nrenewal_info_seconds = 1\n"  # clients keep to Retry-After, and a test has no six hours
WINDOW = {"start": "2031-01-01T00:00:00Z", "end": "2031-01-02T00:00:00Z"}


@pytest.fixture
def impatient_hub(stack: Stack) -> Iterator[HubProcess]:
    with stack.hub("device", config=IMPATIENT) as hub:
        yield hub


def test_certbot_renews_early_because_of_a_campaign_and_not_before_it(stack: Stack, impatient_hub: HubProcess) -> None:
    hub, name = impatient_hub, "early.corp.test"
    certbot = Certbot(
        stack.new_folder("certbot"), hub.ca_file, hub.directory, stack.credentials(hub, "device"), FROM_PYPI
    )

    def ordered(*options: str) -> int:
        done = certbot.certonly((name,), *options, name="ari")
        assert done.returncode == 0, done.stdout
        return serial()

    def serial() -> int:
        return stack.verified(certbot.chain("ari")).serial

    def serial_after_the_timer() -> int:
        wait_for_the_next_second()
        done = certbot.renew_if_due(name="ari")
        assert done.returncode == 0, done.stdout
        return serial()

    first = ordered()
    assert serial_after_the_timer() == first  # the certificate is new
    assert "ari_retry_after" in (certbot.folder / "config" / "renewal" / "ari.conf").read_text()

    hub.run("certificate", "renew-by", "+2d", "--starts", "+1d", "--name", "later", "--names", "*.corp.test")
    assert serial_after_the_timer() == first  # it is not time yet
    hub.run("certificate", "end-campaign", "later")

    hub.run("certificate", "renew-by", "+1h", "--name", "elsewhere", "--starts", "2026-01-01", "--names", "lab.test")
    assert serial_after_the_timer() == first  # another one's
    hub.run("certificate", "end-campaign", "elsewhere")

    overdue = ("--starts", "2026-01-01", "--name", "now", "--authority", "pebble")
    begun = json.loads(hub.run("certificate", "renew-by", "+1m", *overdue, "--json"))
    assert (begun["campaign"]["left"], begun["principals"]) == (1, {"device": 1})
    second = serial_after_the_timer()
    assert second != first
    [campaign] = [item for item in hub.json("certificate", "campaigns") if item["name"] == "now"]
    assert (campaign["left"], campaign["total"], campaign["state"]) == (0, 1, "done")
    assert serial_after_the_timer() == second  # once is enough
    stack.assert_no_txt_left()


async def test_the_ca_is_told_what_is_replaced_and_its_own_window_reaches_clients(stack: Stack, tmp_path: Path) -> None:
    hub = stack.hub("device")
    expected = {"suggestedWindow": WINDOW, "explanationURL": "https://ca.test/why"}
    with FaultProxy(
        stack.pebble.directory.removesuffix("/dir"), target_ca=stack.pebble.ca_file, folder=tmp_path
    ) as proxy:
        proxy.play(changed({"renewalInfo": f"{proxy.url}/renewal-info"}), path="/dir$", times=None)
        proxy.play(_window, path="/renewal-info/", times=None)
        settings = ("--set", f"directory={proxy.url}/dir", "--set", f"ca_file={proxy.ca_file}")
        hub.run("authority", "set", "pebble", *settings)
        with hub:
            first, second = await _issue_twice(hub, stack)
            told = {found for call in proxy.calls if (found := (call.payload() or {}).get("replaces"))}
            assert told == {first}  # sent again where Pebble rejects the nonce
        with hub:  # a worker asks when it starts
            eventually(lambda: _told(hub, second) == expected, lambda: f"{_told(hub, second)}, asked: {_asked(proxy)}")


def _told(hub: HubProcess, cert_id: str) -> Any:
    """What a client is told of a certificate."""
    trusted = ssl.create_default_context(cafile=hub.ca_file)
    with httpx.Client(verify=trusted) as http:
        return http.get(f"{http.get(hub.directory).json()['renewalInfo']}/{cert_id}").json()


def wait_for_the_next_second() -> None:
    """What the hub says has whole seconds, and so has certbot's memory of when to ask again."""
    time.sleep(1.1)


async def _issue_twice(hub: HubProcess, stack: Stack) -> tuple[str, str]:
    """A certificate and its renewal, by a client that sends `replaces`; the ARI identifiers of both."""
    credentials = stack.credentials(hub, "device")
    trusted = ssl.create_default_context(cafile=hub.ca_file)
    async with httpx.AsyncClient(verify=trusted, timeout=60) as http:
        client = await AcmeClient.discover(http, hub.directory)
        await client.register(ExternalAccount(credentials["kid"], decode_base64url(credentials["hmac_key"])))
        chain, _ = await client.issue(["told.corp.test"], seconds=60)
        first = cert_id_in(chain)
        chain, _ = await client.issue(["told.corp.test"], seconds=60, replaces=first)
        return first, cert_id_in(chain)


def _window(call: Call, forward: Forward) -> ProxyReply:
    body = json.dumps({"suggestedWindow": WINDOW, "explanationURL": "https://ca.test/why"}).encode()
    return ProxyReply(status=200, headers=(("Content-Type", "application/json"), ("Retry-After", "21600")), body=body)


def _asked(proxy: FaultProxy) -> set[str]:
    return {call.path.rpartition("/")[2] for call in proxy.calls if call.path.startswith("/renewal-info/")}

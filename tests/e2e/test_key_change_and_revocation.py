"""Key change while an order runs, pre-authorization and revocation, through the hub to a real CA."""

import ssl
from base64 import urlsafe_b64decode

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from acmehub.testing.acme_client import AcmeClient
from acmehub.testing.acme_keys import AccountKey, ExternalAccount, make_csr
from acmehub.testing.hub_process import HubProcess
from tests.e2e.stack import Stack

pytestmark = pytest.mark.e2e


async def test_a_certificate_ordered_under_one_key_is_revoked_at_the_ca_under_another(
    stack: Stack, hub: HubProcess
) -> None:
    credentials = stack.credentials(hub, "device")
    key = credentials["hmac_key"]
    external = ExternalAccount(credentials["kid"], urlsafe_b64decode(key + "=" * (-len(key) % 4)))
    context = ssl.create_default_context(cafile=str(hub.ca_file))
    async with httpx.AsyncClient(verify=context, timeout=60) as http:
        client = await AcmeClient.discover(http, hub.directory, key=AccountKey.generate("Ed25519"))
        await client.register(external, status=201)
        orders_before = len(hub.json("order", "list"))
        await client.new_authz("rolled.corp.test")
        placed = await client.new_order(["rolled.corp.test"])
        await client.key_change(AccountKey.generate("P-384"))
        reply = await client.finalize(placed.json, make_csr(["rolled.corp.test"])[0])
        await client.key_change(AccountKey.generate("P-256"))
        while reply.json["status"] == "processing":
            reply = await client.order(placed.location)
        chain = await client.certificate(reply.json["certificate"])
        assert len(hub.json("order", "list")) == orders_before + 2  # the hidden one, too
        leaf = x509.load_pem_x509_certificates(chain.encode())[0]
        serial = f"{leaf.serial_number:x}"
        assert stack.pebble.certificate_status(serial) == "Valid"
        await client.revoke(leaf.public_bytes(Encoding.DER), 4, status=200)
        assert stack.pebble.certificate_status(serial) == "Revoked"
        again = await client.revoke(leaf.public_bytes(Encoding.DER), 4, status=400)
        assert again.problem == "alreadyRevoked"
        _, own = await client.issue(["own.corp.test"])
        [certificate] = [row for row in hub.json("certificate", "list") if row["names"] == ["own.corp.test"]]
        stored = hub.json("certificate", "show", certificate["id"])["chain"]
        der = x509.load_pem_x509_certificates(stored.encode())[0].public_bytes(Encoding.DER)
        await client.revoke(der, 1, key=AccountKey(own), status=200)
        assert stack.pebble.certificate_status(certificate["serial"]) == "Revoked"
    stack.assert_no_txt_left()

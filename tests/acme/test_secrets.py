"""What is secret in an account binding stands nowhere that people or machines read."""

import logging

import pytest
from msgspec.structs import asdict

from acmehub.testing.acme_keys import ExternalAccount, b64
from tests.acme.lab import Lab


async def test_the_key_of_an_account_binding_is_in_no_log_line_and_in_no_audit(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    _, external = await lab.token()
    client = await lab.stranger()
    wrong = ExternalAccount(external.kid, external.key[::-1])
    refused = await client.register(wrong, status=403)
    await client.register(external, status=201)
    _, disabled = await lab.token(enabled=False)
    await (await lab.stranger()).register(disabled, status=403)
    told = caplog.text + repr([asdict(entry) for entry in await lab.hub.store.records.audited(100)])
    for key in (external.key, wrong.key, disabled.key):
        for text in (b64(key), key.hex(), repr(key), str(list(key))):
            assert text not in told
            assert text.encode() not in refused.body

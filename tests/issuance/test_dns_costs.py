"""What a proxied order costs in DNS: questions and updates are counted at the server."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

import acmehub_dns_rfc2136
from acmehub.models import Propagation, PropagationMode
from acmehub.runtime.plugin_objects import MANAGED_CHALLENGE_SETTINGS
from acmehub.testing.dns_server import tsig_key
from tests.issuance.rig import Rig, make_rig

SECRET = base64.b64encode(b"the key of the test of DNS costs").decode()
APEX = "_acme-challenge.corp.test"


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """Its managed challenge is one of dns_rfc2136, for the server that resolves as well."""
    async with make_rig(tmp_path, keys=[tsig_key("hub.", "hmac-sha256", SECRET)]) as made:
        made.registry.add("dns_rfc2136", acmehub_dns_rfc2136)
        settings = {"server": "127.0.0.1", "port": made.dns.port, "key_name": "hub.", "key_secret": SECRET}
        sealed = made.vault.seal(MANAGED_CHALLENGE_SETTINGS, made.challenge.id, json.dumps(settings).encode())
        row = replace(made.challenge, plugin="dns_rfc2136", sealed_settings=sealed)
        made.challenge = await made.store.managed_challenges.replace(row)
        await made.set_propagation(Propagation(mode=PropagationMode.NONE))
        made.relay.sees = lambda name, value: value in made.dns.zones.txt().get(name, [])
        yield made
        await made.plugin_objects.close()


async def costs(rig: Rig, *names: str) -> list[tuple[str, str]]:
    """The messages of an order as they arrived: type, and name or zone."""
    del rig.dns.seen[:]
    order_id = await rig.open(*names, finalize=True)
    await rig.go()
    await rig.assert_valid(order_id)
    return [(item.rdtype, item.name) for item in rig.dns.seen]


async def test_one_name_costs_a_question_and_two_updates(rig: Rig) -> None:
    assert await costs(rig, "corp.test") == [("SOA", APEX), ("UPDATE", "corp.test"), ("UPDATE", "corp.test")]


async def test_an_apex_and_its_wildcard_cost_a_question_and_one_update_to_add_them(rig: Rig) -> None:
    removals = [("UPDATE", "corp.test")] * 2
    assert await costs(rig, "corp.test", "*.corp.test") == [("SOA", APEX), ("UPDATE", "corp.test"), *removals]


@pytest.mark.parametrize("count", [2, 5])
async def test_the_names_of_a_zone_are_added_by_one_update(rig: Rig, count: int) -> None:
    seen = [kind for kind, _ in await costs(rig, *(f"h{number}.corp.test" for number in range(count)))]
    assert seen == ["SOA"] * count + ["UPDATE"] * (1 + count)

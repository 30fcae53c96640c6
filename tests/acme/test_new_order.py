"""newOrder step by step: what it reads, and that only its last step writes."""

from collections import Counter
from typing import Any

import pytest

from acmehub.acme.orders.new_order import Asked, NewOrders
from acmehub.acme.orders.order_reuse import OrderReuse
from acmehub.models import AuthorizationMode, Pause, Profile
from acmehub.models.identifiers import Identifier
from acmehub.models.wire import NewOrder
from acmehub.rules.orders import Lifetimes
from acmehub.rules.permissions import Acting
from acmehub.testing.acme_client import AcmeClient
from tests.acme.lab import Lab

NAMES = ["a.corp.test"]


@pytest.fixture
def calls(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Which of the store's verbs were called, and how often."""
    counts: Counter[str] = Counter()

    def count(place: object, verb: str, name: str) -> None:
        inner = getattr(place, verb)

        async def counted(*args: Any, **named: Any) -> Any:
            counts[name] += 1
            return await inner(*args, **named)

        monkeypatch.setattr(place, verb, counted)

    store = lab.hub.store
    count(store, "revisions", "revisions")
    for noun in ("authorities", "managed_challenges", "profiles", "tokens", "campaigns", "principals"):
        for verb in ("list", "get", "named"):
            count(getattr(store, noun), verb, f"{noun}.{verb}")
    for noun, verb in (("accounts", "replace"), ("orders", "add"), ("orders", "apply"), ("records", "note")):
        count(getattr(store, noun), verb, f"{noun}.{verb}")
    return counts


@pytest.mark.parametrize("members", [{}, {"profile": "p"}])
async def test_a_new_order_reads_the_revisions_once_and_of_the_configuration_nothing_else(
    lab: Lab, calls: Counter[str], members: dict[str, Any]
) -> None:
    await lab.hub.store.profiles.add(Profile(name="p", description="d", created=lab.now))
    client = await lab.client()
    await client.new_order(NAMES, **members)
    calls.clear()
    await client.new_order(["b.corp.test"], **members)
    assert dict(calls) == {"revisions": 1, "orders.add": 1}


async def test_what_accounts_do_with_tokens_makes_no_order_read_them(lab: Lab, calls: Counter[str]) -> None:
    client = await lab.client()
    await client.new_order(NAMES)
    await lab.client()  # counts a use of its token
    calls.clear()
    await client.new_order(["b.corp.test"])
    assert dict(calls) == {"revisions": 1, "orders.add": 1}


async def test_only_the_last_step_writes(lab: Lab, calls: Counter[str]) -> None:
    hub = lab.hub
    client = await lab.client("device/1", authorization=AuthorizationMode.AUTO)
    actor = await hub.store.accounts.actor(client.kid.rpartition("/")[2])
    assert actor is not None
    new_orders = NewOrders(
        hub.store,
        hub.snapshots,
        hub.registry,
        hub.plugin_objects,
        hub.clock,
        Lifetimes(),
        OrderReuse(hub.store, hub.snapshots),
        hub.learning,
        hub.rights,
        hub.client_limits,
        hub.dispatcher,
    )
    asked = Asked(actor, NewOrder(identifiers=(Identifier("dns", "a.corp.test"),)), "another-device/1")
    calls.clear()
    resolved = await new_orders.resolve(asked)
    authorized = await new_orders.authorize(asked, resolved)
    built = await new_orders.build(asked, resolved, authorized)
    assert {name for name in calls if name.partition(".")[2] in ("add", "apply", "note", "replace")} == set()
    assert await new_orders.reuse_or_store(asked, resolved, authorized, built) == built.bundle
    assert (calls["accounts.replace"], calls["orders.add"]) == (1, 1)
    again = await new_orders.open(asked)
    assert again.order.id == built.bundle.order.id
    assert (calls["orders.add"], calls["records.note"]) == (1, 1)


async def test_what_the_ca_has_paused_is_refused_in_its_words_until_it_is_cleared(lab: Lab, client: AcmeClient) -> None:
    (row,) = await lab.hub.store.authorities.list()
    await lab.hub.plugin_objects.pause(row.id, Pause(lab.now, "b is paused, see https://ca.test", ("b.corp.test",)))
    refused = await client.new_order(["a.corp.test", "b.corp.test"], status=429)
    assert (refused.status, refused.problem, refused.retry_after) == (429, "rateLimited", 3600)
    assert refused.json["detail"].endswith(": b is paused, see https://ca.test")
    assert (await client.new_authz("b.corp.test", status=429)).problem == "rateLimited"
    assert (await client.new_order(["a.corp.test"])).status == 201
    await lab.hub.admin.authorities.clear_pause(row.name, Acting.machine("olga"))
    assert (await client.new_order(["a.corp.test", "b.corp.test"])).status == 201

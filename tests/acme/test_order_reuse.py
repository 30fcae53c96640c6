"""Who orders again what it has an open order for gets that order (docs/reliability.md 2.14), and when it does not."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from acmehub.config import Acme
from acmehub.models import AuthorizationMode, OrderStatus
from acmehub.rules.orders import Change, OrderBundle
from acmehub.testing.acme_client import AcmeClient, Reply
from acmehub.testing.acme_keys import make_csr
from tests.acme.lab import Lab, laboratory

TWO = ["a.corp.test", "*.corp.test"]
LEGO = "xenolf-acme/4.9.1 (release; linux; amd64)"
AUTO, ACCEPT, PREAPPROVED, VERIFY = (
    AuthorizationMode.AUTO,
    AuthorizationMode.ACCEPT,
    AuthorizationMode.PREAPPROVED,
    AuthorizationMode.VERIFY,
)


async def change(lab: Lab, url: str, **fields: Any) -> None:
    """Write fields of an order."""
    order = (await lab.stored(url)).order
    await lab.hub.store.orders.apply(order.id, lambda now: Change(order=replace(now.order, **fields)))


async def whats(lab: Lab, url: str) -> list[str]:
    order = (await lab.stored(url)).order
    return [event.kind for event in await lab.hub.store.records.timeline(order.id)]


@pytest.mark.parametrize("mode", [PREAPPROVED, ACCEPT, VERIFY])
async def test_the_same_names_again_are_the_same_order(lab: Lab, mode: AuthorizationMode) -> None:
    client = await lab.client(authorization=mode)
    first = await client.new_order(TWO)
    again = await client.new_order(TWO)
    assert (again.status, again.location, again.json) == (201, first.location, first.json)
    assert len(await lab.hub.store.orders.list()) == 1
    assert "order reused" in await whats(lab, first.location)


async def test_with_an_authority_that_signs_by_itself_each_order_is_one_of_its_own(lab: Lab) -> None:
    await lab.no_authority()
    await lab.authority("ca_local", name="signs")
    client = await lab.client()
    first = await client.new_order(TWO)
    assert (await client.new_order(TWO)).location != first.location


async def test_an_order_that_was_joined_is_fulfilled(lab: Lab, client: AcmeClient) -> None:
    await client.new_order(["a.corp.test"])
    joined = await client.new_order(["a.corp.test"])
    await client.finalize(joined.json, make_csr(["a.corp.test"])[0])
    await lab.upstream_validates(joined.location)
    await lab.upstream_issues(joined.location)
    assert (await client.order(joined.location)).json["status"] == "valid"


@pytest.mark.parametrize(
    "names", [["a.corp.test"], ["*.corp.test", "a.corp.test"], ["A.corp.test", "*.corp.test"], [*TWO, "b.corp.test"]]
)
async def test_other_names_or_the_same_in_other_words_are_another_order(client: AcmeClient, names: list[str]) -> None:
    """Clients compare what comes back with what they sent (docs/client-rules.md rule 7)."""
    first = await client.new_order(TWO)
    assert (await client.new_order(names)).location != first.location


async def test_another_account_does_not_join(lab: Lab, client: AcmeClient) -> None:
    first = await client.new_order(TWO)
    other = await lab.client()
    assert (await other.new_order(TWO)).location != first.location


@pytest.mark.parametrize(
    "fields",
    [
        {"client_profile": "short"},
        {"profile": "shortlived"},
        {"replaces": "AAAA.BBBB"},
        {"not_after": datetime(2100, 1, 1, tzinfo=UTC)},
        {"preauthorization": True},
        {"mode": ACCEPT},
    ],
    ids=lambda fields: next(iter(fields)),
)
async def test_an_order_with_another_wish_is_not_joined(lab: Lab, client: AcmeClient, fields: dict[str, Any]) -> None:
    first = await client.new_order(TWO)
    await change(lab, first.location, **fields)
    assert (await client.new_order(TWO)).location != first.location


async def test_an_order_that_is_about_to_lapse_is_not_joined(lab: Lab, client: AcmeClient) -> None:
    first = await client.new_order(TWO)
    await change(lab, first.location, expires=lab.now + timedelta(minutes=50))
    second = await client.new_order(TWO)
    assert second.location != first.location
    await change(lab, second.location, deadline=lab.now + timedelta(minutes=50))
    third = await client.new_order(TWO)
    assert third.location != second.location
    await lab.upstream_validates(third.location)
    await change(lab, third.location, deadline=lab.now)  # its upstream work is done: nothing to give up
    assert (await client.new_order(TWO)).location == third.location


async def test_an_order_of_another_authority_is_not_joined(lab: Lab, client: AcmeClient) -> None:
    first = await client.new_order(TWO)
    (row,) = await lab.hub.store.authorities.list()
    await lab.hub.store.authorities.replace(replace(row, default=False))
    await lab.authority(name="other")
    assert (await client.new_order(TWO)).location != first.location


@pytest.mark.parametrize("mode", [PREAPPROVED, ACCEPT])
async def test_an_order_with_a_deactivated_authorization_is_not_joined(lab: Lab, mode: AuthorizationMode) -> None:
    client = await lab.client(authorization=mode)
    first = await client.new_order(TWO)
    await client.post(first.json["authorizations"][1], {"status": "deactivated"}, status=200)
    second = await client.new_order(TWO)
    assert second.location != first.location
    assert second.json["status"] == first.json["status"]


async def test_an_order_whose_authorization_has_run_out_is_not_joined(lab: Lab, client: AcmeClient) -> None:
    first = await client.new_order(TWO)

    def rule(bundle: OrderBundle) -> Change:
        late = replace(bundle.authorizations[0], expires=lab.now)
        return Change(order=bundle.order, authorizations=(late,))

    await lab.hub.store.orders.apply((await lab.stored(first.location)).order.id, rule)
    assert (await client.new_order(TWO)).location != first.location


async def test_an_order_that_failed_or_was_finalized_is_not_joined(lab: Lab, client: AcmeClient) -> None:
    failed = await client.new_order(["a.corp.test"])
    await lab.upstream_refuses(failed.location)
    second = await client.new_order(["a.corp.test"])
    assert second.location != failed.location
    await client.finalize(second.json, make_csr(["a.corp.test"])[0])
    third = await client.new_order(["a.corp.test"])
    assert third.location not in (failed.location, second.location)
    await lab.upstream_validates(second.location)
    await lab.upstream_issues(second.location)
    assert (await client.new_order(["a.corp.test"])).location == third.location


async def test_scope_and_policy_are_asked_before_an_order_is_joined(lab: Lab, client: AcmeClient) -> None:
    await client.new_order(["a.corp.test"])
    token = (await lab.hub.store.tokens.list())[0]
    await lab.hub.store.tokens.replace(replace(token, names="b.corp.test"))
    assert (await client.new_order(["a.corp.test"], status=403)).problem == "rejectedIdentifier"


async def test_auto_joins_the_order_that_the_upstream_has_approved_meanwhile(lab: Lab) -> None:
    """It began as `accept`, for lego, and is ready now: as good as one that was ready at once."""
    client = await lab.client(LEGO, authorization=AUTO)
    first = await client.new_order(["a.corp.test"])
    assert first.json["status"] == "pending"
    await lab.upstream_validates(first.location)
    joined = await client.new_order(["a.corp.test"])
    assert (joined.location, joined.json["status"]) == (first.location, "ready")
    stored = await lab.stored(first.location)
    assert (stored.order.mode, stored.order.status) == (PREAPPROVED, OrderStatus.READY)
    assert (await client.new_order(["a.corp.test"])).location == first.location


async def test_who_joins_is_held_like_who_orders(folder: Path) -> None:
    async with laboratory(folder, Acme(hold=20.0)) as lab:
        await lab.no_authority()
        await lab.authority()
        await lab.managed_challenge()
        client = await lab.client()
        twin = await lab.stranger()
        twin.key, twin.kid = client.key, client.kid
        first = asyncio.create_task(client.new_order(["a.corp.test"]))
        await until_held(lab, 1)
        second = asyncio.create_task(twin.new_order(["a.corp.test"]))
        await until_held(lab, 2)
        (order,) = await lab.hub.store.orders.list()
        await lab.upstream_validates(f"/order/{order.id}")
        async with asyncio.timeout(5):
            assert (await first).location == (await second).location


async def until_held(lab: Lab, number: int) -> None:
    async with asyncio.timeout(10):
        while len(lab.hub.order_events) < number:
            await asyncio.sleep(0.01)


async def test_clients_that_share_an_account_and_join_are_told_and_succeed_when_they_order_again(
    lab: Lab, client: AcmeClient
) -> None:
    """One order takes one CSR: as with Let's Encrypt, the slower of two has to order again."""
    first = await client.new_order(["a.corp.test"])
    await client.finalize(first.json, make_csr(["a.corp.test"])[0])
    slower = await client.finalize(first.json, make_csr(["a.corp.test"])[0], status=403)
    assert slower.problem == "orderNotReady"
    assert "another CSR" in slower.json["detail"]
    again: Reply = await client.new_order(["a.corp.test"])
    assert again.json["status"] == "ready"
    await client.finalize(again.json, make_csr(["a.corp.test"])[0], status=200)


@pytest.fixture
async def unjoined(folder: Path) -> AsyncIterator[Lab]:
    async with laboratory(folder, Acme(hold=0.05, join_orders=False)) as made:
        await made.no_authority()
        await made.authority()
        await made.managed_challenge()
        yield made


async def test_joining_can_be_switched_off(unjoined: Lab) -> None:
    client = await unjoined.client()
    first = await client.new_order(TWO)
    assert (await client.new_order(TWO)).location != first.location

"""A CSR that comes again gets the certificate that is there, within a window (docs/reliability.md 2.14)."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from acmehub import hookimpl
from acmehub.acme.orders.order_reuse import OrderReuse
from acmehub.config import Acme
from acmehub.models import AuthorizationMode, Campaign, Certificate, Order, OrderStatus, Stage
from acmehub.ports.plugins import OrderFinished
from acmehub.rules.finalizing import finalize
from acmehub.rules.orders import Change
from acmehub.testing.acme_client import AcmeClient, Reply
from acmehub.testing.acme_keys import make_csr
from tests.acme.lab import CHAIN, Lab, laboratory

NAMES = ["a.corp.test", "*.corp.test"]


async def issued(lab: Lab, client: AcmeClient, csr: bytes) -> Certificate:
    """A certificate for the CSR."""
    placed = await client.new_order(NAMES)
    await lab.upstream_validates(placed.location)
    await client.finalize(placed.json, csr)
    await lab.upstream_issues(placed.location)
    id = (await lab.stored(placed.location)).order.certificate_id
    found = await lab.hub.store.certificates.get(id or "")
    assert found is not None
    return found


async def change(lab: Lab, certificate: Certificate, **fields: Any) -> None:
    await lab.hub.store.certificates.replace(replace(certificate, **fields))


async def finalized(client: AcmeClient, csr: bytes, **members: Any) -> Reply:
    """The answer to the next order's finalize."""
    placed = await client.new_order(NAMES, **members)
    return await client.finalize(placed.json, csr)


async def test_the_same_csr_again_gets_the_same_certificate_at_once(lab: Lab, client: AcmeClient) -> None:
    csr, _ = make_csr(NAMES)
    certificate = await issued(lab, client, csr)
    reply = await finalized(client, csr)
    assert reply.json["status"] == "valid"
    assert reply.json["certificate"].endswith(f"/cert/{certificate.id}")
    assert await client.certificate(reply.json["certificate"]) == CHAIN
    order = (await lab.stored(reply.location)).order
    assert (order.stage, order.run_at, order.lock_key, order.lease_owner) == (Stage.DONE, None, None, None)
    (event,) = [item for item in await lab.hub.store.records.timeline(order.id) if item.kind == "certificate reused"]
    assert certificate.order_id in event.detail
    assert len(await lab.hub.store.certificates.list()) == 1
    assert (await client.finalize(reply.json, csr)).json == reply.json  # rule 5: idempotent
    assert (await finalized(client, csr)).json["certificate"] == reply.json["certificate"]


async def test_plugins_hear_that_the_order_is_finished(lab: Lab, client: AcmeClient) -> None:
    heard: list[OrderFinished] = []

    class Listener:
        @hookimpl
        def order_finished(self, event: OrderFinished) -> None:
            heard.append(event)

    csr, _ = make_csr(NAMES)
    await issued(lab, client, csr)
    lab.hub.registry.add("listener", Listener())
    reply = await finalized(client, csr)
    assert [(item.status, item.order_id) for item in heard] == [("valid", reply.location.rpartition("/")[2])]


async def test_another_csr_is_another_certificate(lab: Lab, client: AcmeClient) -> None:
    await issued(lab, client, make_csr(NAMES)[0])
    assert (await finalized(client, make_csr(NAMES)[0])).json["status"] == "processing"


async def test_another_account_gets_its_own_certificate(lab: Lab, client: AcmeClient) -> None:
    csr, _ = make_csr(NAMES)
    await issued(lab, client, csr)
    other = await lab.client()
    assert (await finalized(other, csr)).json["status"] == "processing"


async def test_an_account_cannot_read_what_another_was_handed_out(lab: Lab, client: AcmeClient) -> None:
    csr, _ = make_csr(NAMES)
    await issued(lab, client, csr)
    reply = await finalized(client, csr)
    other = await lab.client()
    await other.post(reply.json["certificate"], status=404)


@pytest.mark.parametrize(
    "fields",
    [
        {"revoked": True},
        {"replaced_by": "an order"},
        {"created": timedelta(minutes=61)},
        {"not_before": timedelta(days=2)},
        {"account_id": "another"},
    ],
    ids=lambda fields: next(iter(fields)),
)
async def test_only_a_good_fresh_certificate_is_handed_out_again(
    lab: Lab, client: AcmeClient, fields: dict[str, Any]
) -> None:
    """Not one that was revoked, is to be replaced, is old, or has less than half of its life before it."""
    csr, _ = make_csr(NAMES)
    certificate = await issued(lab, client, csr)
    values = {
        name: lab.now - value if isinstance(value, timedelta) else lab.now if value is True else value
        for name, value in fields.items()
    }
    if "account_id" in fields:
        values["account_id"] = (await lab.client()).kid.rpartition("/")[2]
    await change(lab, certificate, **values)
    assert (await finalized(client, csr)).json["status"] == "processing"


async def test_a_campaign_since_then_may_be_about_it(lab: Lab, client: AcmeClient) -> None:
    csr, _ = make_csr(NAMES)
    await issued(lab, client, csr)
    now = lab.now
    campaign = Campaign(name="renew", starts=now, renew_by=now + timedelta(days=1), created=now)
    await lab.hub.store.campaigns.add(campaign)
    first = await finalized(client, csr)
    assert first.json["status"] == "processing"
    await lab.hub.store.campaigns.replace(replace(campaign, ended=lab.now))
    assert (await finalized(client, csr)).json["status"] == "valid"


async def test_after_the_window_it_is_a_new_certificate(lab: Lab, client: AcmeClient) -> None:
    csr, _ = make_csr(NAMES)
    certificate = await issued(lab, client, csr)
    await _opened(lab, certificate.order_id, timedelta(minutes=61))
    assert (await finalized(client, csr)).json["status"] == "processing"


async def _opened(lab: Lab, order_id: str, ago: timedelta) -> None:
    await lab.hub.store.orders.apply(
        order_id, lambda bundle: Change(order=replace(bundle.order, created=lab.now - ago))
    )


async def test_a_pending_order_is_not_spared_its_challenge(lab: Lab) -> None:
    client = await lab.client(authorization=AuthorizationMode.ACCEPT)
    csr, _ = make_csr(NAMES)
    placed = await client.new_order(NAMES)
    for url in placed.json["authorizations"]:
        await client.respond((await client.authorization(url)).json["challenges"][0]["url"])
    await lab.upstream_validates(placed.location)
    await client.finalize(placed.json, csr)
    await lab.upstream_issues(placed.location)
    pending = await client.new_order(NAMES)
    assert (await client.finalize(pending.json, csr, status=403)).problem == "orderNotReady"


async def test_an_authority_that_signs_by_itself_signs_again(lab: Lab) -> None:
    await lab.no_authority()
    await lab.authority("ca_local", name="signs")
    client = await lab.client()
    csr, _ = make_csr(NAMES)
    placed = await client.new_order(NAMES)
    await client.finalize(placed.json, csr)
    await lab.upstream_issues(placed.location)
    assert (await finalized(client, csr)).json["status"] == "processing"


async def test_it_can_be_switched_off(folder: Path) -> None:
    async with laboratory(folder, Acme(hold=0.05, same_csr_seconds=0)) as lab:
        await lab.no_authority()
        await lab.authority()
        await lab.managed_challenge()
        client = await lab.client()
        csr, _ = make_csr(NAMES)
        await issued(lab, client, csr)
        assert (await finalized(client, csr)).json["status"] == "processing"


async def test_an_order_that_is_finalized_meanwhile_keeps_its_own_csr(
    lab: Lab, client: AcmeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same order twice at once: with a CSR that has a certificate, and with another one, which is first."""
    csr, _ = make_csr(NAMES)
    other, _ = make_csr(NAMES)
    await issued(lab, client, csr)
    placed = await client.new_order(NAMES)
    find = OrderReuse.certificate_for

    async def late(self: OrderReuse, order: Order, wanted: bytes, now: datetime) -> Certificate | None:
        found = await find(self, order, wanted, now)
        await lab.hub.store.orders.apply(order.id, lambda stored: finalize(stored, other, now))
        return found

    monkeypatch.setattr(OrderReuse, "certificate_for", late)
    assert (await client.finalize(placed.json, csr, status=403)).problem == "orderNotReady"
    order = (await lab.stored(placed.location)).order
    assert (order.status, order.csr, order.certificate_id) == (OrderStatus.PROCESSING, other, None)


async def test_a_certificate_that_is_pruned_meanwhile_is_issued_again(
    lab: Lab, client: AcmeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    csr, _ = make_csr(NAMES)
    certificate = await issued(lab, client, csr)
    find = lab.hub.store.orders.same_csr

    async def late(account_id: str, wanted: bytes, since: datetime) -> Order | None:
        found = await find(account_id, wanted, since)
        await lab.hub.store.certificates.replace(replace(certificate, not_after=lab.now - timedelta(days=1)))
        assert await lab.hub.store.orders.prune(lab.now, 9) == 1
        return found

    placed = await client.new_order(NAMES)
    monkeypatch.setattr(lab.hub.store.orders, "same_csr", late)
    assert (await client.finalize(placed.json, csr)).json["status"] == "processing"

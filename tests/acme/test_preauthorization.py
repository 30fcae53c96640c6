"""newAuthz (RFC 8555 section 7.4.1)."""

from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from acmehub.config import Acme, Verify
from acmehub.models import AuthorizationMode, AuthorizationStatus, OrderStatus, Stage
from acmehub.models.problems import Problem, ProblemType
from acmehub.rules import orders
from acmehub.rules.orders import Change, OrderBundle
from acmehub.rules.permissions import Acting
from acmehub.testing.acme_client import AcmeClient, Reply
from acmehub.testing.acme_keys import compact, make_csr
from tests.acme.lab import BASE, Lab, laboratory

NAME = "a.corp.test"
ROOT = Acting.machine("test")


async def hidden(lab: Lab, reply: Reply) -> OrderBundle:
    """The order behind a pre-authorization."""
    item = await lab.hub.store.orders.authorization(reply.location.rpartition("/")[2])
    assert item is not None
    found = await lab.hub.store.orders.get(item.order_id)
    assert found is not None
    return found


async def late(lab: Lab, bundle: OrderBundle) -> None:
    """Let the order's time be over."""
    past = lab.now - timedelta(seconds=1)

    def rule(current: OrderBundle) -> Change:
        items = tuple(replace(item, expires=past) for item in current.authorizations)
        return Change(order=replace(current.order, expires=past), authorizations=items)

    await lab.hub.store.orders.apply(bundle.order.id, rule)


async def test_a_name_in_scope_is_authorized_with_201_and_a_location(lab: Lab, client: AcmeClient) -> None:
    reply = await client.new_authz(NAME)
    assert reply.json["status"] == "valid"
    assert (await client.authorization(reply.location)).json == reply.json
    assert "wildcard" not in reply.json


async def test_nothing_is_ordered_upstream_before_a_certificate_is_wanted(lab: Lab, client: AcmeClient) -> None:
    bundle = await hidden(lab, await client.new_authz(NAME))
    assert bundle.order.preauthorization
    assert bundle.order.run_at is None
    assert await lab.hub.store.orders.next_due() is None


async def test_the_order_behind_it_is_seen_by_nobody(lab: Lab, client: AcmeClient) -> None:
    bundle = await hidden(lab, await client.new_authz(NAME))
    url = f"{BASE}/acme/order/{bundle.order.id}"
    missing = await client.post(f"{BASE}/acme/order/{'0' * 44}", status=404)
    assert (await client.post(url, status=404)).json == missing.json
    csr, _ = make_csr([NAME])
    refused = await client.finalize({"finalize": url + "/finalize"}, csr, status=404)
    assert refused.problem == "malformed"
    assert (await client.post(client.kid + "/orders")).json == {"orders": []}
    assert (await hidden(lab, await client.new_authz(NAME))).order.status is OrderStatus.READY


async def test_the_authorization_that_there_is_already_is_handed_out_again(client: AcmeClient) -> None:
    first = await client.new_authz(NAME)
    assert (await client.new_authz(NAME)).location == first.location
    assert (await client.new_authz("b.corp.test")).location != first.location


async def test_one_that_was_given_up_or_is_somebody_elses_is_not_handed_out_again(lab: Lab, client: AcmeClient) -> None:
    first = await client.new_authz(NAME)
    other = await lab.client()
    assert (await other.new_authz(NAME)).location != first.location
    given_up = await client.post(first.location, {"status": "deactivated"})
    assert given_up.json["status"] == "deactivated"
    second = await client.new_authz(NAME)
    assert second.location != first.location
    assert second.json["status"] == "valid"
    assert (await client.authorization(first.location)).json["status"] == "deactivated"


async def test_an_order_of_the_same_name_is_an_order_of_its_own(lab: Lab, client: AcmeClient) -> None:
    reply = await client.new_authz(NAME)
    placed = await client.new_order([NAME])
    assert placed.json["status"] == "ready"
    assert placed.json["authorizations"] != [reply.location]
    assert (await client.post(client.kid + "/orders")).json["orders"] == [placed.location]
    assert (await hidden(lab, reply)).order.status is OrderStatus.READY
    assert (await client.new_authz(NAME)).location == reply.location


async def test_a_wildcard_is_not_authorized_in_advance(client: AcmeClient) -> None:
    refused = await client.new_authz("*.corp.test", status=403)
    assert refused.problem == "rejectedIdentifier"
    assert "newOrder" in refused.json["detail"]


@pytest.mark.parametrize("name", ["elsewhere.test", "corp.test.elsewhere.test", "evilcorp.test"])
async def test_a_name_outside_the_scope_is_refused_as_in_new_order(client: AcmeClient, name: str) -> None:
    refused = await client.new_authz(name, status=403)
    ordered = await client.new_order([name], status=403)
    assert (refused.problem, refused.json["detail"]) == (ordered.problem, ordered.json["detail"])


@pytest.mark.parametrize(
    ("kind", "value"), [("email", "a@corp.test"), ("dns", "A_.test"), ("dns", ""), ("dns", "10.0.0.1")]
)
async def test_an_identifier_that_is_not_taken_is_refused_as_in_new_order(
    client: AcmeClient, kind: str, value: str
) -> None:
    identifier = {"type": kind, "value": value}
    replies = []
    for url, payload in (
        (client.directory["newAuthz"], {"identifier": identifier}),
        (client.directory["newOrder"], {"identifiers": [identifier]}),
    ):
        replies.append(await client.send(url, await client.sign(url, compact(payload))))
    assert replies[0].status >= 400
    assert replies[0].json == replies[1].json


@pytest.mark.parametrize("payload", [None, {}, [], {"identifier": None}, {"identifier": []}, {"identifier": {}}])
async def test_a_payload_without_an_identifier_is_malformed(client: AcmeClient, payload: object) -> None:
    assert (await client.post(client.directory["newAuthz"], payload, status=400)).problem == "malformed"


async def test_a_policy_may_refuse_it(lab: Lab, client: AcmeClient) -> None:
    lab.plugin.objection = Problem(ProblemType.REJECTED_IDENTIFIER, "not today")
    assert (await client.new_authz(NAME, status=403)).json["detail"] == "not today"


async def test_in_mode_accept_it_turns_valid_when_the_client_has_answered_and_the_upstream_has_validated(
    lab: Lab,
) -> None:
    client = await lab.client(authorization=AuthorizationMode.ACCEPT)
    reply = await client.new_authz(NAME)
    assert reply.json["status"] == "pending"
    assert (await client.new_authz(NAME)).location == reply.location
    await client.respond(reply.json["challenges"][0]["url"])
    bundle = await hidden(lab, reply)
    assert bundle.order.run_at is not None
    await lab.upstream_validates(f"{BASE}/acme/order/{bundle.order.id}")
    assert (await client.authorization(reply.location)).json["status"] == "valid"


async def test_in_mode_verify_a_proof_makes_it_valid_and_nothing_is_ordered_upstream(lab: Lab) -> None:
    client = await lab.client(authorization=AuthorizationMode.VERIFY)
    reply = await client.new_authz(NAME)
    assert reply.json["status"] == "pending"
    bundle = await hidden(lab, reply)
    assert (bundle.order.stage, bundle.order.run_at) == (Stage.ORDERING, None)
    now = lab.now
    item = bundle.authorizations[0]
    await lab.hub.store.orders.apply(bundle.order.id, lambda stored: orders.verified(stored, item.id, now))
    assert (await client.authorization(reply.location)).json["status"] == "valid"
    bundle = await hidden(lab, reply)
    assert (bundle.order.status, bundle.order.run_at) == (OrderStatus.READY, None)


async def test_with_a_signing_authority_it_is_the_same(lab: Lab) -> None:
    await lab.no_authority()
    await lab.authority("ca_local")
    client = await lab.client()
    reply = await client.new_authz(NAME)
    assert reply.json["status"] == "valid"
    assert await lab.hub.worker.work_off() == 0


async def test_a_valid_one_has_expired_when_its_time_is_over(lab: Lab, client: AcmeClient) -> None:
    reply = await client.new_authz(NAME)
    bundle = await hidden(lab, reply)
    await late(lab, bundle)
    assert (await client.authorization(reply.location)).json["status"] == "expired"  # before anybody has put it away
    assert (await client.new_authz(NAME)).location != reply.location
    await lab.hub.worker.pruner.work_off()
    bundle = await hidden(lab, reply)
    assert bundle.order.status is OrderStatus.INVALID
    assert bundle.authorizations[0].status is AuthorizationStatus.EXPIRED
    assert (await client.authorization(reply.location)).json["status"] == "expired"
    assert (await client.new_authz(NAME)).location != reply.location


async def test_a_pending_one_is_invalid_when_its_time_is_over(lab: Lab) -> None:
    client = await lab.client(authorization=AuthorizationMode.VERIFY)
    reply = await client.new_authz(NAME)
    await late(lab, await hidden(lab, reply))
    assert (await client.new_authz(NAME)).location != reply.location
    await lab.hub.worker.pruner.work_off()
    over = (await client.authorization(reply.location)).json
    assert over["status"] == "invalid"
    assert "pre-authorization expired" in over["challenges"][0]["error"]["detail"]
    assert (await client.new_authz(NAME)).location != reply.location


async def test_an_order_that_lapses_has_expired_authorizations(lab: Lab, client: AcmeClient) -> None:
    placed = await client.new_order([NAME])
    await late(lab, await lab.stored(placed.location))
    await lab.hub.worker.pruner.work_off()
    assert (await client.order(placed.location)).json["status"] == "invalid"
    assert (await client.authorization(placed.json["authorizations"][0])).json["status"] == "expired"


async def test_it_is_not_shown_to_another_account(lab: Lab, client: AcmeClient) -> None:
    reply = await client.new_authz(NAME)
    other = await lab.client()
    assert (await other.post(reply.location, status=404)).problem == "malformed"


async def test_the_operator_sees_it_for_what_it_is(lab: Lab, client: AcmeClient) -> None:
    await client.new_authz(NAME)
    placed = await client.new_order(["b.corp.test"])
    listed = await lab.hub.admin.orders.list(ROOT)
    assert [(item.names, item.preauthorization) for item in listed] == [(("b.corp.test",), False), ((NAME,), True)]
    first, second = [(await lab.hub.admin.orders.show(item.id, ROOT)).timeline[0].kind for item in listed]
    assert (first, second) == ("order opened", "pre-authorization opened")
    assert listed[0].id == (await lab.stored(placed.location)).order.id


async def test_a_proof_given_in_advance_is_remembered_by_later_orders_also_when_it_has_lapsed(folder: Path) -> None:
    days = timedelta(days=30)
    async with laboratory(folder, Acme(hold=0.05), verify=Verify(remember_days=30)) as lab:
        await lab.no_authority()
        await lab.authority()
        await lab.managed_challenge()
        client = await lab.client(authorization=AuthorizationMode.VERIFY)
        assert (await client.new_order([NAME])).json["status"] == "pending"
        reply = await client.new_authz(NAME)
        bundle = await hidden(lab, reply)
        now, item = lab.now, bundle.authorizations[0]
        await client.respond(reply.json["challenges"][0]["url"])
        await lab.hub.store.orders.apply(bundle.order.id, lambda stored: orders.verified(stored, item.id, now, days))
        assert (await client.new_order([NAME])).json["status"] == "ready"

        def lapse(current: OrderBundle) -> Change:
            return Change(order=replace(current.order, expires=lab.now - timedelta(seconds=1)))

        await lab.hub.store.orders.apply(bundle.order.id, lapse)
        await lab.hub.worker.pruner.work_off()
        assert (await hidden(lab, reply)).order.status is OrderStatus.INVALID
        assert (await client.authorization(reply.location)).json["status"] == "valid"
        again = await client.new_authz(NAME)
        assert again.location != reply.location
        assert again.json["status"] == "valid"
        assert (await hidden(lab, again)).order.run_at is None

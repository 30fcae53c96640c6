"""Authorizations and challenges (RFC 8555 sections 7.5 and 8; docs/client-rules.md rules 5, 6, 8-10, 14, 15)."""

import pytest

from acmehub.models import AuthorizationMode, ChallengeType, Stage
from acmehub.testing.acme_client import AcmeClient
from tests.acme.lab import BASE, Lab

ALL = ["http-01", "dns-01", "tls-alpn-01"]


async def accepting(lab: Lab) -> AcmeClient:
    return await lab.client(authorization=AuthorizationMode.ACCEPT)


async def test_rule_8_a_valid_authorization_lists_all_three_challenges_as_valid(client: AcmeClient) -> None:
    placed = await client.new_order(["a.corp.test"])
    authorization = (await client.authorization(placed.json["authorizations"][0])).json
    assert [item["type"] for item in authorization["challenges"]] == ALL
    assert {item["status"] for item in authorization["challenges"]} == {"valid"}
    assert "wildcard" not in authorization
    for item in authorization["challenges"]:
        assert (await client.respond(item["url"])).json == item
        assert (await client.post(item["url"])).json == item


@pytest.mark.parametrize("mode", [AuthorizationMode.PREAPPROVED, AuthorizationMode.ACCEPT])
async def test_rule_9_a_wildcards_authorization_says_so_and_offers_all_three(lab: Lab, mode: AuthorizationMode) -> None:
    client = await lab.client(authorization=mode)
    placed = await client.new_order(["*.corp.test"])
    authorization = (await client.authorization(placed.json["authorizations"][0])).json
    assert authorization["identifier"] == {"type": "dns", "value": "corp.test"}
    assert authorization["wildcard"] is True
    assert [item["type"] for item in authorization["challenges"]] == ALL


async def test_in_mode_verify_only_dns_01_is_offered_for_a_wildcard(lab: Lab) -> None:
    client = await lab.client(authorization=AuthorizationMode.VERIFY)
    placed = await client.new_order(["*.corp.test"])
    url = placed.json["authorizations"][0]
    (offered,) = (await client.authorization(url)).json["challenges"]
    assert offered["type"] == "dns-01"
    http = offered["url"].replace("dns-01", "http-01")
    assert (await client.post(http, status=404)).problem == "malformed"
    assert "dns-01" in (await client.post(http, {}, status=400)).json["detail"]
    stored = await lab.stored(placed.location)
    assert stored.authorizations[0].answered is None


async def test_pending_authorizations_expire_and_their_challenges_are_pending(lab: Lab) -> None:
    client = await accepting(lab)
    placed = await client.new_order(["a.corp.test"])
    assert placed.json["expires"]
    authorization = (await client.authorization(placed.json["authorizations"][0])).json
    assert authorization["status"] == "pending"
    assert authorization["expires"]
    assert {item["status"] for item in authorization["challenges"]} == {"pending"}


async def test_rule_15_a_challenge_says_which_authorization_it_is_of(lab: Lab) -> None:
    client = await accepting(lab)
    placed = await client.new_order(["a.corp.test"])
    url = placed.json["authorizations"][0]
    for item in (await client.authorization(url)).json["challenges"]:
        read = await client.post(item["url"])
        assert read.links("up") == [url]
        assert "location" not in read.headers


async def test_post_as_get_of_a_challenge_reads_it_and_does_not_respond(lab: Lab) -> None:
    client = await accepting(lab)
    placed = await client.new_order(["a.corp.test"])
    url = (await client.authorization(placed.json["authorizations"][0])).json["challenges"][0]["url"]
    assert (await client.post(url)).json["status"] == "pending"
    assert (await lab.stored(placed.location)).authorizations[0].answered is None


@pytest.mark.parametrize("payload", [{}, {"keyAuthorization": "x.y"}, {"type": "http-01", "resource": "challenge"}])
async def test_rule_16_any_object_responds_to_a_challenge(lab: Lab, payload: dict[str, str]) -> None:
    client = await accepting(lab)
    placed = await client.new_order(["a.corp.test"])
    url = (await client.authorization(placed.json["authorizations"][0])).json["challenges"][0]["url"]
    reply = await client.post(url, payload)
    assert (reply.json["status"], reply.retry_after) == ("processing", 5)


async def test_a_response_that_is_no_object_is_malformed(lab: Lab) -> None:
    client = await accepting(lab)
    placed = await client.new_order(["a.corp.test"])
    url = (await client.authorization(placed.json["authorizations"][0])).json["challenges"][0]["url"]
    assert (await client.post(url, [], status=400)).problem == "malformed"
    assert (await lab.stored(placed.location)).authorizations[0].answered is None


async def test_the_addressed_challenge_is_answered_and_no_other(lab: Lab) -> None:
    client = await accepting(lab)
    placed = await client.new_order(["a.corp.test", "b.corp.test", "c.corp.test"])
    middle = placed.json["authorizations"][1]
    offered = (await client.authorization(middle)).json["challenges"]
    await client.respond(offered[1]["url"])
    stored = await lab.stored(placed.location)
    assert [item.answered for item in stored.authorizations] == [None, ChallengeType.DNS_01, None]
    read = await client.authorization(middle)
    assert [item["status"] for item in read.json["challenges"]] == ["pending", "processing", "pending"]
    assert read.retry_after == 10


async def test_rule_5_a_response_is_fine_in_every_state(lab: Lab) -> None:
    client = await accepting(lab)
    placed = await client.new_order(["a.corp.test"])
    url = placed.json["authorizations"][0]
    challenge = (await client.authorization(url)).json["challenges"][0]["url"]
    assert (await client.respond(challenge)).json["status"] == "processing"
    assert (await client.respond(challenge)).json["status"] == "processing"
    await lab.upstream_validates(placed.location)
    valid = await client.respond(challenge)
    assert (valid.json["status"], valid.retry_after) == ("valid", None)
    assert (await client.authorization(url)).json["status"] == "valid"

    placed = await client.new_order(["b.corp.test"])
    challenge = (await client.authorization(placed.json["authorizations"][0])).json["challenges"][0]["url"]
    await client.respond(challenge)
    await lab.upstream_refuses(placed.location)
    assert (await client.respond(challenge)).json["status"] == "invalid"


async def test_rule_6_a_refusal_shows_on_the_answered_challenge_and_nowhere_else(lab: Lab) -> None:
    client = await accepting(lab)
    placed = await client.new_order(["a.corp.test", "b.corp.test"])
    url, other = placed.json["authorizations"]
    await client.respond((await client.authorization(url)).json["challenges"][0]["url"])
    await lab.upstream_refuses(placed.location, "no")
    authorization = (await client.authorization(url)).json
    assert authorization["status"] == "invalid"
    assert [(item["type"], item["status"]) for item in authorization["challenges"]] == [("http-01", "invalid")]
    assert authorization["challenges"][0]["error"]["detail"] == "no"
    assert (await client.authorization(other)).json["status"] == "invalid"
    order = await client.order(placed.location)
    assert (order.status, order.json["status"], order.json["error"]["detail"]) == (200, "invalid", "no")


@pytest.mark.parametrize("mode", [AuthorizationMode.PREAPPROVED, AuthorizationMode.ACCEPT])
async def test_rule_10_a_deactivated_authorization_is_200_and_the_next_order_is_as_new(
    lab: Lab, mode: AuthorizationMode
) -> None:
    client = await lab.client(authorization=mode)
    placed = await client.new_order(["a.corp.test"])
    url = placed.json["authorizations"][0]
    for _ in range(2):
        reply = await client.post(url, {"status": "deactivated"})
        assert (reply.status, reply.json["status"]) == (200, "deactivated")
    assert (await client.authorization(url)).json["status"] == "deactivated"
    assert (await client.order(placed.location)).json["status"] == "invalid"
    again = await client.new_order(["a.corp.test"])
    assert again.json["status"] == placed.json["status"]
    assert again.location != placed.location


@pytest.mark.parametrize("mode", [AuthorizationMode.ACCEPT, AuthorizationMode.VERIFY])
async def test_rule_10_one_deactivated_authorization_ends_the_order_and_leaves_its_siblings_pending(
    lab: Lab, mode: AuthorizationMode
) -> None:
    client = await lab.client(authorization=mode)
    placed = await client.new_order(["a.corp.test", "b.corp.test", "c.corp.test"])
    first, second, third = placed.json["authorizations"]
    await client.respond((await client.authorization(second)).json["challenges"][0]["url"])
    assert (await client.post(first, {"status": "deactivated"}, status=200)).json["status"] == "deactivated"
    order = await client.order(placed.location)
    assert (order.json["status"], order.json["error"]["type"].rpartition(":")[2]) == ("invalid", "unauthorized")
    assert order.retry_after is None
    for url in (second, third):
        read = await client.authorization(url)
        assert (read.json["status"], read.retry_after) == ("pending", None)
        response = await client.respond(read.json["challenges"][0]["url"])
        assert response.status == 200
        assert response.retry_after is None
    stored = (await lab.stored(placed.location)).order
    assert (stored.stage, stored.run_at, stored.lock_key) == (Stage.FAILED, None, None)
    for url in (second, third, second):
        assert (await client.post(url, {"status": "deactivated"}, status=200)).json["status"] == "deactivated"


async def test_rule_10_deactivating_an_authorization_that_is_over_is_200_with_its_state(lab: Lab) -> None:
    client = await accepting(lab)
    placed = await client.new_order(["a.corp.test"])
    url = placed.json["authorizations"][0]
    await lab.upstream_refuses(placed.location)
    for _ in range(2):
        assert (await client.post(url, {"status": "deactivated"}, status=200)).json["status"] == "invalid"


@pytest.mark.parametrize("status", ["valid", "invalid", "revoked", "x"])
async def test_no_other_status_of_an_authorization_can_be_set(client: AcmeClient, status: str) -> None:
    url = (await client.new_order(["a.corp.test"])).json["authorizations"][0]
    assert (await client.post(url, {"status": status}, status=400)).problem == "malformed"


async def test_an_empty_object_reads_an_authorization(client: AcmeClient) -> None:
    url = (await client.new_order(["a.corp.test"])).json["authorizations"][0]
    assert (await client.post(url, {})).json == (await client.post(url)).json


async def test_an_unknown_challenge_is_not_found(client: AcmeClient) -> None:
    url = (await client.new_order(["a.corp.test"])).json["authorizations"][0]
    id = url.rpartition("/")[2]
    for path in (f"chall/{id}/dns-persist-01", f"chall/{'0' * 32}/dns-01"):
        assert (await client.post(f"{BASE}/acme/{path}", {}, status=404)).problem == "malformed"

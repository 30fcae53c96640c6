"""What RFC 8555 demands and no other test looks at: rows of docs/conformance.md."""

import re
from base64 import urlsafe_b64decode
from typing import Any

import pytest
from msgspec.structs import replace

from acmehub.config import Config
from acmehub.models import AuthorizationMode
from acmehub.models.identifiers import Identifier
from acmehub.models.problems import ProblemDocument, ProblemType, subproblem
from acmehub.rules import orders
from acmehub.testing.acme_client import AcmeClient
from acmehub.testing.acme_keys import make_csr
from tests.acme.lab import Lab

NAMES = ["a.corp.test", "*.corp.test"]
REGISTERED = {  # RFC 8555 section 6.7, RFC 9773 section 7.4
    "accountDoesNotExist",
    "alreadyReplaced",
    "alreadyRevoked",
    "badCSR",
    "badNonce",
    "badPublicKey",
    "badRevocationReason",
    "badSignatureAlgorithm",
    "caa",
    "compound",
    "connection",
    "dns",
    "externalAccountRequired",
    "incorrectResponse",
    "invalidContact",
    "malformed",
    "orderNotReady",
    "rateLimited",
    "rejectedIdentifier",
    "serverInternal",
    "tls",
    "unauthorized",
    "unsupportedContact",
    "unsupportedIdentifier",
    "userActionRequired",
}


def test_6_7_no_other_error_types_than_registered_ones_are_in_the_namespace_of_acme() -> None:
    ours = {item.urn.removeprefix("urn:ietf:params:acme:error:") for item in ProblemType}
    assert ours - REGISTERED == {"invalidProfile"}  # as draft-ietf-acme-profiles wants it registered


async def test_6_7_1_an_identifier_stands_in_subproblems_only(lab: Lab, client: AcmeClient) -> None:
    item = Identifier("dns", "a.corp.test")
    part = subproblem(ProblemType.CAA, "forbidden", item)
    problem = ProblemDocument(part.type, "forbidden", status=403, subproblems=(part,), identifier=item)
    accepting = await lab.client(authorization=AuthorizationMode.ACCEPT)
    for one in (client, accepting):
        placed = await one.new_order(["a.corp.test"])
        order_id = (await lab.stored(placed.location)).order.id
        await lab.hub.store.orders.apply(order_id, lambda bundle: orders.failed(bundle, problem, lab.now))
        error = (await one.order(placed.location)).json["error"]
        assert "identifier" not in error
        assert error["subproblems"][0]["identifier"] == {"type": "dns", "value": "a.corp.test"}
    authorization = (await accepting.authorization(placed.json["authorizations"][0])).json
    assert all("identifier" not in item["error"] for item in authorization["challenges"])


async def test_7_1_1_meta_has_what_is_configured(lab: Lab) -> None:
    acme = replace(lab.hub.config.acme, website="https://hub.test/about", caa_identities=("ca.test", "other.test"))
    lab.hub.config = replace(lab.hub.config, acme=acme)
    meta = (await lab.http.get("/acme/directory")).json()["meta"]
    assert meta["website"] == "https://hub.test/about"
    assert meta["caaIdentities"] == ["ca.test", "other.test"]
    assert "termsOfService" not in meta


async def test_7_1_2_1_the_orders_list_has_pending_orders_and_no_invalid_ones(lab: Lab) -> None:
    client = await lab.client(authorization=AuthorizationMode.ACCEPT)
    pending = (await client.new_order(["a.corp.test"])).location
    refused = (await client.new_order(["b.corp.test"])).location
    await lab.upstream_refuses(refused)
    assert (await client.post(client.kid + "/orders")).json["orders"] == [pending]


async def test_7_1_3_names_and_authorizations_of_an_order_never_change(lab: Lab) -> None:
    client = await lab.client(authorization=AuthorizationMode.ACCEPT)
    placed = await client.new_order(NAMES)
    seen: list[dict[str, Any]] = [placed.json, (await client.order(placed.location)).json]
    for url in placed.json["authorizations"]:
        await client.respond((await client.authorization(url)).json["challenges"][0]["url"])
    await lab.upstream_validates(placed.location)
    seen.append((await client.order(placed.location)).json)
    seen.append((await client.finalize(placed.json, make_csr(NAMES)[0])).json)
    await lab.upstream_issues(placed.location)
    seen.append((await client.order(placed.location)).json)
    assert [item["status"] for item in seen] == ["pending", "pending", "ready", "processing", "valid"]
    assert all(item["identifiers"] == placed.json["identifiers"] for item in seen)
    assert all(item["authorizations"] == placed.json["authorizations"] for item in seen)
    assert all(item["expires"] == placed.json["expires"] for item in seen)


async def test_7_1_4_wildcard_is_true_or_absent_and_expires_is_there(client: AcmeClient) -> None:
    placed = await client.new_order(NAMES)
    plain, wildcard = [(await client.authorization(url)).json for url in placed.json["authorizations"]]
    assert "wildcard" not in plain
    assert (wildcard["wildcard"], wildcard["identifier"]["value"]) == (True, "corp.test")
    assert plain["expires"] == wildcard["expires"] == placed.json["expires"]


async def test_7_3_members_that_are_not_for_clients_are_ignored_and_not_reflected(lab: Lab) -> None:
    _, external = await lab.token()
    client = await lab.stranger()
    foreign = {"orders": "https://elsewhere.test/orders", "onlyReturnExisting": False, "x": [1]}
    created = await client.register(external, status=201, **foreign)
    assert created.json["orders"] == created.location + "/orders"
    assert created.json["status"] == "valid"
    assert set(created.json) == {"status", "orders", "externalAccountBinding"}
    changed = await client.post(
        client.kid, {**foreign, "status": "revoked", "externalAccountBinding": {}, "termsOfServiceAgreed": True}
    )
    assert changed.json == created.json


async def test_7_3_1_what_is_sent_with_a_key_that_has_an_account_is_ignored(lab: Lab) -> None:
    _, external = await lab.token()
    client = await lab.stranger()
    created = await client.register(external, status=201, contact=["mailto:ops@example.org"])
    again = await client.register(status=200, contact=["tel:+1"], status_="x", externalAccountBinding={"a": 1})
    assert again.json == created.json


async def test_8_tokens_are_random_and_of_the_base64url_alphabet(client: AcmeClient) -> None:
    placed = await client.new_order([f"n{number}.corp.test" for number in range(20)])
    tokens = set()
    for url in placed.json["authorizations"]:
        tokens |= {item["token"] for item in (await client.authorization(url)).json["challenges"]}
    assert len(tokens) == 20
    for token in tokens:
        assert re.fullmatch(r"[A-Za-z0-9_-]+", token)
        assert len(urlsafe_b64decode(token + "=" * (-len(token) % 4))) * 8 >= 128


def test_8_3_proofs_are_looked_for_at_port_80_unless_a_laboratory_says_otherwise() -> None:
    assert Config().verify.http_port == 80


ID = "0" * 44


@pytest.mark.parametrize(
    "path",
    [f"acct/{ID}", f"order/{ID}", f"authz/{ID}", f"chall/{ID}/dns-01", f"cert/{ID}", "new-account", "key-change"],
)
async def test_6_3_a_plain_get_is_405(lab: Lab, path: str) -> None:
    response = await lab.http.get(f"/acme/{path}")
    assert (response.status_code, response.json()["type"]) == (405, "urn:ietf:params:acme:error:malformed")

"""`null` for an optional member is the same as its absence, in every payload and header that clients send
(docs/client-rules.md rule 16).
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from msgspec.structs import FieldInfo

from acmehub.models import AuthorizationMode, wire
from acmehub.testing.acme_client import AcmeClient, Reply
from acmehub.testing.acme_keys import AccountKey, ExternalAccount, b64, compact, make_csr
from tests.acme.lab import Lab

NAME = "a.corp.test"
HEADER = ("kid", "jwk", "crit", "b64", "x5c")  # of a JWS; that of `kid` and `jwk` which the request needs stays
PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k", "use", "alg", "kid", "key_ops")  # optional members of a JWK


class Sender:
    """A client, and what it has: each act sends one request with more members, all of them null."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    async def client(self) -> AcmeClient:
        return await self.lab.client(authorization=AuthorizationMode.ACCEPT)

    async def new_account(self, **nulls: None) -> Reply:
        _, external = await self.lab.token()
        client = await self.lab.stranger()
        binding = external.binding(client.key, client.directory["newAccount"])
        payload = {"externalAccountBinding": binding, **nulls}
        if "externalAccountBinding" in nulls:
            reply = await client.post(client.directory["newAccount"], payload, status=403)
            assert reply.problem == "externalAccountRequired"
            return reply
        return await client.post(client.directory["newAccount"], payload, status=201)

    async def account_update(self, **nulls: None) -> Reply:
        client = await self.client()
        await client.post(client.kid, {"contact": ["mailto:a@corp.test"]})
        reply = await client.post(client.kid, nulls, status=200)
        assert reply.json["contact"] == ["mailto:a@corp.test"]
        assert reply.json["status"] == "valid"
        return reply

    async def new_order(self, **nulls: None) -> Reply:
        return await (await self.client()).new_order([NAME], **nulls)

    async def new_authz(self, **nulls: None) -> Reply:
        client = await self.client()
        payload = {"identifier": {"type": "dns", "value": NAME}, **nulls}
        return await client.post(client.directory["newAuthz"], payload, status=201)

    async def authorization_update(self, **nulls: None) -> Reply:
        client = await self.client()
        placed = await client.new_order([NAME])
        reply = await client.post(placed.json["authorizations"][0], nulls, status=200)
        assert reply.json["status"] == "pending"
        return reply

    async def challenge(self, **nulls: None) -> Reply:
        client = await self.client()
        placed = await client.new_order([NAME])
        authorization = await client.authorization(placed.json["authorizations"][0])
        return await client.post(authorization.json["challenges"][0]["url"], nulls, status=200)

    async def finalize(self, **nulls: None) -> Reply:
        client = await self.lab.client()
        placed = await client.new_order([NAME])
        payload = {"csr": b64(make_csr([NAME])[0]), **nulls}
        return await client.post(placed.json["finalize"], payload, status=200)

    async def revoke(self, **nulls: None) -> Reply:
        client = await self.client()
        reply = await client.post(client.directory["revokeCert"], {"certificate": "MAA", **nulls}, status=400)
        assert "is not a certificate" in reply.json["detail"]
        return reply

    async def key_change(self, **nulls: None) -> Reply:
        client, new = await self.client(), AccountKey.generate()
        url = client.directory["keyChange"]
        payload = {"account": client.kid, "oldKey": client.key.jwk, **nulls}
        inner = json.loads(new.jws({"jwk": new.jwk, "url": url}, compact(payload)))
        return await client.post(url, inner, status=200)


ACTS: dict[type[msgspec.Struct], Callable[..., Awaitable[Reply]]] = {
    wire.NewAccount: Sender.new_account,
    wire.AccountUpdate: Sender.account_update,
    wire.NewOrder: Sender.new_order,
    wire.NewAuthz: Sender.new_authz,
    wire.AuthorizationUpdate: Sender.authorization_update,
    wire.Finalize: Sender.finalize,
    wire.RevokeCert: Sender.revoke,
    wire.KeyChange: Sender.key_change,
}


def optional(item: FieldInfo) -> bool:
    return not item.required


CASES = [(kind, item.encode_name) for kind in ACTS for item in msgspec.structs.fields(kind) if optional(item)]


@pytest.mark.parametrize(("kind", "member"), CASES, ids=[f"{kind.__name__}.{member}" for kind, member in CASES])
async def test_null_for_an_optional_member_of_a_payload_is_its_absence(
    lab: Lab, kind: type[msgspec.Struct], member: str
) -> None:
    await ACTS[kind](Sender(lab), **{member: None})


def test_the_optional_members_of_every_payload_are_tried() -> None:
    assert {(kind.__name__, member) for kind, member in CASES} >= {
        ("NewAccount", "contact"),
        ("NewAccount", "termsOfServiceAgreed"),
        ("NewAccount", "onlyReturnExisting"),
        ("NewAccount", "externalAccountBinding"),
        ("AccountUpdate", "contact"),
        ("AccountUpdate", "status"),
        ("NewOrder", "notBefore"),
        ("NewOrder", "notAfter"),
        ("NewOrder", "replaces"),
        ("NewOrder", "profile"),
        ("AuthorizationUpdate", "status"),
        ("RevokeCert", "reason"),
    }


async def test_null_for_a_member_that_means_nothing_is_ignored(lab: Lab) -> None:
    for act in (*ACTS.values(), Sender.challenge):
        await act(Sender(lab), wildcard=None, keyAuthorization=None)


async def test_null_in_the_header_of_a_request_is_its_absence(lab: Lab) -> None:
    _, external = await lab.token()
    client, stranger = await lab.client(), await lab.stranger()
    needed: dict[str, Any]
    for member in HEADER:
        needed = {"nonce": await client.nonce(), "url": client.kid, "kid": client.kid}
        reply = await client.send(client.kid, client.key.jws({member: None, **needed}, b""))
        assert (member, reply.status) == (member, 200)
        url = stranger.directory["newAccount"]
        needed = {"nonce": await stranger.nonce(), "url": url, "jwk": stranger.key.jwk}
        payload = compact({"externalAccountBinding": external.binding(stranger.key, url)})
        reply = await stranger.send(url, stranger.key.jws({member: None, **needed}, payload))
        assert (member, reply.status) in ((member, 201), (member, 200))


async def test_null_for_the_nonce_is_a_missing_nonce(client: AcmeClient) -> None:
    body = client.key.jws({"nonce": None, "url": client.kid, "kid": client.kid}, b"")
    reply = await client.send(client.kid, body)
    assert (reply.status, reply.problem) == (400, "badNonce")


async def test_null_for_the_unprotected_header_is_its_absence(client: AcmeClient) -> None:
    body = json.loads(await client.sign(client.kid, b""))
    assert (await client.send(client.kid, compact({**body, "header": None}))).status == 200
    body = json.loads(await client.sign(client.kid, b""))
    assert (await client.send(client.kid, compact({**body, "header": {}}))).problem == "malformed"


async def test_null_in_the_header_of_a_binding_is_its_absence(lab: Lab) -> None:
    _, external = await lab.token()
    for member in ("nonce", "jwk", "crit"):
        client = await lab.stranger()
        url = client.directory["newAccount"]
        binding = external.binding(client.key, url, **{member: None})
        await client.post(url, {"externalAccountBinding": binding}, status=201)


async def test_null_in_the_inner_header_of_a_key_change_is_its_absence(client: AcmeClient) -> None:
    url = client.directory["keyChange"]
    for member in ("nonce", "kid", "b64"):
        new = AccountKey.generate()
        payload = compact({"account": client.kid, "oldKey": client.key.jwk})
        inner = json.loads(new.jws({"jwk": new.jwk, "url": url, member: None}, payload))
        await client.post(url, inner, status=200)
        client.key = new


async def test_null_for_an_optional_member_of_a_jwk_is_its_absence(lab: Lab) -> None:
    token, external = await lab.token()
    client = await lab.stranger()
    url = client.directory["newAccount"]
    shown = AccountKey(client.key.private)
    jwk: dict[str, Any] = {**client.key.jwk, **dict.fromkeys(PRIVATE)}
    shown.jwk = jwk
    binding = ExternalAccount(token.id, external.key).binding(shown, url)
    await client.post(url, {"externalAccountBinding": binding}, status=201, jwk=jwk)

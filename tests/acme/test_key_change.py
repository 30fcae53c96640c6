"""keyChange (RFC 8555 section 7.3.5; docs/reliability.md section 6)."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from msgspec.structs import replace

from acmehub.acme.accounts import service
from acmehub.models import Account
from acmehub.ports.store import Conflict
from acmehub.testing.acme_client import AcmeClient
from acmehub.testing.acme_keys import AccountKey, ExternalAccount, compact, make_csr
from tests.acme.lab import BASE, Lab
from tests.rules.certificates import close_primes_key, roca_key, small_factor_key

KINDS = ("P-256", "P-384", "P-521", "RSA", "Ed25519")


async def account_of(lab: Lab, client: AcmeClient) -> Account:
    actor = await lab.hub.store.accounts.actor(client.kid.rpartition("/")[2])
    assert actor is not None
    return actor.account


@pytest.mark.parametrize("kind", KINDS)
async def test_the_new_key_is_the_accounts_and_the_old_one_is_refused_at_the_next_request(lab: Lab, kind: str) -> None:
    client = await lab.client()
    old, new = client.key, AccountKey.generate(kind)
    changed = await client.key_change(new, status=200)
    assert changed.json["status"] == "valid"
    assert (await client.post(client.kid)).json == changed.json
    stored = await account_of(lab, client)
    assert (stored.thumbprint, json.loads(stored.jwk)) == (new.thumbprint, dict(sorted(new.jwk.items())))
    client.key = old
    refused = await client.post(client.kid, status=400)
    assert refused.problem == ("malformed" if kind == "P-256" else "badSignatureAlgorithm")


async def test_an_ed25519_account_changes_to_another_kind_of_key_and_back(lab: Lab) -> None:
    client = await lab.client(kind="Ed25519")
    await client.key_change(AccountKey.generate("P-256"))
    await client.key_change(AccountKey.generate("Ed25519"))
    assert (await client.new_order(["a.corp.test"])).json["status"] == "ready"


async def test_the_account_is_found_by_its_new_key_and_the_old_key_is_free_again(lab: Lab) -> None:
    _, external = await lab.token()
    client = await lab.stranger()
    created = await client.register(external, status=201)
    old = client.key
    await client.key_change(AccountKey.generate())
    assert (await client.register(status=200, onlyReturnExisting=True)).location == created.location
    other = await lab.stranger()
    other.key = old
    assert (await other.register(status=400, onlyReturnExisting=True)).problem == "accountDoesNotExist"
    assert (await other.register(external, status=201)).location != created.location


async def test_a_key_in_use_is_a_409_with_the_location_of_its_account(lab: Lab, client: AcmeClient) -> None:
    other = await lab.client()
    refused = await client.key_change(other.key, status=409)
    assert refused.problem == "malformed"
    assert refused.location == other.kid
    assert (await client.post(client.kid)).json["status"] == "valid"
    assert (await other.post(other.kid)).json["status"] == "valid"
    latest = (await lab.hub.store.records.audited())[0]
    assert (latest.action, latest.allowed) == ("account.rekeyed", False)


async def test_two_accounts_that_take_one_key_at_once_end_with_one_owner(lab: Lab) -> None:
    lock_holders = [await lab.client() for _ in range(6)]
    key = AccountKey.generate()
    bodies = []
    for one in lock_holders:
        url = one.directory["keyChange"]
        inner = key.jws({"jwk": key.jwk, "url": url}, compact({"account": one.kid, "oldKey": one.key.jwk}))
        bodies.append(await one.sign(url, inner))
    replies = await asyncio.gather(
        *(one.send(one.directory["keyChange"], body) for one, body in zip(lock_holders, bodies, strict=True))
    )
    assert sorted(reply.status for reply in replies) == [200] + [409] * 5
    winner = lock_holders[[reply.status for reply in replies].index(200)]
    assert {reply.location for reply in replies if reply.status == 409} == {winner.kid}


async def test_one_account_that_takes_two_keys_at_once_has_the_one_that_was_confirmed(
    lab: Lab, client: AcmeClient
) -> None:
    keys = [AccountKey.generate() for _ in range(4)]
    url = client.directory["keyChange"]
    bodies = []
    for key in keys:
        client._nonces.append((await client.http.head(client.directory["newNonce"])).headers["replay-nonce"])
        inner = key.jws({"jwk": key.jwk, "url": url}, compact({"account": client.kid, "oldKey": client.key.jwk}))
        bodies.append(await client.sign(url, inner))
    replies = await asyncio.gather(*(client.send(url, body) for body in bodies))
    confirmed = [key.thumbprint for key, reply in zip(keys, replies, strict=True) if reply.status == 200]
    assert [(await account_of(lab, client)).thumbprint] == confirmed


async def test_the_key_that_the_account_has_already_is_no_new_key(client: AcmeClient) -> None:
    refused = await client.key_change(client.key, status=400)
    assert refused.problem == "malformed"
    assert "already" in refused.json["detail"]


def other_jwk() -> dict[str, str]:
    return AccountKey.generate().jwk


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"url": f"{BASE}/acme/new-account"}, "'url'"),
        ({"url": None}, "'url'"),
        ({"account": f"{BASE}/acme/acct/0"}, "'account'"),
        ({"account": ""}, "'account'"),
        ({"account": None}, "payload"),
        ({"oldKey": None}, "not a JSON object"),
        ({"oldKey": "x"}, "not a JSON object"),
        ({"oldKey": {}}, "'kty'"),
        ({"oldKey": other_jwk()}, "'oldKey'"),
        ({"nonce": "AAAA"}, "'nonce'"),
        ({"kid": f"{BASE}/acme/acct/0"}, "exactly one"),
        ({"kid": f"{BASE}/acme/acct/0", "jwk": None}, "'jwk'"),
        ({"jwk": None}, "exactly one"),
        ({"jwk": other_jwk()}, "JWS verification error"),
        ({"jwk": {"kty": "oct", "k": "AAAA"}}, "private"),
        ({"crit": ["x"]}, "crit"),
        ({"alg": "HS256"}, "algorithm"),
        ({"alg": "ES384"}, "ES256"),
    ],
)
async def test_an_inner_jws_that_disagrees_with_the_outer_one_changes_nothing(
    lab: Lab, client: AcmeClient, change: dict[str, Any], word: str
) -> None:
    before = await account_of(lab, client)
    refused = await client.key_change(AccountKey.generate(), status=400, **change)
    assert refused.problem in ("malformed", "badPublicKey", "badSignatureAlgorithm")
    assert word in refused.json["detail"]
    assert refused.json["detail"].startswith("key change, inner JWS: ")
    assert await account_of(lab, client) == before


async def test_the_account_of_somebody_else_is_not_taken_over_by_naming_it(lab: Lab, client: AcmeClient) -> None:
    victim = await lab.client()
    refused = await client.key_change(AccountKey.generate(), status=400, account=victim.kid, oldKey=victim.key.jwk)
    assert "'account'" in refused.json["detail"]
    assert (await victim.post(victim.kid)).json["status"] == "valid"


@pytest.mark.parametrize("payload", [None, {}, [], "x", 7, {"protected": "", "payload": "", "signature": ""}])
async def test_a_payload_that_is_no_jws_is_malformed(client: AcmeClient, payload: object) -> None:
    assert (await client.post(client.directory["keyChange"], payload, status=400)).problem == "malformed"


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b"{}", b"\xff", b"{" * 5000, b'{"account":"x"}'])
async def test_an_inner_payload_that_is_no_key_change_is_malformed(client: AcmeClient, payload: bytes) -> None:
    new, url = AccountKey.generate(), client.directory["keyChange"]
    inner = json.loads(new.jws({"jwk": new.jwk, "url": url}, payload))
    assert (await client.post(url, inner, status=400)).problem == "malformed"


async def test_a_key_signed_outer_jws_is_refused(client: AcmeClient) -> None:
    client.kid = ""
    assert "'kid'" in (await client.key_change(AccountKey.generate(), status=400)).json["detail"]


async def test_a_deactivated_account_cannot_change_its_key(client: AcmeClient) -> None:
    await client.post(client.kid, {"status": "deactivated"})
    assert (await client.key_change(AccountKey.generate(), status=401)).problem == "unauthorized"


async def test_a_running_order_is_finished_under_the_new_key(lab: Lab, client: AcmeClient) -> None:
    placed = await client.new_order(["a.corp.test"])
    await lab.upstream_validates(placed.location)
    csr, _ = make_csr(["a.corp.test"])
    finalizing = asyncio.create_task(client.finalize(placed.json, csr))  # waits while the key changes
    await asyncio.sleep(0)
    twin = await lab.stranger()
    twin.key, twin.kid = client.key, client.kid
    await twin.key_change(AccountKey.generate())
    assert (await finalizing).json["status"] == "processing"
    await lab.upstream_issues(placed.location)
    done = await twin.order(placed.location)
    assert done.json["status"] == "valid"
    assert await twin.certificate(done.json["certificate"])
    assert placed.location in (await twin.post(twin.kid + "/orders")).json["orders"]


async def test_a_pending_authorization_outlives_the_change_of_key(lab: Lab) -> None:
    client = await lab.client("xenolf-acme/4")
    placed = await client.new_order(["a.corp.test"])
    assert placed.json["status"] == "pending"
    await client.key_change(AccountKey.generate())
    authorization = await client.authorization(placed.json["authorizations"][0])
    assert authorization.json["status"] == "pending"
    await client.respond(authorization.json["challenges"][0]["url"])
    await lab.upstream_validates(placed.location)
    assert (await client.order(placed.location)).json["status"] == "ready"


async def test_the_binding_and_the_contacts_stay_as_they_were(lab: Lab) -> None:
    _, external = await lab.token()
    client = await lab.stranger()
    created = await client.register(external, status=201, contact=["mailto:ops@example.org"])
    changed = await client.key_change(AccountKey.generate())
    assert changed.json == created.json


async def test_a_change_of_contacts_meanwhile_is_not_undone(
    lab: Lab, client: AcmeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = lab.hub.store.accounts
    real = store.replace
    first = True

    async def late(account: Account) -> Account:
        nonlocal first
        if first:
            first = False
            other = await account_of(lab, client)
            await real(replace(other, contact=("mailto:meanwhile@example.org",)))
            raise Conflict("version")
        return await real(account)

    monkeypatch.setattr(store, "replace", late)
    changed = await client.key_change(AccountKey.generate())
    assert changed.json["contact"] == ["mailto:meanwhile@example.org"]


@pytest.mark.parametrize(
    ("made", "word"), [(roca_key, "ROCA"), (close_primes_key, "too close"), (small_factor_key, "small factor")]
)
async def test_a_weak_key_becomes_no_accounts(
    lab: Lab, client: AcmeClient, made: Callable[[], RSAPrivateKey], word: str
) -> None:
    weak = AccountKey(made())
    refused = await client.key_change(weak, status=400)
    assert refused.problem == "badPublicKey"
    assert word in refused.json["detail"]
    assert (await account_of(lab, client)).thumbprint == client.key.thumbprint
    _, external = await lab.token()
    other = await lab.stranger()
    other.key = weak
    refused = await other.register(external, status=400)
    assert refused.problem == "badPublicKey"
    assert word in refused.json["detail"]


async def test_an_account_that_has_a_weak_key_keeps_it(lab: Lab, client: AcmeClient) -> None:
    weak = AccountKey(close_primes_key())
    jwk = compact(dict(sorted(weak.jwk.items())))
    stored = await account_of(lab, client)
    await lab.hub.store.accounts.replace(replace(stored, jwk=jwk, thumbprint=weak.thumbprint))
    client.key = weak
    assert (await client.post(client.kid)).json["status"] == "valid"
    assert (await client.register(status=200)).location == client.kid


async def test_the_thumbprints_of_former_keys_are_kept_and_the_oldest_forgotten(
    lab: Lab, client: AcmeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MOST_FORMER_KEYS", 2)
    former = []
    for _ in range(3):
        former.append(client.key.thumbprint)
        await client.key_change(AccountKey.generate())
        assert (await account_of(lab, client)).former_keys == tuple(former[-2:])


async def test_the_change_stands_in_the_audit(lab: Lab, client: AcmeClient) -> None:
    old, new = client.key.thumbprint, AccountKey.generate()
    await client.key_change(new)
    latest = (await lab.hub.store.records.audited())[0]
    assert (latest.action, latest.allowed) == ("account.rekeyed", True)
    assert old in latest.detail
    assert new.thumbprint in latest.detail


async def test_a_binding_is_made_for_an_ed25519_key(lab: Lab) -> None:
    _, external = await lab.token()
    client = await lab.stranger(kind="Ed25519")
    await client.register(ExternalAccount(external.kid, external.key, "HS512"), status=201)
    assert (await client.post(client.kid)).json["status"] == "valid"

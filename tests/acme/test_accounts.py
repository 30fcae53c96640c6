"""newAccount, accounts, orders lists (RFC 8555 sections 7.3 and 7.1.2.1, docs/client-rules.md rules 11, 26)."""

import asyncio
import json
import secrets
from datetime import timedelta
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from acmehub.config import Acme
from acmehub.models import Role
from acmehub.models.problems import Problem
from acmehub.models.wire import AccountUpdate
from acmehub.ports.lists import OrderFilter
from acmehub.ports.store import Missing
from acmehub.testing.acme_client import AcmeClient
from acmehub.testing.acme_keys import AccountKey, ExternalAccount, make_csr
from tests.acme.lab import BASE, Lab


async def test_rule_11_a_new_account_is_201_and_the_same_key_again_200_without_binding(lab: Lab) -> None:
    token, external = await lab.token()
    client = await lab.stranger()
    first = await client.register(external, status=201, contact=["mailto:ops@example.org"])
    again = await client.register(status=200)
    assert first.location == again.location
    assert first.json["contact"] == ["mailto:ops@example.org"]
    assert first.json["orders"] == first.location + "/orders"
    assert first.json["externalAccountBinding"]["payload"]
    found = await client.register(status=200, onlyReturnExisting=True)
    assert found.location == first.location
    stored = await lab.hub.store.tokens.get(token.id)
    assert stored is not None
    assert stored.uses == 1


async def test_rule_11_an_unknown_key_with_only_return_existing_does_not_exist(lab: Lab) -> None:
    _, external = await lab.token()
    client = await lab.stranger()
    reply = await client.register(external, status=400, onlyReturnExisting=True)
    assert reply.problem == "accountDoesNotExist"
    assert (await client.register(status=400, onlyReturnExisting=True)).problem == "accountDoesNotExist"


@pytest.mark.parametrize(
    ("members", "status", "problem"),
    [
        ({}, 403, "externalAccountRequired"),
        ({"externalAccountBinding": None}, 403, "externalAccountRequired"),
        ({"externalAccountBinding": {}}, 400, "malformed"),
        ({"externalAccountBinding": "x"}, 400, "malformed"),
    ],
)
async def test_an_account_without_external_account_binding_is_refused(
    lab: Lab, members: dict[str, Any], status: int, problem: str
) -> None:
    reply = await (await lab.stranger()).register(status=status, **members)
    assert reply.problem == problem


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
async def test_rule_26_each_mac_is_taken(lab: Lab, alg: str) -> None:
    _, external = await lab.token()
    await (await lab.stranger()).register(ExternalAccount(external.kid, external.key, alg), status=201)


async def test_a_binding_for_another_key_is_refused(lab: Lab) -> None:
    _, external = await lab.token()
    client = await lab.stranger()
    stolen = external.binding(AccountKey.generate(), client.directory["newAccount"])
    assert (await client.register(status=400, externalAccountBinding=stolen)).problem == "malformed"


async def test_a_binding_for_another_url_is_refused(lab: Lab) -> None:
    _, external = await lab.token()
    client = await lab.stranger()
    other = external.binding(client.key, "https://elsewhere.test/acme/new-account")
    assert (await client.register(status=400, externalAccountBinding=other)).problem == "malformed"


async def test_an_unknown_key_id_and_a_wrong_hmac_key_are_answered_alike(lab: Lab) -> None:
    _, external = await lab.token()
    client = await lab.stranger()
    wrong = await client.register(ExternalAccount(external.kid, secrets.token_bytes(32)), status=403)
    unknown = await client.register(ExternalAccount("t" + "0" * 32, external.key), status=403)
    assert wrong.problem == unknown.problem == "unauthorized"
    assert wrong.json["detail"] == unknown.json["detail"]


async def test_an_unknown_key_id_is_not_answered_sooner_than_a_wrong_hmac_key(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is compared is the work: each unseals a key and makes a MAC."""
    opened: list[str] = []
    real = lab.hub.vault.open

    def counted(purpose: str, row_id: str, sealed: bytes) -> bytes:
        opened.append(purpose)
        return real(purpose, row_id, sealed)

    monkeypatch.setattr(lab.hub.vault, "open", counted)
    _, external = await lab.token()
    client = await lab.stranger()
    await client.register(ExternalAccount(external.kid, secrets.token_bytes(32)), status=403)
    await client.register(ExternalAccount("t" + "0" * 32, external.key), status=403)
    assert opened == ["token.hmac", "token.hmac"]


async def test_rule_26_one_token_may_bind_several_accounts_unless_limited(lab: Lab) -> None:
    token, external = await lab.token(use_limit=2)
    for _ in range(2):
        await (await lab.stranger()).register(external, status=201)
    refused = await (await lab.stranger()).register(external, status=403)
    assert refused.problem == "unauthorized"
    assert "as often as it may" in refused.json["detail"]
    entries = await lab.hub.store.records.audited()
    assert [entry.allowed for entry in entries if entry.object == f"token {token.id}"] == [False, True, True]


async def test_many_at_once_cannot_bind_more_often_than_the_limit(lab: Lab) -> None:
    _, external = await lab.token(use_limit=3)
    clients = [await lab.stranger() for _ in range(12)]
    replies = await asyncio.gather(
        *(one.post(one.directory["newAccount"], _asked(one, external)) for one in clients), return_exceptions=True
    )
    assert sum(not isinstance(reply, BaseException) for reply in replies) == 3


async def test_one_key_registered_twice_at_once_has_one_account(lab: Lab) -> None:
    token, external = await lab.token()
    key = AccountKey.generate()
    twins = [await lab.stranger() for _ in range(8)]
    for twin in twins:
        twin.key = key
    replies = await asyncio.gather(*(one.post(one.directory["newAccount"], _asked(one, external)) for one in twins))
    assert len({reply.location for reply in replies}) == 1
    assert sorted(reply.status for reply in replies) == [200] * 7 + [201]
    stored = await lab.hub.store.tokens.get(token.id)
    assert stored is not None
    assert stored.uses == 1


def _asked(client: AcmeClient, external: ExternalAccount) -> dict[str, Any]:
    return {"externalAccountBinding": external.binding(client.key, client.directory["newAccount"])}


async def test_a_token_that_goes_while_it_is_used_binds_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(*_: object) -> None:
        raise Missing("no token")

    _, external = await lab.token()
    monkeypatch.setattr(lab.hub.store.accounts, "bind", gone)
    assert (await (await lab.stranger()).register(external, status=403)).problem == "unauthorized"


async def test_an_account_that_goes_while_it_is_changed_does_not_exist(
    lab: Lab, client: AcmeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = await lab.hub.store.accounts.actor(client.kid.rpartition("/")[2])
    assert actor is not None
    await client.post(client.kid, {"contact": ["mailto:a@example.org"]})  # the actor is out of date now

    async def gone(_: str) -> None:
        return None

    monkeypatch.setattr(lab.hub.store.accounts, "actor", gone)
    with pytest.raises(Problem, match="no such account"):
        await lab.hub.accounts.update(actor, AccountUpdate(contact=("mailto:b@example.org",)))


async def test_a_token_that_cannot_be_used_binds_nothing_and_says_why(lab: Lab) -> None:
    for fields, word in (
        ({"enabled": False}, "disabled"),
        ({"revoked": lab.now}, "revoked"),
        ({"expires": lab.now - timedelta(seconds=1)}, "expired"),
        ({"scope": (Role.AUDITOR,)}, "managed_acme_consumer"),
        ({"networks": ("192.0.2.0/24",)}, "127.0.0.1"),
    ):
        _, external = await lab.token(**fields)
        reply = await (await lab.stranger()).register(external, status=403)
        assert reply.problem == "unauthorized"
        assert word in reply.json["detail"]


async def test_a_token_with_networks_binds_from_there(lab: Lab) -> None:
    await lab.client(networks=("127.0.0.0/8",))


async def test_news_of_an_account_reaches_plugins(lab: Lab) -> None:
    client = await lab.client()
    assert [event.account_id for event in lab.plugin.created] == [client.kid.rpartition("/")[2]]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("contact", "problem"),
    [
        ("mailto:ops@example.org?subject=x", "invalidContact"),
        ("mailto:a@example.org,b@example.org", "invalidContact"),
        ("mailto:a@example.org%2Cb@example.org", "invalidContact"),
        ("mailto:a@example.org\n", "invalidContact"),
        ("mailto:a@example.org%0A", "invalidContact"),
        ("mailto:", "invalidContact"),
        ("mailto:root", "invalidContact"),
        ("mailto:" + "a" * 250 + "@example.org", "invalidContact"),
        ("mailto:é@example.org", "invalidContact"),
        ("tel:+1234", "unsupportedContact"),
        ("ops@example.org", "unsupportedContact"),
    ],
)
async def test_a_contact_that_is_not_one_mail_address_is_refused(lab: Lab, contact: str, problem: str) -> None:
    _, external = await lab.token()
    client = await lab.stranger()
    refused = await client.register(external, status=400, contact=[contact])
    assert refused.problem == problem
    assert ("header fields" in refused.json["detail"]) == ("?" in contact)
    await client.register(external, status=201, contact=[])
    assert (await client.post(client.kid, {"contact": [contact]}, status=400)).problem == problem


async def test_control_characters_of_a_user_agent_are_escaped_where_they_come_in(lab: Lab) -> None:
    controls = "".join(map(chr, (*range(1, 32), *range(127, 160))))
    _, external = await lab.token()
    client = await lab.stranger()
    client.user_agent = f"evil{controls}/1".encode("latin-1")  # type: ignore[assignment]  # as it is on the wire
    await client.register(external, status=201)
    actor = await lab.hub.store.accounts.actor(client.kid.rpartition("/")[2])
    assert actor is not None
    stored = actor.account.user_agent
    assert stored.isprintable()
    assert stored.startswith("evil\\x01\\x02")


async def test_rule_17_a_binding_is_shown_in_compact_json_however_it_was_sent(lab: Lab) -> None:
    _, external = await lab.token()
    client = await lab.stranger()
    url = client.directory["newAccount"]
    binding = external.binding(client.key, url)
    payload = json.dumps({"externalAccountBinding": {**binding, "header": None}}, indent=2).encode()
    created = await client.send(url, await client.sign(url, payload))
    assert created.status == 201
    assert created.json["externalAccountBinding"] == binding


@pytest.mark.parametrize("contact", ["mailto: ops@example.org", "mailto:ops@example.org ", "mailto:  ops@example.org"])
async def test_a_blank_after_mailto_is_taken_and_not_stored(lab: Lab, contact: str) -> None:
    _, external = await lab.token()
    client = await lab.stranger()
    created = await client.register(external, status=201, contact=[contact])
    assert created.json["contact"] == ["mailto:ops@example.org"]
    assert (await client.post(client.kid, {"contact": [contact, contact]})).json["contact"] == [
        "mailto:ops@example.org",
        "mailto:ops@example.org",
    ]


async def test_too_many_contacts_are_refused(lab: Lab) -> None:
    _, external = await lab.token()
    contacts = [f"mailto:a{number}@example.org" for number in range(11)]
    assert (await (await lab.stranger()).register(external, status=400, contact=contacts)).problem == "invalidContact"


async def test_contacts_are_changed_and_taken_away(client: AcmeClient) -> None:
    changed = await client.post(client.kid, {"contact": ["mailto:new@example.org"]})
    assert changed.json["contact"] == ["mailto:new@example.org"]
    assert (await client.post(client.kid)).json["contact"] == ["mailto:new@example.org"]
    assert "contact" not in (await client.post(client.kid, {"contact": []})).json


async def test_rule_16_an_update_with_nothing_or_unknown_members_is_the_account(client: AcmeClient) -> None:
    for payload in (None, {}, {"termsOfServiceAgreed": True, "surprise": [1]}, {"status": "valid"}):
        assert (await client.post(client.kid, payload)).json["status"] == "valid"


async def test_changes_at_once_end_in_one_of_them(client: AcmeClient) -> None:
    asked = [{"contact": [f"mailto:a{number}@example.org"]} for number in range(8)]
    for _ in asked:  # a nonce each
        client._nonces.append((await client.http.head(client.directory["newNonce"])).headers["replay-nonce"])
    replies = await asyncio.gather(*(client.post(client.kid, payload) for payload in asked))
    assert {reply.status for reply in replies} == {200}
    assert (await client.post(client.kid)).json["contact"] in [payload["contact"] for payload in asked]


async def test_a_deactivated_account_is_served_no_more(lab: Lab, client: AcmeClient) -> None:
    order = (await client.new_order(["a.corp.test"])).location
    assert (await client.post(client.kid, {"status": "deactivated"})).json["status"] == "deactivated"
    for url in (client.kid, order, client.kid + "/orders", client.directory["newOrder"]):
        reply = await client.post(url, status=401)
        assert reply.problem == "unauthorized"
        assert "deactivated" in reply.json["detail"]
    assert (await client.register(status=401)).problem == "unauthorized"


@pytest.mark.parametrize("status", ["revoked", "pending", "x"])
async def test_another_status_than_deactivated_is_ignored(client: AcmeClient, status: str) -> None:
    changed = await client.post(client.kid, {"status": status, "contact": ["mailto:a@example.org"]}, status=200)
    assert (changed.json["status"], changed.json["contact"]) == ("valid", ["mailto:a@example.org"])


async def test_the_open_orders_of_a_deactivated_account_are_cancelled(lab: Lab, client: AcmeClient) -> None:
    ready = (await client.new_order(["a.corp.test"])).location
    await client.new_authz("b.corp.test")
    placed = await client.new_order(["c.corp.test"])
    await client.finalize(placed.json, make_csr(["c.corp.test"])[0])
    await client.post(client.kid, {"status": "deactivated"})
    bundle = await lab.stored(ready)
    assert (bundle.order.status.value, bundle.order.run_at) == ("invalid", None)
    assert (await lab.stored(placed.location)).order.status.value == "processing"
    found = await lab.hub.store.orders.list(OrderFilter(account_id=client.kid.rpartition("/")[2]))
    assert sorted(order.status.value for order in found) == ["invalid", "invalid", "processing"]


async def test_terms_of_service_must_be_agreed_to_only_where_there_are_some(lab: Lab) -> None:
    terms = "https://example.org/terms"
    acme = replace(lab.hub.config.acme, terms_of_service=terms)
    lab.hub.config = replace(lab.hub.config, acme=acme)
    assert (await lab.http.get("/acme/directory")).json()["meta"]["termsOfService"] == terms
    _, external = await lab.token()
    client = await lab.stranger()
    refused = await client.register(external, status=403)
    assert refused.problem == "userActionRequired"
    assert refused.json["instance"] == terms
    assert refused.links("terms-of-service") == [terms]
    await client.register(external, status=201, termsOfServiceAgreed=True)


async def test_a_page_of_the_hub_can_be_the_terms_of_service(lab: Lab) -> None:
    assert (await lab.http.get("/acme/terms")).status_code == 404
    lab.hub.config = replace(lab.hub.config, acme=Acme(terms_of_service="hub", website="https://x.test/<b>"))
    url = (await lab.http.get("/acme/directory")).json()["meta"]["termsOfService"]
    assert url == "https://hub.test/acme/terms"
    page = await lab.http.get("/acme/terms")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["content-security-policy"].startswith("default-src 'none'; ")
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "ACME server" in page.text
    assert "https://x.test/&lt;b&gt;" in page.text
    assert "<script" not in page.text
    assert (await lab.http.head("/acme/terms")).content == b""
    _, external = await lab.token()
    await (await lab.stranger()).register(external, status=201)  # nothing to agree to


@pytest.mark.parametrize(
    ("text", "kind"), [("Be kind.\n", "text/plain; charset=utf-8"), ("<p>Be kind.</p>", "text/html; charset=utf-8")]
)
async def test_terms_of_the_operator_on_the_hubs_page_must_be_agreed_to(lab: Lab, text: str, kind: str) -> None:
    lab.hub.config = replace(lab.hub.config, acme=Acme(terms_of_service="hub", terms_text=text))
    page = await lab.http.get("/acme/terms")
    assert (page.text, page.headers["content-type"]) == (text, kind)
    assert page.headers["content-security-policy"].startswith("default-src 'none'; ")
    _, external = await lab.token()
    client = await lab.stranger()
    refused = await client.register(external, status=403)
    assert refused.json["instance"] == "https://hub.test/acme/terms"
    await client.register(external, status=201, termsOfServiceAgreed=True)


async def test_an_account_of_somebody_else_is_answered_as_if_it_were_not_there(lab: Lab, client: AcmeClient) -> None:
    other = await lab.client()
    for suffix in ("", "/orders", "/orders/x"):
        theirs = await client.post(other.kid + suffix, status=404)
        missing = await client.post(f"{BASE}/acme/acct/{'0' * 32}{suffix}", status=404)
        assert theirs.json == missing.json
    assert (await client.post(other.kid, {"status": "deactivated"}, status=404)).problem == "malformed"
    assert (await other.post(other.kid)).json["status"] == "valid"


async def test_the_orders_list_is_paged_without_a_query(client: AcmeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acmehub.acme.resources.accounts._PAGE", 2)
    placed = [(await client.new_order([f"n{number}.corp.test"])).location for number in range(5)]
    seen: list[str] = []
    url = client.kid + "/orders"
    while url:
        reply = await client.post(url)
        assert len(reply.json["orders"]) <= 2
        seen += reply.json["orders"]
        url = next(iter(reply.links("next")), "")
        assert "?" not in url
    assert sorted(seen) == sorted(placed)


async def test_an_empty_orders_list_is_a_list(client: AcmeClient) -> None:
    assert (await client.post(client.kid + "/orders")).json == {"orders": []}


async def test_the_client_address_is_the_peers_unless_a_trusted_proxy_says_otherwise(lab: Lab) -> None:
    _, external = await lab.token(networks=("192.0.2.0/24",))
    client = await lab.stranger()
    body = await client.sign(client.directory["newAccount"], json.dumps(_asked(client, external)).encode())
    response = await lab.http.post(
        client.directory["newAccount"],
        content=body,
        headers={"content-type": "application/jose+json", "x-forwarded-for": "192.0.2.7"},
    )
    assert response.status_code == 403
    assert isinstance(response, httpx.Response)

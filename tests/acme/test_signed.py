"""What a request must be before any resource sees it (RFC 8555 section 6, docs/reliability.md section 5)."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from acmehub.acme.server import context
from acmehub.app.asgi import create_app
from acmehub.models import new_id
from acmehub.testing.acme_client import AcmeClient, check_answer
from acmehub.testing.acme_keys import AccountKey, compact
from tests.acme.lab import BASE, Lab


async def test_rule_11_head_new_nonce_is_200_without_a_body_and_get_is_204(lab: Lab) -> None:
    head, get = await lab.http.head("/acme/new-nonce"), await lab.http.get("/acme/new-nonce")
    assert (head.status_code, head.content) == (200, b"")
    assert (get.status_code, get.content) == (204, b"")
    assert len(head.headers.get_list("replay-nonce")) == len(get.headers.get_list("replay-nonce")) == 1
    assert head.headers["cache-control"] == get.headers["cache-control"] == "no-store"
    assert head.headers["replay-nonce"] != get.headers["replay-nonce"]


async def test_rule_23_the_directory_advertises_what_is_honoured_and_no_more(lab: Lab) -> None:
    response = await lab.http.get("/acme/directory", headers={"content-type": "text/plain", "accept": "image/png"})
    assert response.json() == {
        "newNonce": f"{BASE}/acme/new-nonce",
        "newAccount": f"{BASE}/acme/new-account",
        "newOrder": f"{BASE}/acme/new-order",
        "newAuthz": f"{BASE}/acme/new-authz",
        "revokeCert": f"{BASE}/acme/revoke-cert",
        "keyChange": f"{BASE}/acme/key-change",
        "renewalInfo": f"{BASE}/acme/renewal-info",
        "meta": {"externalAccountRequired": True},
    }


async def test_every_resource_of_the_directory_is_there(lab: Lab) -> None:
    for name, url in (await lab.http.get("/acme/directory")).json().items():
        if name not in ("meta", "renewalInfo"):  # which takes an identifier more
            assert (await lab.http.request("PUT", url)).status_code == 405


async def test_the_directory_and_new_nonce_are_given_by_post_as_get_too(lab: Lab, client: AcmeClient) -> None:
    given = await client.post(f"{BASE}/acme/directory", status=200)
    assert given.json == (await lab.http.get("/acme/directory")).json()
    again = await client.post(client.directory["newNonce"], status=204)
    assert again.headers["cache-control"] == "no-store"
    stranger = await lab.stranger()
    await stranger.post(f"{BASE}/acme/directory", status=400)


@pytest.mark.parametrize("path", ["/acme", "/acme/", "/acme/new-cert", "/acme/order/", "/acme/order/x/y"])
async def test_an_unknown_path_is_a_problem_with_a_nonce(lab: Lab, path: str) -> None:
    response = await lab.http.post(path, content=b"{}", headers={"content-type": "application/jose+json"})
    check_answer(response)
    assert response.status_code == 404
    assert response.json()["type"].endswith(":malformed")


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("//acme/directory", "directory"),
        ("/acme//directory", "directory"),
        ("/acme/directory/", "directory"),
        ("//acme//directory//", "directory"),
        ("/acme/new-nonce/", "new-nonce"),
        ("/acme//new-order", "new-order"),
        (f"/acme/order/{'0' * 44}/finalize/", f"order/{'0' * 44}/finalize"),
    ],
)
async def test_a_url_with_doubled_or_trailing_slashes_is_a_404_that_names_the_right_one(
    lab: Lab, path: str, meant: str
) -> None:
    for method in ("GET", "HEAD", "POST"):
        response = await lab.http.request(method, f"{BASE}{path}")
        assert response.status_code == 404
        if method != "HEAD":
            assert response.json()["detail"].endswith(f"slashes, it is {BASE}/acme/{meant}")


@pytest.mark.parametrize("path", ["/acme/", "/acme//", "/acme/nowhere/", "/acme/order//", "/acme/order/abc/"])
async def test_slashes_that_hide_nothing_are_an_ordinary_404(lab: Lab, path: str) -> None:
    response = await lab.http.get(f"{BASE}{path}")
    assert (response.status_code, response.json()["detail"]) == (404, "there is no such resource")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/acme/new-order", "POST"),
        ("PUT", f"/acme/order/{new_id()}", "POST"),
        ("GET", "/acme/revoke-cert", "POST"),
        ("PUT", "/acme/directory", "GET, HEAD, POST"),
        ("DELETE", "/acme/new-nonce", "GET, HEAD, POST"),
    ],
)
async def test_a_wrong_method_is_a_problem_with_a_nonce_and_allow(lab: Lab, method: str, path: str, allow: str) -> None:
    response = await lab.http.request(method, path)
    check_answer(response)
    assert response.status_code == 405
    assert response.headers["allow"] == allow


@pytest.mark.parametrize("media_type", ["", "application/json", "application/jose", "text/plain"])
async def test_another_content_type_than_jose_is_415(client: AcmeClient, media_type: str) -> None:
    url = client.directory["newOrder"]
    reply = await client.send(url, await client.sign(url, b""), content_type=media_type)
    assert (reply.status, reply.problem) == (415, "malformed")


async def test_a_content_type_with_parameters_is_fine(client: AcmeClient) -> None:
    body = await client.sign(client.kid, b"")
    assert (await client.send(client.kid, body, content_type="Application/JOSE+json; charset=utf-8")).status == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_64_kib_is_413_and_no_more_of_it_is_read(lab: Lab, chunked: bool) -> None:
    read: list[int] = []

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(100):
            read.append(number)
            yield b"x" * 10_000

    length = {} if chunked else {"content-length": "1000000"}
    response = await lab.http.post(
        "/acme/new-order", content=pieces(), headers={"content-type": "application/jose+json", **length}
    )
    check_answer(response)
    assert response.status_code == 413
    assert len(read) <= 8 if chunked else len(read) <= 1


async def test_rule_16_a_request_in_chunks_is_read(client: AcmeClient) -> None:
    body = await client.sign(client.kid, b"")

    async def pieces() -> AsyncIterator[bytes]:
        yield body[:10]
        yield body[10:]

    response = await client.http.post(client.kid, content=pieces(), headers={"content-type": "application/jose+json"})
    assert response.status_code == 200


async def test_a_jws_for_another_url_is_unauthorized(client: AcmeClient) -> None:
    for url in (client.directory["newAccount"], client.kid + "/", "https://other.test" + client.kid[len(BASE) :]):
        reply = await client.send(client.kid, await client.sign(url, b""))
        assert (reply.status, reply.problem) == (403, "unauthorized")


async def test_the_host_header_has_no_say_in_what_the_url_is(client: AcmeClient) -> None:
    body = await client.sign(client.kid, b"")
    response = await client.http.post(
        client.kid, content=body, headers={"content-type": "application/jose+json", "host": "evil.test"}
    )
    assert response.status_code == 200
    assert "evil" not in response.text


async def test_new_order_signed_by_a_bare_key_is_refused(lab: Lab, client: AcmeClient) -> None:
    asked = {"identifiers": [{"type": "dns", "value": "a.corp.test"}]}
    for signer in (client, await lab.stranger()):  # a key that has an account, and one that has none
        reply = await signer.post(client.directory["newOrder"], asked, status=400, kid=None, jwk=signer.key.jwk)
        assert reply.problem == "malformed"
        assert "'kid'" in reply.json["detail"]


async def test_new_account_signed_by_an_account_is_refused(client: AcmeClient) -> None:
    reply = await client.post(client.directory["newAccount"], {}, status=400)
    assert reply.problem == "malformed"


async def test_an_unknown_account_does_not_exist(client: AcmeClient) -> None:
    for kid in (f"{BASE}/acme/acct/{'0' * 32}", f"{BASE}/acme/acct/", client.kid + "/orders", "x"):
        reply = await client.post(client.directory["newOrder"], {}, status=400, kid=kid)
        assert reply.problem == "accountDoesNotExist"


async def test_a_signature_by_another_key_is_refused(client: AcmeClient) -> None:
    client.key = AccountKey.generate()
    assert (await client.post(client.kid, status=400)).problem == "malformed"


async def test_rule_13_a_nonce_is_taken_once_and_the_refusal_has_the_words_clients_know(client: AcmeClient) -> None:
    body = await client.sign(client.kid, b"")
    assert (await client.send(client.kid, body)).status == 200
    reply = await client.send(client.kid, body)
    assert reply.status == 400
    assert reply.problem == "badNonce"
    assert reply.json["detail"] == "JWS has invalid anti-replay nonce"
    fresh = reply.headers["replay-nonce"]
    assert (await client.post(client.kid, nonce=fresh)).status == 200


async def test_a_request_that_is_not_authentic_spends_no_nonce(client: AcmeClient) -> None:
    nonce = await client.nonce()
    right, client.key = client.key, AccountKey.generate()
    assert (await client.post(client.kid, status=400, nonce=nonce)).problem == "malformed"
    client.key = right
    assert (await client.post(client.kid, nonce=nonce)).status == 200


async def test_a_wrong_algorithm_lists_the_right_ones(client: AcmeClient) -> None:
    reply = await client.post(client.kid, status=400, alg="HS256")
    assert reply.problem == "badSignatureAlgorithm"
    assert reply.json["algorithms"] == ["RS256", "ES256", "ES384", "ES512", "EdDSA"]


@pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521", "RSA", "Ed25519"])
async def test_rule_25_each_of_the_algorithms_is_taken(lab: Lab, kind: str) -> None:
    client = await lab.client(kind=kind)
    assert (await client.post(client.kid)).json["status"] == "valid"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff", b'{"protected":"e30","payload":"","signature":""}']
)
async def test_what_is_no_jws_is_malformed(lab: Lab, body: bytes) -> None:
    response = await lab.http.post("/acme/new-order", content=body, headers={"content-type": "application/jose+json"})
    check_answer(response)
    assert response.status_code == 400


async def test_a_payload_that_was_changed_is_refused(client: AcmeClient) -> None:
    url = client.directory["newOrder"]
    signed = json.loads(await client.sign(url, compact({"identifiers": [{"type": "dns", "value": "a.corp.test"}]})))
    clear = urlsafe_b64decode(signed["payload"] + "==").replace(b"a.corp", b"b.corp")
    signed["payload"] = urlsafe_b64encode(clear).rstrip(b"=").decode()
    assert (await client.send(url, compact(signed))).status == 400


@pytest.mark.parametrize("payload", [[], "x", 1, {"identifiers": "x"}, {"identifiers": [{"type": "dns"}]}, {}])
async def test_a_payload_of_another_shape_is_malformed(client: AcmeClient, payload: object) -> None:
    reply = await client.post(client.directory["newOrder"], payload, status=400)
    assert reply.problem == "malformed"


async def test_loaded_keys_are_kept_in_bounded_memory(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "_MOST_KEYS", 2)
    keys = context.Keys()
    actors = [await lab.hub.store.accounts.actor((await lab.client()).kid.rpartition("/")[2]) for _ in range(3)]
    first, second, third = (actor.account for actor in actors if actor is not None)
    kept = keys.of(first)
    keys.of(second)
    assert keys.of(first) is kept
    keys.of(third)
    assert keys.of(first) is kept
    assert len(keys._loaded) == 2


async def test_a_client_that_hangs_up_in_the_middle_of_its_request_is_left_alone(lab: Lab) -> None:
    sent: list[object] = []
    messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: object) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/acme/new-order",
        "raw_path": b"/acme/new-order",
        "headers": [(b"content-type", b"application/jose+json")],
    }
    await create_app(lab.hub)(scope, receive, send)  # type: ignore[arg-type]
    assert sent == []


async def test_the_token_is_asked_on_every_request(lab: Lab, client: AcmeClient) -> None:
    actor = await lab.hub.store.accounts.actor(client.kid.rpartition("/")[2])
    assert actor is not None
    token = await lab.hub.store.tokens.replace(replace(actor.token, enabled=False))
    assert (await client.post(client.kid, status=403)).problem == "unauthorized"
    await lab.hub.store.tokens.replace(replace(token, enabled=True))
    assert (await client.post(client.kid)).status == 200
    await lab.hub.store.principals.replace(replace(actor.principal, enabled=False))
    assert (await client.new_order(["a.corp.test"], status=403)).problem == "unauthorized"

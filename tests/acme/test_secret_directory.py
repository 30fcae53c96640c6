"""Secret directory URLs, for clients without external account binding (docs/client-rules.md rule 27)."""

import json
import logging
import re
from datetime import timedelta
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from acmehub.admin.resources.profiles import NewProfile
from acmehub.admin.resources.tokens import NewToken, TokenPatch
from acmehub.models import Token
from acmehub.ports.store import StoreUnavailable
from acmehub.rules.permissions import Acting
from acmehub.serving.logs import JsonFormatter
from acmehub.testing.acme_client import AcmeClient, Reply
from acmehub.testing.acme_keys import AccountKey, ExternalAccount, b64
from tests.acme.lab import BASE, DIRECTORY, Lab

ROOT = Acting.machine("test")
NAMES = ["a.corp.test"]


async def secret_token(lab: Lab, title: str = "tiny", **fields: Any) -> tuple[Token, str]:
    """A token with a secret directory, and the directory's key."""
    owner = await lab.principal(f"owner of {title}")
    new = NewToken(title=title, principal=owner.name, secret_directory=True, **fields)
    added = await lab.hub.admin.tokens.add(new, ROOT)
    return await token_of(lab, added.token.id), await key_of(lab, title)


async def token_of(lab: Lab, id: str) -> Token:
    found = await lab.hub.store.tokens.get(id)
    assert found is not None
    return found


async def key_of(lab: Lab, ref: str) -> str:
    key = (await lab.hub.admin.tokens.directory(ref, ROOT)).directory_key
    assert key is not None
    return key.reveal()


def url_of(key: str, leaf: str = "directory") -> str:
    return f"{BASE}/acme/{key}/{leaf}"


async def stranger(lab: Lab, key: str) -> AcmeClient:
    """A client of the secret directory, without an account."""
    return await AcmeClient.discover(lab.http, url_of(key))


async def bind(lab: Lab, key: str, status: int = 201, **members: Any) -> Reply:
    """A new client registers there; the answer."""
    return await (await stranger(lab, key)).register(status=status, **members)


async def binding(lab: Lab, token: Token, client: AcmeClient) -> ExternalAccount:
    hmac_key = lab.hub.vault.open("token.hmac", token.id, token.sealed_hmac_key)
    return ExternalAccount(token.id, hmac_key)


# ------------------------------------------------------------------------------------------------- the directory


async def test_it_differs_from_the_ordinary_one_in_what_it_is_for(lab: Lab) -> None:
    _, key = await secret_token(lab)
    ordinary, secret = [(await lab.http.get(url)).json() for url in (DIRECTORY, url_of(key))]
    assert ordinary["meta"].pop("externalAccountRequired") is True
    assert secret.pop("newAccount") == url_of(key, "new-account")
    del ordinary["newAccount"]
    assert secret == ordinary


async def test_its_key_has_190_random_bits_in_letters_and_digits(lab: Lab) -> None:
    _, first = await secret_token(lab)
    _, second = await secret_token(lab, "other")
    assert first != second
    assert re.fullmatch(r"[A-Za-z0-9]{32}", first)


async def test_it_is_not_to_be_kept_by_caches(lab: Lab) -> None:
    _, key = await secret_token(lab)
    answer = await lab.http.get(url_of(key))
    assert answer.headers["cache-control"] == "private, no-store"
    assert "link" not in answer.headers
    head = await lab.http.head(url_of(key))
    assert (head.status_code, head.content) == (200, b"")


async def test_there_is_none_unless_it_is_asked_for(lab: Lab) -> None:
    token, _ = await lab.token(title="plain")
    assert (token.directory_hash, token.sealed_directory_key) == (b"", b"")
    assert (await lab.hub.admin.tokens.directory("plain", ROOT)).directory_key is None
    for key in ("", "0" * 32, token.id):
        assert (await lab.http.get(url_of(key))).status_code == 404


async def test_it_shows_the_profiles_that_are_open_to_its_clients(lab: Lab) -> None:
    token, key = await secret_token(lab)
    for name in ("a", "b"):
        await lab.hub.admin.profiles.add(NewProfile(name=name, description=name), ROOT)
    assert list((await lab.http.get(url_of(key))).json()["meta"]["profiles"]) == ["a", "b"]
    owner = await lab.hub.store.principals.get(token.principal_id)
    assert owner is not None
    await lab.hub.store.principals.replace(replace(owner, profiles=("b",)))
    assert list((await lab.http.get(url_of(key))).json()["meta"]["profiles"]) == ["b"]


def alike(answer: httpx.Response) -> Any:
    """What of an answer can differ."""
    headers = {name: value for name, value in answer.headers.items() if name not in ("replay-nonce", "date")}
    return answer.status_code, headers, answer.content


async def test_doubled_and_trailing_slashes_are_a_404_that_names_the_right_url_to_those_who_know_the_key(
    lab: Lab,
) -> None:
    _, key = await secret_token(lab)
    for leaf in ("directory", "new-account"):
        for odd in (f"/acme/{key}/{leaf}/", f"//acme/{key}/{leaf}", f"/acme//{key}/{leaf}"):
            response = await lab.http.get(f"{BASE}{odd}")
            assert response.status_code == 404
            assert response.json()["detail"].endswith(f"it is {url_of(key, leaf)}")
            unknown = await lab.http.get(f"{BASE}{odd.replace(key, key[::-1])}")
            assert (unknown.status_code, unknown.json()["detail"]) == (404, "there is no such resource")


@pytest.mark.parametrize("leaf", ["directory", "new-account"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT"])
async def test_an_unknown_key_is_answered_as_an_unknown_path_is(lab: Lab, method: str, leaf: str) -> None:
    _, key = await secret_token(lab)
    unknown = await lab.http.request(method, url_of(key[::-1], leaf))
    nowhere = await lab.http.request(method, f"{BASE}/acme/nothing/here")
    assert alike(unknown) == alike(nowhere)
    assert unknown.status_code == 404
    assert unknown.headers["link"] == f'<{DIRECTORY}>;rel="index"'


async def test_a_known_key_says_which_methods_there_are(lab: Lab) -> None:
    _, key = await secret_token(lab)
    assert (await lab.http.put(url_of(key))).headers["allow"] == "GET, HEAD, POST"
    assert (await lab.http.get(url_of(key, "new-account"))).headers["allow"] == "POST"
    assert (await lab.http.get(url_of(key, "new-order"))).status_code == 404


# -------------------------------------------------------------------------------------------------- new accounts


async def test_an_account_is_bound_to_the_token_and_works_like_any_other(lab: Lab) -> None:
    token, key = await secret_token(lab)
    client = await stranger(lab, key)
    made = await client.register(status=201)
    assert "externalAccountBinding" not in made.json
    assert made.location.startswith(f"{BASE}/acme/acct/")
    placed = await client.new_order(NAMES)
    order = (await lab.stored(placed.location)).order
    assert (order.token_id, order.principal_id) == (token.id, token.principal_id)
    assert (await token_of(lab, token.id)).uses == 1
    assert (await client.register(status=200)).location == made.location
    assert (await token_of(lab, token.id)).uses == 1


async def test_pinned_to_the_first_key_no_other_is_bound_and_the_first_goes_on(lab: Lab) -> None:
    _, key = await secret_token(lab, use_limit=1)
    first = await stranger(lab, key)
    await first.register(status=201)
    refused = await bind(lab, key, 403)
    assert refused.problem == "unauthorized"
    assert "has been used as often as it may" in refused.json["detail"]
    await first.register(status=200)
    await first.new_order(NAMES)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"enabled": False}, "is disabled"),
        ({"expires": -1}, "has expired"),
        ({"networks": ("192.0.2.0/24",)}, "may not be used from 127.0.0.1"),
        ({"revoked": 0}, "is revoked"),
    ],
)
async def test_the_tokens_limits_hold(lab: Lab, change: dict[str, Any], words: str) -> None:
    token, key = await secret_token(lab)
    for name in ("expires", "revoked"):
        if name in change:
            change = {name: lab.now + timedelta(hours=change[name])}
    await lab.hub.store.tokens.replace(replace(token, **change))
    refused = await bind(lab, key, 403)
    assert refused.problem == "unauthorized"
    assert words in refused.json["detail"]
    assert (await lab.hub.store.records.audited())[0].action == "account.refused"


async def test_a_binding_of_the_same_token_is_fine_and_its_url_is_not_kept(lab: Lab) -> None:
    token, key = await secret_token(lab)
    client = await stranger(lab, key)
    made = await client.register(await binding(lab, token, client), status=201)
    assert "externalAccountBinding" not in made.json
    stored = await lab.hub.store.accounts.actor(made.location.rpartition("/")[2])
    assert stored is not None
    assert stored.account.binding == b""


async def test_a_binding_of_another_token_is_refused(lab: Lab) -> None:
    _, key = await secret_token(lab)
    other, _ = await secret_token(lab, "other")
    client = await stranger(lab, key)
    refused = await client.register(await binding(lab, other, client), status=403)
    assert refused.problem == "unauthorized"
    assert "is not of this directory's token" in refused.json["detail"]


async def test_a_binding_that_is_forged_is_refused(lab: Lab) -> None:
    token, key = await secret_token(lab)
    refused = await (await stranger(lab, key)).register(ExternalAccount(token.id, b"x" * 32), status=403)
    assert "the HMAC key is not the one" in refused.json["detail"]


async def test_a_request_signed_for_the_ordinary_url_is_refused_there(lab: Lab) -> None:
    _, key = await secret_token(lab)
    client = await stranger(lab, key)
    body = await client.sign(f"{BASE}/acme/new-account", b"{}")
    assert (await client.send(url_of(key, "new-account"), body)).problem == "unauthorized"


async def test_without_an_account_only_return_existing_says_so(lab: Lab) -> None:
    _, key = await secret_token(lab)
    assert (await bind(lab, key, 400, onlyReturnExisting=True)).problem == "accountDoesNotExist"


# ------------------------------------------------------------------------------------------- rotated, taken away


async def test_a_new_key_ends_the_old_one_and_accounts_stay(lab: Lab) -> None:
    token, old = await secret_token(lab)
    client = await stranger(lab, old)
    await client.register(status=201)
    await lab.hub.admin.tokens.set("tiny", TokenPatch(new_directory=True), ROOT)
    new = await key_of(lab, "tiny")
    assert new != old
    assert (await lab.http.get(url_of(old))).status_code == 404
    await client.new_order(NAMES)
    await bind(lab, new)
    await lab.hub.admin.tokens.set("tiny", TokenPatch(secret_directory=False), ROOT)
    assert (await lab.http.get(url_of(new))).status_code == 404
    assert (await token_of(lab, token.id)).sealed_directory_key == b""
    await client.new_order(NAMES)


async def test_a_key_that_is_replaced_while_an_account_is_made_binds_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, key = await secret_token(lab)
    client = await stranger(lab, key)
    find = lab.hub.accounts.directories.token

    async def then_replaced(key: str) -> Token | None:
        found = await find(key)
        await lab.hub.admin.tokens.set("tiny", TokenPatch(new_directory=True), ROOT)
        return found

    monkeypatch.setattr(lab.hub.accounts.directories, "token", then_replaced)
    refused = await client.register(status=403)
    assert "this directory URL is over" in refused.json["detail"]
    assert (await token_of(lab, token.id)).uses == 0


async def test_what_has_a_directory_keeps_it_when_it_is_asked_for_again(lab: Lab) -> None:
    _, key = await secret_token(lab)
    await lab.hub.admin.tokens.set("tiny", TokenPatch(secret_directory=True), ROOT)
    assert await key_of(lab, "tiny") == key


# ------------------------------------------------------------------------------------------------ it is a secret


async def test_the_key_is_in_no_log_problem_audit_or_header_and_not_in_the_database(
    lab: Lab, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every log record of every logger at DEBUG, as it is written; every answer but the directory's own."""
    token, key = await secret_token(lab, use_limit=1)
    other, _ = await secret_token(lab, "other")
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore"):  # the test's own client
        logging.getLogger(name).setLevel(logging.WARNING)
    said: list[httpx.Response] = []
    client = await stranger(lab, key)
    url = url_of(key, "new-account")
    said.append((await client.register(status=201)).response)
    said.append((await client.new_order(NAMES)).response)
    said.append(await lab.http.post(url, content=b"{"))
    said.append((await client.send(url, b"{}")).response)
    said.append((await client.send(url, await client.sign(url, b"[]", kid=None, jwk=client.key.jwk))).response)
    said.append((await client.send(url, await client.sign(f"{url}x", b"{}"))).response)
    said.append(await lab.http.put(url_of(key)))
    said.append((await (await stranger(lab, key)).register(ExternalAccount(other.id, b"x" * 32), status=403)).response)
    said.append((await bind(lab, key, 403)).response)
    found = await lab.hub.store.tokens.list()
    assert token.id in [row.id for row in found]

    async def broken(*_: object, **__: object) -> None:
        raise StoreUnavailable("it is gone")

    async def defect(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    for failure in (broken, defect):
        monkeypatch.setattr(lab.hub.store.accounts, "by_thumbprint", failure)
        said.append((await client.send(url, await client.sign(url, b"{}", kid=None, jwk=client.key.jwk))).response)
    assert [answer.status_code for answer in said] == [201, 201, 415, 400, 400, 403, 405, 403, 403, 503, 500]
    for answer in said:
        assert key not in f"{answer.headers.raw!r}{answer.text}"
    formatter = JsonFormatter()
    logged = [formatter.format(record) for record in caplog.records]
    assert any("a defect" in line for line in logged)
    assert [line for line in logged if key in line] == []
    audited = await lab.hub.store.records.audited()
    assert {"account.created", "account.refused", "token.directory"} <= {entry.action for entry in audited}
    assert key not in repr(audited)
    assert key not in repr(found)


async def test_the_database_has_the_key_nowhere_in_clear(lab: Lab) -> None:
    token, key = await secret_token(lab)
    client = await stranger(lab, key)
    await client.register(await binding(lab, token, client), status=201)
    await client.new_order(NAMES)
    files = list(lab.hub.config.data_dir.glob("acmehub.db*"))
    kept = b"".join(path.read_bytes() for path in files)
    assert token.directory_hash in kept
    for form in (key.encode(), b64(url_of(key).encode())[4:-4].encode()):
        assert form not in kept
    protected = json.dumps({"url": url_of(key, "new-account")})
    assert b64(protected.encode())[30:60].encode() not in kept


async def test_requests_do_not_show_their_path(lab: Lab) -> None:
    from acmehub.acme.server.routing import Request
    from acmehub.acme.server.signed import KeySigned

    request = Request(None, {}, None, "GET", url_of("k" * 32), {"directory_key": "k" * 32})  # type: ignore[arg-type,typeddict-item]
    signed = KeySigned(request=request, payload=b"", jwk=b"", thumbprint="")
    for text in (repr(request), str(request), repr(signed), f"{signed}"):
        assert "kkk" not in text


async def test_the_index_is_the_ordinary_directory_for_everybody(lab: Lab) -> None:
    _, key = await secret_token(lab)
    made = await bind(lab, key)
    assert made.links("index") == [DIRECTORY]


async def test_it_is_read_by_post_as_get_too(lab: Lab) -> None:
    _, key = await secret_token(lab)
    client = await stranger(lab, key)
    await client.register(status=201)
    read = await client.post(url_of(key), status=200)
    assert read.json == client.directory


async def test_the_list_of_tokens_is_indexed_once_while_it_stays_the_same(lab: Lab) -> None:
    _, key = await secret_token(lab)
    directories, snapshots = lab.hub.accounts.directories, lab.hub.snapshots
    await directories.token(key)
    index = (await (await snapshots.current()).tokens()).by_directory_hash
    await directories.token(key)
    assert (await (await snapshots.current()).tokens()).by_directory_hash is index
    await secret_token(lab, "other")
    await directories.token(key)
    assert (await (await snapshots.current()).tokens()).by_directory_hash is not index


async def test_any_account_key_will_do(lab: Lab) -> None:
    _, key = await secret_token(lab)
    for kind in ("RSA", "P-384"):
        client = await AcmeClient.discover(lab.http, url_of(key), key=AccountKey.generate(kind))
        await client.register(status=201)

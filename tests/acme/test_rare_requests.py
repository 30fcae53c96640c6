"""Requests that hardly ever come: signatures that are wrong, nonces that another request took, rows that are gone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from acmehub.acme.orders.profiles import last_moment
from acmehub.acme.orders.service import _claimed
from acmehub.acme.server.app import _send
from acmehub.acme.server.client_address import TrustedProxies
from acmehub.acme.server.responses import AcmeResponse, _escaped
from acmehub.acme.server.urls import Urls
from acmehub.models import AuthorizationMode, Order, OrderStatus, Profile, Stage
from acmehub.models.problems import Problem
from acmehub.rules.orders import Change, Lease, OrderBundle
from acmehub.testing.acme_client import AcmeClient
from acmehub.testing.acme_keys import AccountKey
from tests.acme.lab import BASE, Lab
from tests.rules.certificates import close_primes_key

NOW = datetime(2026, 11, 28, tzinfo=UTC)
LEGO = "xenolf-acme/4.9.1 (release; linux; amd64)"


@pytest.fixture
def failed_signatures(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses whose wrong signatures were counted."""
    found: list[str] = []

    async def failed_signature(address: str) -> None:
        found.append(address)

    monkeypatch.setattr(lab.hub.client_limits, "failed_signature", failed_signature)
    return found


async def test_a_wrong_signature_of_a_key_that_nobody_knows_is_refused_and_counted(
    lab: Lab, failed_signatures: list[str]
) -> None:
    stranger = await lab.stranger()
    other = AccountKey.generate()
    reply = await stranger.post(stranger.directory["newAccount"], {}, status=400, jwk=other.jwk)
    assert reply.problem == "malformed"
    assert failed_signatures == ["127.0.0.1"]
    await stranger.post(stranger.directory["newAccount"], {"onlyReturnExisting": True}, status=400)
    assert len(failed_signatures) == 1


async def test_a_wrong_signature_of_an_account_is_refused_and_counted(
    client: AcmeClient, failed_signatures: list[str]
) -> None:
    client.key = AccountKey.generate()
    await client.post(client.kid, status=400)
    assert failed_signatures == ["127.0.0.1"]


async def test_a_nonce_that_another_request_takes_meanwhile_is_taken_once(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, external = await lab.token()
    stranger = await lab.stranger()
    nonce = await stranger.nonce()
    await stranger.register(external, status=201)
    taken = stranger.kid
    await stranger.post(taken, nonce=nonce)  # now it is used up

    async def good(_nonce: str) -> bool:
        return True

    other, fields = await lab.stranger(), {"nonce": nonce}
    monkeypatch.setattr("acmehub.acme.server.nonces.Nonces.is_good", lambda _self, _nonce: good(_nonce))
    url = other.directory["newAccount"]
    binding = {"externalAccountBinding": external.binding(other.key, url)}
    reply = await other.post(url, binding, status=400, **fields)
    assert reply.problem == "badNonce"
    assert len(await lab.hub.store.accounts.list()) == 1


@pytest.mark.parametrize("good", [True, False])
async def test_an_account_that_is_not_active_is_told_so_for_a_good_nonce_only(
    lab: Lab, client: AcmeClient, *, good: bool
) -> None:
    used = await client.nonce()
    await client.post(client.kid, nonce=used)
    await client.post(client.kid, {"status": "deactivated"}, status=200)
    reply = await client.post(client.kid, **({} if good else {"nonce": used}), status=401 if good else 400)
    assert reply.problem == ("unauthorized" if good else "badNonce")


async def test_a_token_whose_principal_is_gone_binds_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(_id: str) -> None:
        return None

    _, external = await lab.token()
    stranger = await lab.stranger()
    monkeypatch.setattr(lab.hub.store.principals, "get", gone)
    assert (await stranger.register(external, status=403)).problem == "unauthorized"
    assert not await lab.hub.store.accounts.list()


def test_a_lifetime_beyond_the_calendar_is_malformed() -> None:
    class Grants:
        longest_days = 90.0

    profile = Profile(name="short", description="", lifetime_days=6, created=datetime.now(UTC))
    late = datetime.max.replace(tzinfo=UTC) - timedelta(days=5)
    with pytest.raises(Problem, match="'notBefore' is later than any certificate can begin"):
        last_moment(profile, Grants(), late, None, datetime.now(UTC))  # type: ignore[arg-type]
    early = late - timedelta(days=2)
    assert last_moment(profile, Grants(), early, None, datetime.now(UTC)) == (  # type: ignore[arg-type]
        early + timedelta(days=6)
    ).replace(microsecond=0)


async def test_an_order_in_mode_accept_that_is_joined_after_the_upstream_has_validated_is_ready(lab: Lab) -> None:
    client = await lab.client(LEGO, authorization=AuthorizationMode.AUTO)
    first = await client.new_order(["a.corp.test"])
    assert first.json["status"] == "pending"

    def validated(bundle: OrderBundle) -> Change:
        valid = tuple(replace(item, upstream_status="valid") for item in bundle.authorizations)
        return Change(order=replace(bundle.order, stage=Stage.AUTHORIZED, run_at=None), authorizations=valid)

    await lab.hub.store.orders.apply((await lab.stored(first.location)).order.id, validated)
    joined = await client.new_order(["a.corp.test"])
    assert (joined.location, joined.json["status"]) == (first.location, "ready")


def test_the_urls_of_a_secret_directory() -> None:
    urls = Urls(BASE)
    assert urls.secret_directory("key") == f"{BASE}/acme/key/directory"
    assert urls.secret_new_account("key") == f"{BASE}/acme/key/new-account"


def test_every_character_beyond_ascii_is_escaped() -> None:
    assert _escaped('"\x7f\x80é\U0001f600"'.encode()) == b'"\x7f\\u0080\\u00e9\\ud83d\\ude00"'


def test_without_trusted_proxies_no_address_is_one() -> None:
    assert "192.0.2.1" not in TrustedProxies()
    assert "" not in TrustedProxies(["192.0.2.0/24"])
    assert "192.0.2.1" in TrustedProxies(["192.0.2.0/24"])


@pytest.mark.parametrize(
    ("change", "claimed"),
    [({}, True), ({"fence": 1}, False), ({"lease_owner": "other"}, False), ({"lease_until": NOW}, False)],
)
def test_a_lease_is_taken_by_the_write_that_moved_the_fence(change: dict[str, Any], *, claimed: bool) -> None:
    """A second finalize with the same CSR writes nothing, and finds the order as the first one has left it."""
    lease = Lease("main", NOW + timedelta(seconds=30))
    before = Order(
        account_id="a",
        token_id="t",
        principal_id="p",
        authority_id="ca",
        identifiers=(),
        name_set="",
        mode=AuthorizationMode.PREAPPROVED,
        stage=Stage.FINALIZING,
        status=OrderStatus.PROCESSING,
        expires=NOW,
        deadline=NOW,
        created=NOW,
        fence=1,
        lease_owner="main",
        lease_until=lease.until,
    )
    assert _claimed(before, replace(before, **{"fence": 2, **change}), lease) is claimed


async def test_a_weak_account_key_is_refused_before_its_binding_is_looked_at(lab: Lab) -> None:
    stranger = await lab.stranger()
    stranger.key = AccountKey(close_primes_key())
    reply = await stranger.register(status=400)
    assert reply.problem == "badPublicKey"


async def test_a_payload_that_is_nested_too_deep_is_malformed(lab: Lab) -> None:
    client = await lab.client()
    url = client.directory["newOrder"]
    reply = await client.send(url, await client.sign(url, b'{"identifiers":' + b"[" * 20_000))
    assert (reply.status, reply.problem) == (400, "malformed")


@pytest.mark.parametrize(("status", "length"), [(200, [b"2"]), (204, []), (205, [b"2"])])
async def test_a_response_without_content_has_no_length(status: int, length: list[bytes]) -> None:
    """RFC 9110 section 8.6."""
    sent = list[Any]()

    async def send(message: Any) -> None:
        sent.append(message)

    await _send(send, AcmeResponse(status=status, body=b"{}"), [], bodiless=False)
    assert [value for name, value in sent[0]["headers"] if name == b"content-length"] == length

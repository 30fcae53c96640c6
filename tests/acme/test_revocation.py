"""revokeCert (RFC 8555 section 7.6; docs/reliability.md section 6)."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec.structs import replace

from acmehub import hookimpl
from acmehub.acme.orders import revocation as client_revocation
from acmehub.models import AuthorizationMode, Certificate, OrderStatus, Stage
from acmehub.models.problems import URN, ProblemDocument
from acmehub.ports.authority import (
    UpstreamAccount,
    UpstreamAccountLost,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamUnavailable,
)
from acmehub.ports.clock import SystemClock
from acmehub.ports.plugins import Register
from acmehub.ports.store import Missing
from acmehub.rules import orders
from acmehub.rules.chains import serial_text
from acmehub.rules.orders import Change, OrderBundle
from acmehub.runtime import revocation
from acmehub.testing.acme_client import AcmeClient
from acmehub.testing.acme_keys import AccountKey, PrivateKey, b64, make_csr
from acmehub.testing.fake_relay import FakeRelay
from tests.acme.lab import Lab, Nothing


class Issued(msgspec.Struct, frozen=True):
    """A certificate that a client has got: its row's id, the leaf (DER), its private key."""

    id: str
    leaf: bytes
    key: PrivateKey


class World:
    """A hub whose authority is a fake relay, with the worker's hand."""

    def __init__(self, lab: Lab, relay: FakeRelay) -> None:
        self.lab = lab
        self.relay = relay

    async def issue(self, client: AcmeClient, names: Sequence[str], key: PrivateKey | None = None) -> Issued:
        placed = await client.new_order(names)
        csr, private = make_csr(names, key=key)
        for url in placed.json["authorizations"]:
            authorization = await client.authorization(url)
            if authorization.json["status"] == "pending":
                await client.respond(authorization.json["challenges"][0]["url"])
        await self.lab.upstream_validates(placed.location)
        await client.finalize(placed.json, csr)
        now = self.lab.now
        chain = self.relay.ca.chains(csr, names, now)[0]
        leaf = x509.load_pem_x509_certificates(chain.encode())[0]

        def rule(bundle: OrderBundle) -> Change:
            order = replace(bundle.order, stage=Stage.DOWNLOADING)
            certificate = Certificate(
                order_id=order.id,
                account_id=order.account_id,
                authority_id=order.authority_id,
                names=tuple(names),
                serial=serial_text(leaf.serial_number),
                issuer="CN=test",
                spki_sha256="00",
                not_before=now,
                not_after=now + timedelta(days=90),
                chain=chain,
                created=now,
            )
            return orders.issued(order, certificate, now)

        done = await self.lab.hub.store.orders.apply((await self.lab.stored(placed.location)).order.id, rule)
        assert done.order.certificate_id is not None
        return Issued(done.order.certificate_id, leaf.public_bytes(Encoding.DER), private)

    async def stored(self, issued: Issued) -> Certificate:
        found = await self.lab.hub.store.certificates.get(issued.id)
        assert found is not None
        return found


class RelayPlugin:
    """Offers `ca_fake`: one fake relay, whatever the settings."""

    def __init__(self, relay: FakeRelay) -> None:
        self._relay = relay

    @hookimpl
    def register_authorities(self, register: Register) -> None:
        register("ca_fake", lambda settings, context: self._relay, Nothing)


@pytest.fixture
async def world(lab: Lab) -> World:
    relay = FakeRelay(SystemClock())
    lab.hub.registry.add("ca_fake", RelayPlugin(relay))
    await lab.no_authority()
    await lab.authority("ca_fake")
    return World(lab, relay)


@pytest.fixture
async def client(world: World) -> AcmeClient:
    return await world.lab.client()


NAMES = ("a.corp.test", "b.corp.test")


# ------------------------------------------------------------------------------------------------------- who may


async def test_the_account_that_ordered_a_certificate_revokes_it(world: World, client: AcmeClient) -> None:
    issued = await world.issue(client, NAMES)
    await client.revoke(issued.leaf, 4, status=200)
    assert world.relay.revoked == [(issued.leaf, 4)]
    stored = await world.stored(issued)
    assert stored.revoked is not None
    assert stored.revocation_reason == 4


async def test_without_a_reason_none_is_passed_on(world: World, client: AcmeClient) -> None:
    issued = await world.issue(client, NAMES)
    await client.revoke(issued.leaf, status=200)
    assert world.relay.revoked == [(issued.leaf, None)]
    assert (await world.stored(issued)).revocation_reason is None


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)])
async def test_the_certificates_own_key_revokes_it_without_an_account(
    world: World, client: AcmeClient, key: PrivateKey
) -> None:
    issued = await world.issue(client, NAMES, key)
    stranger = await world.lab.stranger()
    await stranger.revoke(issued.leaf, 1, key=AccountKey(issued.key), status=200)
    assert (await world.stored(issued)).revocation_reason == 1


async def test_another_key_and_the_accounts_own_as_jwk_are_refused(world: World, client: AcmeClient) -> None:
    issued = await world.issue(client, NAMES)
    for key in (AccountKey.generate(), AccountKey.generate("Ed25519"), client.key):
        refused = await client.revoke(issued.leaf, key=key, status=403)
        assert refused.problem == "unauthorized"
    assert world.relay.revoked == []


async def test_an_account_that_holds_valid_authorizations_for_all_names_revokes(
    world: World, client: AcmeClient
) -> None:
    issued = await world.issue(client, NAMES)
    other = await world.lab.client()
    assert (await other.revoke(issued.leaf, status=403)).problem == "unauthorized"
    await other.new_order(NAMES[:1])
    assert (await other.revoke(issued.leaf, status=403)).problem == "unauthorized"
    await other.new_authz(NAMES[1].upper())
    await other.revoke(issued.leaf, status=200)


async def test_pending_deactivated_and_expired_authorizations_do_not_count(world: World, client: AcmeClient) -> None:
    issued = await world.issue(client, NAMES[:1])
    pending = await world.lab.client(authorization=AuthorizationMode.ACCEPT)
    assert (await pending.new_order(NAMES[:1])).json["status"] == "pending"
    await pending.revoke(issued.leaf, status=403)
    given_up = await world.lab.client()
    placed = await given_up.new_order(NAMES[:1])
    await given_up.post(placed.json["authorizations"][0], {"status": "deactivated"})
    await given_up.revoke(issued.leaf, status=403)
    late = await world.lab.client()
    placed = await late.new_order(NAMES[:1])

    def lapse(bundle: OrderBundle) -> Change:
        past = world.lab.now - timedelta(seconds=1)
        return Change(
            order=bundle.order, authorizations=tuple(replace(item, expires=past) for item in bundle.authorizations)
        )

    await world.lab.hub.store.orders.apply((await world.lab.stored(placed.location)).order.id, lapse)
    await late.revoke(issued.leaf, status=403)
    assert world.relay.revoked == []


async def test_a_wildcard_is_revoked_by_who_is_authorized_for_the_wildcard(world: World, client: AcmeClient) -> None:
    issued = await world.issue(client, ["*.corp.test"])
    other = await world.lab.client()
    await other.new_order(["corp.test"])
    await other.revoke(issued.leaf, status=403)
    await other.new_order(["*.corp.test"])
    await other.revoke(issued.leaf, status=200)


async def test_a_wildcards_authorization_does_not_stand_for_the_name_itself(world: World, client: AcmeClient) -> None:
    issued = await world.issue(client, ["corp.test"])
    other = await world.lab.client()
    await other.new_order(["*.corp.test"])
    await other.revoke(issued.leaf, status=403)


async def test_a_deactivated_account_revokes_nothing(world: World, client: AcmeClient) -> None:
    issued = await world.issue(client, NAMES)
    await client.post(client.kid, {"status": "deactivated"})
    assert (await client.revoke(issued.leaf, status=401)).problem == "unauthorized"
    assert world.relay.revoked == []
    assert (await world.stored(issued)).revoked is None


async def test_the_account_revokes_with_its_new_key_after_a_change(world: World, client: AcmeClient) -> None:
    issued = await world.issue(client, NAMES)
    await client.key_change(AccountKey.generate("Ed25519"))
    await client.revoke(issued.leaf, status=200)


# ------------------------------------------------------------------------------------------------ what is asked


async def test_the_second_revocation_is_already_revoked(world: World, client: AcmeClient) -> None:
    issued = await world.issue(client, NAMES)
    await client.revoke(issued.leaf, status=200)
    for key in (None, AccountKey(issued.key)):
        assert (await client.revoke(issued.leaf, 1, key=key, status=400)).problem == "alreadyRevoked"
    assert len(world.relay.revoked) == 1


@pytest.mark.parametrize("reason", [-1, 2, 6, 7, 8, 11, 99])
async def test_a_reason_that_is_not_for_clients_is_refused_and_the_allowed_ones_are_named(
    world: World, client: AcmeClient, reason: int
) -> None:
    issued = await world.issue(client, NAMES)
    refused = await client.revoke(issued.leaf, reason, status=400)
    assert refused.problem == "badRevocationReason"
    assert "0, 1, 3, 4, 5, 9, 10" in refused.json["detail"]
    assert world.relay.revoked == []


@pytest.mark.parametrize("reason", [0, 1, 3, 4, 5, 9, 10])
async def test_each_reason_of_a_client_is_passed_on(world: World, client: AcmeClient, reason: int) -> None:
    issued = await world.issue(client, NAMES)
    await client.revoke(issued.leaf, reason, status=200)
    assert world.relay.revoked == [(issued.leaf, reason)]


@pytest.mark.parametrize("reason", ["1", 1.5, [], {}, True])
async def test_a_reason_that_is_no_number_is_malformed(client: AcmeClient, reason: object) -> None:
    payload = {"certificate": "AAAA", "reason": reason}
    assert (await client.post(client.directory["revokeCert"], payload, status=400)).problem == "malformed"


async def test_a_certificate_that_was_not_issued_here_is_404(world: World, client: AcmeClient) -> None:
    csr, key = make_csr(NAMES)
    foreign = world.relay.ca.chains(csr, NAMES, world.lab.now)[0]
    leaf = x509.load_pem_x509_certificates(foreign.encode())[0].public_bytes(Encoding.DER)
    for signer in (None, AccountKey(key)):
        refused = await client.revoke(leaf, key=signer, status=404)
        assert refused.problem == "malformed"
    assert world.relay.revoked == []


async def test_other_bytes_with_a_known_serial_number_are_not_the_certificate(world: World, client: AcmeClient) -> None:
    issued = await world.issue(client, NAMES)
    changed = issued.leaf[:-1] + bytes((issued.leaf[-1] ^ 1,))
    assert x509.load_der_x509_certificate(changed).serial_number
    assert (await client.revoke(changed, status=404)).problem == "malformed"
    assert (await client.revoke(issued.leaf + b"\0", status=400)).problem == "malformed"


@pytest.mark.parametrize("certificate", ["", "AA==", "!", "AAAA", b64(b"\x30\x03\x02\x01\x01"), "A" * 30_000, "\u00e9"])
async def test_what_is_no_certificate_is_malformed(client: AcmeClient, certificate: str) -> None:
    payload = {"certificate": certificate}
    assert (await client.post(client.directory["revokeCert"], payload, status=400)).problem == "malformed"


@pytest.mark.parametrize("payload", [None, {}, [], {"certificate": None}, {"certificate": 7}])
async def test_a_payload_without_a_certificate_is_malformed(client: AcmeClient, payload: object) -> None:
    assert (await client.post(client.directory["revokeCert"], payload, status=400)).problem == "malformed"


async def test_a_request_with_jwk_and_kid_or_neither_is_malformed(world: World, client: AcmeClient) -> None:
    issued = await world.issue(client, NAMES)
    payload = {"certificate": b64(issued.leaf)}
    for header in ({"jwk": client.key.jwk}, {"kid": None}):
        reply = await client.post(client.directory["revokeCert"], payload, status=400, **header)
        assert reply.problem == "malformed"


# --------------------------------------------------------------------------------------------------- the authority


@pytest.mark.parametrize(
    ("error", "status", "problem", "retry_after"),
    [
        (UpstreamRateLimited("too many", retry_after=90.0), 429, "rateLimited", 90),
        (UpstreamUnavailable("POST https://ca.test: no answer in time"), 503, "serverInternal", 30),
        (UpstreamUnavailable("busy (HTTP 503)", retry_after=7.4), 503, "serverInternal", 7),
        (UpstreamAccountLost("no such account"), 503, "serverInternal", 30),
        (UpstreamRefused(ProblemDocument(f"{URN}badRevocationReason", "not 10")), 400, "badRevocationReason", None),
        (UpstreamRefused(ProblemDocument(f"{URN}unauthorized", "not yours")), 403, "unauthorized", None),
        (UpstreamRefused(ProblemDocument("about:blank", "no")), 403, "unauthorized", None),
        (UpstreamRefused(ProblemDocument(f"{URN}userActionRequired", "agree")), 403, "userActionRequired", None),
    ],
)
async def test_a_failure_upstream_is_told_and_the_next_try_works(
    world: World, client: AcmeClient, error: UpstreamError, status: int, problem: str, retry_after: int | None
) -> None:
    issued = await world.issue(client, NAMES)
    world.relay.fail("revoke", error)
    refused = await client.revoke(issued.leaf, 10, status=status)
    assert (refused.problem, refused.retry_after) == (problem, retry_after)
    assert error.detail in refused.json["detail"]
    assert (await world.stored(issued)).revoked is None
    (entry,) = await world.lab.hub.store.records.audited(1)
    assert (entry.action, entry.allowed, entry.detail) == ("certificate.revoke", False, error.detail)
    assert client.kid.rpartition("/")[2] in entry.actor
    await client.revoke(issued.leaf, 10, status=200)
    assert (await world.stored(issued)).revoked is not None


async def test_an_answer_that_was_lost_is_made_up_for_by_the_next_try(world: World, client: AcmeClient) -> None:
    issued = await world.issue(client, NAMES)
    world.relay.fail("revoke", UpstreamUnavailable("cut"), when="after")
    await client.revoke(issued.leaf, status=503)
    world.relay.fail("revoke", UpstreamRefused(ProblemDocument(f"{URN}alreadyRevoked", "was revoked")))
    await client.revoke(issued.leaf, status=200)
    assert (await world.stored(issued)).revoked is not None
    assert (await client.revoke(issued.leaf, status=400)).problem == "alreadyRevoked"


async def test_a_lost_upstream_account_is_registered_anew_for_the_next_try(world: World, client: AcmeClient) -> None:
    issued = await world.issue(client, NAMES)
    world.relay.fail("revoke", UpstreamAccountLost("no such account"))
    await client.revoke(issued.leaf, status=503)
    await client.revoke(issued.leaf, status=200)
    assert world.relay.calls.count("register") == 2


async def test_an_authority_that_cannot_be_used_is_a_503(
    world: World, client: AcmeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = await world.issue(client, NAMES)

    async def gone(_authority_id: str) -> None:
        raise Missing("there is no authority")

    monkeypatch.setattr(world.lab.hub.plugin_objects, "authority", gone)
    refused = await client.revoke(issued.leaf, status=503)
    assert (refused.problem, refused.retry_after) == ("serverInternal", 30)


class Slow:
    """Makes `revoke` of a relay wait."""

    def __init__(self, relay: FakeRelay, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = asyncio.Event()
        self.begun = asyncio.Event()
        real = relay.revoke

        async def revoke(account: UpstreamAccount, leaf: bytes, reason: int | None) -> None:
            self.begun.set()
            await self.go.wait()
            await real(account, leaf, reason)

        monkeypatch.setattr(relay, "revoke", revoke)


async def test_a_slow_authority_is_not_asked_twice_and_goes_on_when_the_client_has_its_answer(
    world: World, client: AcmeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = await world.issue(client, NAMES)
    slow = Slow(world.relay, monkeypatch)
    monkeypatch.setattr(client_revocation, "CLIENT_SECONDS", 0.05)
    refused = await client.revoke(issued.leaf, 1, status=503)
    assert refused.retry_after == 30
    assert "goes on" in refused.json["detail"]
    monkeypatch.setattr(client_revocation, "CLIENT_SECONDS", 10.0)
    again = asyncio.create_task(client.revoke(issued.leaf, 4, status=200))
    await asyncio.sleep(0.05)
    slow.go.set()
    await again
    assert world.relay.revoked == [(issued.leaf, 1)]
    assert (await world.stored(issued)).revocation_reason == 1


async def test_what_is_under_way_is_noted_before_the_hub_stops(
    world: World, client: AcmeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = await world.issue(client, NAMES)
    slow = Slow(world.relay, monkeypatch)
    monkeypatch.setattr(client_revocation, "CLIENT_SECONDS", 0.01)
    await client.revoke(issued.leaf, status=503)
    slow.go.set()
    await world.lab.hub.revocation.close()
    assert (await world.stored(issued)).revoked is not None


async def test_an_authority_that_never_answers_is_given_up(
    world: World, client: AcmeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = await world.issue(client, NAMES)
    Slow(world.relay, monkeypatch)
    monkeypatch.setattr(revocation, "EXCHANGE_SECONDS", 0.02)
    refused = await client.revoke(issued.leaf, status=503)
    assert "no answer" in refused.json["detail"]
    assert (await world.stored(issued)).revoked is None
    (entry,) = await world.lab.hub.store.records.audited(1)
    assert (entry.action, entry.allowed, entry.detail) == ("certificate.revoke", False, "the authority did not answer")


async def test_a_certificate_that_changes_meanwhile_keeps_the_change(
    world: World, client: AcmeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = await world.issue(client, NAMES)
    slow = Slow(world.relay, monkeypatch)
    revoking = asyncio.create_task(client.revoke(issued.leaf, 5, status=200))
    await slow.begun.wait()
    await world.lab.hub.store.certificates.replace(replace(await world.stored(issued), cert_id="a.b"))
    slow.go.set()
    await revoking
    stored = await world.stored(issued)
    assert (stored.cert_id, stored.revocation_reason) == ("a.b", 5)


# ---------------------------------------------------------------------------------------------------- what remains


async def test_a_revocation_stands_in_the_audit_and_in_the_orders_timeline(world: World, client: AcmeClient) -> None:
    issued = await world.issue(client, NAMES)
    other = await world.lab.client()
    await other.revoke(issued.leaf, status=403)
    await client.revoke(issued.leaf, 3)
    done, refused = await world.lab.hub.store.records.audited(2)
    assert (done.action, done.allowed, done.detail) == ("certificate.revoke", True, "reason 3")
    assert (refused.action, refused.allowed) == ("certificate.revoke", False)
    assert other.kid.rpartition("/")[2] in refused.actor
    timeline = await world.lab.hub.store.records.timeline((await world.stored(issued)).order_id)
    assert timeline[-1].kind == "certificate revoked"


async def test_a_revoked_certificate_can_still_be_downloaded_and_its_order_stays_valid(
    world: World, client: AcmeClient
) -> None:
    issued = await world.issue(client, NAMES)
    await client.revoke(issued.leaf)
    [order] = [item for item in await world.lab.hub.store.orders.list() if item.status is OrderStatus.VALID]
    assert order.certificate_id == issued.id
    reply = await client.order((await client.post(client.kid + "/orders")).json["orders"][0])
    assert "BEGIN CERTIFICATE" in await client.certificate(reply.json["certificate"])


async def test_a_certificate_of_a_signing_authority_is_revoked_here(lab: Lab) -> None:
    await lab.no_authority()
    await lab.authority("ca_local")
    client = await lab.client()
    placed = await client.new_order(["a.corp.test"])
    csr, _ = make_csr(["a.corp.test"])
    await client.finalize(placed.json, csr)
    await lab.hub.worker.work_off()
    done = await client.order(placed.location)
    chain = await client.certificate(done.json["certificate"])
    leaf = x509.load_pem_x509_certificates(chain.encode())[0].public_bytes(Encoding.DER)
    await client.revoke(leaf, 1, status=200)
    assert (await client.revoke(leaf, 1, status=400)).problem == "alreadyRevoked"

"""Makes the database of this folder. A record: it runs with the code of commit d1d92fe and with no other.

    .venv/bin/python tests/data/2026-11-27-before-the-rebuild/make.py

Real clients' requests go through the real HTTP application; the fulfilment's own steps take every order to its stage;
dns_rfc2136 writes to a real DNS server on 127.0.0.1:53535. Only the CA is in memory (`FakeRelay`, in place of ca_acme).
"""
# mypy: ignore-errors

import ast
import asyncio
import base64
import contextlib
import functools
import itertools
import json
import shutil
import sqlite3
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import msgspec
from acmehub.fulfilment.job import Job
from acmehub.fulfilment.steps import take_step
from acmehub.fulfilment.trouble import EXPECTED, settle
from acmehub.http import create_app
from acmehub.hub import build_hub
from acmehub.orders import Change, expired
from acmehub.problems import ProblemDocument
from acmehub.relay.keys import new_account_key
from acmehub.relay.settings import RelaySettings
from acmehub.services.authorities import NewAuthority
from acmehub.services.campaigns import NewCampaign
from acmehub.services.managed_challenges import NewManagedChallenge
from acmehub.services.principals import NewPrincipal, PrincipalPatch
from acmehub.services.profiles import NewProfile
from acmehub.services.rights import Acting
from acmehub.services.tokens import NewToken, TokenPatch
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec.structs import replace

from acmehub.config import Acme, Config, Dns, TlsMode, Verify, Worker
from acmehub.models import (
    AuditEntry,
    AuthorizationMode,
    Event,
    OrderStatus,
    PrincipalType,
    Propagation,
    PropagationMode,
    Role,
    RoleAssignment,
    Stage,
    TxtState,
)
from acmehub.ports.authority import UpstreamRateLimited, UpstreamRefused, UpstreamRenewalInfo, UpstreamUnavailable
from acmehub.ports.plugins import Registration
from acmehub.ports.store import Fenced
from acmehub.testing.acme_client import AcmeClient
from acmehub.testing.acme_keys import AccountKey, ExternalAccount, make_csr
from acmehub.testing.dns_server import DnsServer, tsig_key
from acmehub.testing.fakes import FakeRelay

HERE = Path(__file__).parent
CORE = HERE.parents[2] / "core" / "acmehub"
BASE = "https://hub.test"
DNS_PORT = 53535
TSIG_SECRET = base64.b64encode(b"TSIG key of a test, 32 bytes long").decode()
FAR_DAYS = 23_400  # orders that are open end in December 2090
ME = Acting.machine("cli:root")
ARI_OF_NOBODY = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
RFC2136 = {"server": "127.0.0.1", "port": DNS_PORT, "key_name": "hub.", "key_secret": TSIG_SECRET, "timeout": 1.0}


class TickingClock:
    """Two milliseconds pass with every look at it, and more when told to."""

    def __init__(self) -> None:
        self._wall = datetime.now(UTC) - timedelta(hours=12)
        self._elapsed = 1000.0

    def now(self) -> datetime:
        self.advance(0.002)
        return self._wall

    def monotonic(self) -> float:
        self.advance(0.002)
        return self._elapsed

    def advance(self, seconds: float) -> None:
        self._wall += timedelta(seconds=seconds)
        self._elapsed += seconds


def pem(private) -> str:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def numbered(prefix: str, counter=itertools.count(1)) -> str:
    return f"{next(counter):02d}.{prefix}.corp.test"


class Maker:
    def __init__(self, hub, clock, relay, dns, http) -> None:
        self.hub = hub
        self.store = hub.store
        self.clock = clock
        self.relay = relay
        self.dns = dns
        self.http = http
        self.accounts: dict[str, dict] = {}
        self.index: dict[str, dict] = {}
        self.engine = hub.fulfilment._engine

    # ------------------------------------------------------------------------------------------- the operator

    async def found(self) -> None:
        hub = self.hub
        consumer = (RoleAssignment(Role.MANAGED_ACME_CONSUMER),)
        for new in (
            NewPrincipal(
                name="anna",
                type=PrincipalType.USER,
                roles=(RoleAssignment(Role.OPERATOR), RoleAssignment(Role.AUDITOR)),
            ),
            NewPrincipal(
                name="devices",
                roles=(*consumer, RoleAssignment(Role.MANAGED_CHALLENGE_CONSUMER, ("production", "staging"))),
            ),
            NewPrincipal(name="verifiers", roles=(RoleAssignment(Role.MANAGED_ACME_CONSUMER, ("production",)),)),
            NewPrincipal(name="retired", roles=consumer),
        ):
            await hub.principals.add(new, ME)
        await hub.authorities.add(
            NewAuthority(
                name="relay",
                plugin="ca_acme",
                settings={"directory": "https://ca.test/directory", "email": "ops@corp.test"},
                tags=("lab",),
            ),
            ME,
        )
        await hub.managed_challenges.add(
            NewManagedChallenge(
                name="corp zone",
                plugin="dns_rfc2136",
                match="corp.test, *.corp.test",
                settings=RFC2136,
                tags=("production",),
                cname_zones=("acme.corp.test",),
            ),
            ME,
        )
        await hub.managed_challenges.add(
            NewManagedChallenge(
                name="old zone",
                plugin="dns_cloudflare",
                match="*.old.test",
                settings={"api_token": "token-of-a-test-0123456789"},
                propagation=Propagation(PropagationMode.RESOLVERS, limit=7.5, servers=("127.0.0.1:5353",)),
                enabled=False,
            ),
            ME,
        )
        for new in (
            NewProfile(name="relayed", description="from the CA that is relayed", authority="relay"),
            NewProfile(
                name="classic", description="the CA's profile classic", authority="relay", upstream_profile="classic"
            ),
            NewProfile(
                name="week",
                description="seven days, elliptic curves only",
                authority="local",
                key_types=("P-256", "P-384"),
                lifetime_days=7,
            ),
            NewProfile(name="any", description="whatever the policy chooses", enabled=False),
        ):
            await hub.profiles.add(new, ME)
        await self.client(
            "accept",
            "P-256",
            NewToken(
                title="accept",
                principal="devices",
                names="corp.test, *.corp.test, 10.0.0.0/8",
                authorization=AuthorizationMode.ACCEPT,
                networks=("127.0.0.0/8", "2001:db8::/32"),
                use_limit=5,
                expires=datetime(2090, 1, 1, tzinfo=UTC),
            ),
        )
        await self.client(
            "preapproved",
            "P-384",
            NewToken(title="preapproved", principal="devices", authorization=AuthorizationMode.PREAPPROVED),
        )
        await self.client(
            "verify",
            "Ed25519",
            NewToken(title="verify", principal="verifiers", authorization=AuthorizationMode.VERIFY),
        )
        await self.client(
            "auto",
            "RSA",
            NewToken(title="auto", principal="devices", use_limit=1, secret_directory=True),
            user_agent="xenolf-acme/4.20.4 (release; linux; amd64)",
            contact=["mailto:ops@corp.test"],
        )
        await self.client("deactivated", "P-256", NewToken(title="for a dead account", principal="devices"))
        await self.client("retired", "P-256", NewToken(title="retired", principal="retired"))
        await self.client("revoked", "P-256", NewToken(title="revoked", principal="devices"))
        await hub.tokens.revoke("revoked", ME)
        await hub.tokens.add(
            NewToken(title="expired", principal="devices", expires=datetime(2026, 11, 1, tzinfo=UTC)), ME
        )
        await hub.tokens.add(NewToken(title="disabled", principal="devices", enabled=False), ME)
        await hub.tokens.set("disabled", TokenPatch(names="*.corp.test"), ME)
        retired = (await self.store.principals.named("retired"))[0]
        await self.store.principals.replace(replace(retired, enabled=False))
        await hub.operations.deactivate_account(self.accounts["deactivated"]["id"], "cli:root")

    async def client(self, name: str, kind: str, new: NewToken, user_agent: str = "strict-client/1", **members) -> None:
        await self.hub.tokens.add(new, ME)
        eab = await self.hub.tokens.eab(new.title, ME)
        text = eab.hmac_key.reveal()
        hmac = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        key = AccountKey.generate(kind)
        client = await AcmeClient.discover(self.http, f"{BASE}/acme/directory", key=key, user_agent=user_agent)
        await client.register(ExternalAccount(eab.kid, hmac), status=201, **members)
        file = f"account-{name}.pem"
        (HERE / file).write_text(pem(key.private))
        self.accounts[name] = {
            "id": client.kid.rpartition("/")[2],
            "url": client.kid,
            "key_file": file,
            "key_type": kind,
            "token": new.title,
            "eab_kid": eab.kid,
            "eab_hmac_key": text,
            "directory_key": eab.directory_key.reveal() if eab.directory_key else None,
            "user_agent": user_agent,
        }
        setattr(self, name, client)

    # ---------------------------------------------------------------------------------------------- the client

    def by(self, client: AcmeClient) -> str:
        return next(name for name in self.accounts if getattr(self, name) is client)

    def note(self, order_id: str, client: AcmeClient, names, what: str) -> None:
        self.index[order_id] = {"id": order_id, "account": self.by(client), "names": list(names), "what": what}

    async def open(self, client: AcmeClient, *names: str, what: str = "", profile: str = "relayed", **members):
        """newOrder; (order id, the answer)."""
        if profile:
            members["profile"] = profile
        reply = await client.new_order(names, **members)
        order_id = reply.location.rpartition("/")[2]
        if order_id not in self.index:
            self.note(order_id, client, names, what)
        return order_id, reply

    async def answer(self, client: AcmeClient, reply, kind: str = "dns-01", only: int | None = None) -> None:
        for position, url in enumerate(reply.json["authorizations"]):
            if only in (None, position):
                found = await client.authorization(url)
                await client.respond(next(item["url"] for item in found.json["challenges"] if item["type"] == kind))

    async def finalize(self, client: AcmeClient, reply, csr_and_key=None):
        names = [item["value"] for item in reply.json["identifiers"]]
        csr, key = csr_and_key or make_csr(names)
        await client.finalize(reply.json, csr)
        self.index[reply.location.rpartition("/")[2]]["certificate_key"] = pem(key)
        return csr, key

    # ---------------------------------------------------------------------------------------------- the worker

    async def bundle(self, order_id: str):
        return await self.store.orders.get(order_id)

    async def order(self, order_id: str):
        return (await self.bundle(order_id)).order

    async def advance(self, order_id: str, until: Stage | None = None, steps: int | None = None) -> None:
        """The worker's own steps, until the order is at this stage or that many were taken; then its lease is free."""
        for count in itertools.count():
            order = await self.order(order_id)
            if order.stage is until or count == steps or order.run_at is None:
                break
            assert count < 60, (order.stage, await self.store.records.timeline(order_id))
            self.clock.advance(max(0.0, (order.run_at - self.clock.now()).total_seconds()) + 0.01)
            lease = self.hub.fulfilment.lease()

            def claim(current, lease=lease):
                order = current.order
                return Change(
                    order=replace(order, lease_owner=lease.owner, lease_until=lease.until, fence=order.fence + 1)
                )

            job = Job(self.engine, await self.store.orders.apply(order_id, claim))
            self.clock.advance(0.05)
            try:
                await take_step(job)
            except EXPECTED as error:
                await settle(job, error)

            def give_back(current):
                return Change(order=replace(current.order, lease_owner=None, lease_until=None))

            with contextlib.suppress(Fenced):
                await self.store.orders.apply(order_id, give_back, fence=job.fence)
        order = await self.order(order_id)
        if until is not None:
            assert order.stage is until, (order.stage, await self.store.records.timeline(order_id))
        assert order.lease_owner is None

    async def janitor(self) -> None:
        self.clock.advance(200)
        await self.hub.fulfilment.janitor.work_off()

    # ------------------------------------------------------------------------------------------ what is over

    async def issued_locally(self) -> None:
        accept, preapproved = self.accept, self.preapproved
        for client, names, profile in (
            (accept, (numbered("local-valid"),), ""),
            (preapproved, (numbered("local-valid"), "*.local-valid.corp.test"), ""),
            (preapproved, (numbered("local-valid-week"),), "week"),
            (accept, (numbered("local-revoked-by-account"),), ""),
            (accept, (numbered("local-revoked-by-operator"),), ""),
            (preapproved, (numbered("local-replaced"),), ""),
        ):
            order_id, reply = await self.open(client, *names, profile=profile, what="valid at ca_local")
            await self.answer(client, reply)
            await self.finalize(client, reply)
            await self.advance(order_id, Stage.DONE)
            shown = await client.order(reply.location)
            chain = await client.certificate(shown.json["certificate"])
            if "by-account" in names[0]:
                der = x509.load_pem_x509_certificates(chain.encode())[0].public_bytes(Encoding.DER)
                await client.revoke(der, 4)
            if "by-operator" in names[0]:
                await self.hub.operations.revoke((await self.order(order_id)).certificate_id, "", "cli:root")
            if "replaced" in names[0]:
                certificate = await self.store.certificates.get((await self.order(order_id)).certificate_id)
                again, reply = await self.open(
                    client, *names, profile="", replaces=certificate.cert_id, what="valid at ca_local, replaces another"
                )
                await self.finalize(client, reply)
                await self.advance(again, Stage.DONE)
                assert (await self.store.certificates.get(certificate.id)).replaced_by == again
        order_id, reply = await self.open(
            accept, numbered("local-replaces-nothing"), profile="", replaces=ARI_OF_NOBODY, what="`replaces` left out"
        )
        await self.answer(accept, reply)
        await self.finalize(accept, reply)
        await self.advance(order_id, Stage.DONE)

    async def open_locally(self) -> None:
        accept, preapproved = self.accept, self.preapproved
        await self.open(accept, numbered("local-pending"), profile="", what="pending at ca_local: nothing answered")
        order_id, reply = await self.open(
            accept,
            numbered("local-half"),
            numbered("local-half"),
            profile="",
            what="pending at ca_local: one of two answered",
        )
        await self.answer(accept, reply, only=0)
        order_id, reply = await self.open(accept, numbered("local-ready"), profile="", what="ready at ca_local")
        await self.answer(accept, reply)
        await self.open(preapproved, numbered("local-ready"), profile="", what="ready at ca_local")
        for client in (accept, preapproved):
            order_id, reply = await self.open(
                client, numbered("local-processing"), profile="", what="processing at ca_local: to be signed"
            )
            await self.answer(client, reply)
            await self.finalize(client, reply)
        order_id, reply = await self.open(
            accept, numbered("local-deactivated"), profile="", what="invalid: its client deactivated the authorization"
        )
        await accept.post(reply.json["authorizations"][0], {"status": "deactivated"})
        order_id, _ = await self.open(preapproved, numbered("local-cancelled"), profile="", what="invalid: cancelled")
        await self.hub.operations.cancel(order_id, "cli:root")
        order_id, _ = await self.open(preapproved, numbered("local-expired"), profile="", what="invalid: expired")
        now = self.clock.now()

        def lapse(current):
            past = replace(current.order, expires=now)
            items = tuple(replace(item, expires=now) for item in current.authorizations)
            return expired(type(current)(past, items), now)

        await self.store.orders.apply(order_id, lapse)
        for client, words in ((preapproved, "valid"), (accept, "pending"), (self.verify, "in mode verify, waits")):
            name = numbered("preauthorization")
            reply = await client.new_authz(name)
            item = await self.store.orders.authorization(reply.location.rpartition("/")[2])
            self.note(item.order_id, client, (name,), f"pre-authorization, {words}")

    async def issued_by_relay(self) -> None:
        accept, preapproved = self.accept, self.preapproved
        # an ordinary one of two names, with a CA and a DNS server that stumble
        order_id, reply = await self.open(
            accept,
            numbered("relay-valid"),
            "*.relay-valid.corp.test",
            what="valid at the relay, after trouble of every kind",
        )
        self.relay.fail("register", UpstreamUnavailable("connection reset by peer", server=self.relay.server))
        self.relay.fail("new_order", UpstreamRateLimited("too many orders", server=self.relay.server, retry_after=2.0))
        await self.advance(order_id, Stage.PUBLISHING)
        await self.answer(accept, reply)
        await self.dns.close()
        await self.advance(order_id, steps=1)  # DNS provider not available
        await self.dns.__aenter__()
        await self.hub.operations.retry(order_id, "cli:root")
        self.relay.validation_looks = 2
        await self.advance(order_id, Stage.AUTHORIZED)
        self.relay.validation_looks = 0
        self.relay.processing_looks = 1
        await self.finalize(accept, reply)
        self.relay.alternates = True
        await self.advance(order_id, Stage.DONE)
        self.relay.alternates = False
        self.relay.processing_looks = 0
        shown = await accept.order(reply.location)
        await accept.certificate(shown.json["certificate"])
        # its CA says when to renew
        certificate = await self.store.certificates.get((await self.order(order_id)).certificate_id)
        start = certificate.not_after - timedelta(days=30)
        self.relay.renewals[certificate.cert_id] = UpstreamRenewalInfo(
            start, start + timedelta(days=2), "https://ca.test/why", retry_after=21_600.0
        )
        assert await self.hub.fulfilment.windows.work_off() == 1
        # one that is renewed, its CSR sent at once
        name = numbered("relay-replaced")
        order_id, reply = await self.open(preapproved, name, profile="classic", what="valid at the relay, replaced")
        await self.finalize(preapproved, reply)
        await self.advance(order_id, Stage.DONE)
        certificate = await self.store.certificates.get((await self.order(order_id)).certificate_id)
        again, reply = await self.open(
            preapproved, name, replaces=certificate.cert_id, what="valid at the relay, replaces another"
        )
        await self.finalize(preapproved, reply)
        await self.advance(again, Stage.DONE)
        assert (await self.store.certificates.get(certificate.id)).replaced_by == again
        # revoked upstream
        order_id, reply = await self.open(preapproved, numbered("relay-revoked"), what="valid at the relay, revoked")
        await self.finalize(preapproved, reply)
        await self.advance(order_id, Stage.DONE)
        await self.hub.operations.revoke((await self.order(order_id)).certificate_id, "superseded", "cli:root")
        # the same CSR a second time, without `replaces`
        name = numbered("relay-handed-out")
        order_id, reply = await self.open(preapproved, name, what="valid at the relay")
        csr_and_key = await self.finalize(preapproved, reply)
        await self.advance(order_id, Stage.DONE)
        again, reply = await self.open(preapproved, name, what="valid: the certificate of the order before")
        await self.finalize(preapproved, reply, csr_and_key)
        assert (await self.order(again)).status is OrderStatus.VALID
        # refused by the CA
        order_id, reply = await self.open(accept, numbered("relay-refused"), what="invalid: refused by the CA")
        self.relay.fail(
            "new_order",
            UpstreamRefused(
                ProblemDocument("urn:ietf:params:acme:error:caa", "CAA record forbids issuance", 403),
                server=self.relay.server,
            ),
        )
        await self.advance(order_id, Stage.FAILED)
        # not validated by the CA
        name = numbered("relay-unproven")
        order_id, reply = await self.open(accept, name, what="invalid: the CA saw no record")
        self.relay.refused[name] = ProblemDocument(
            "urn:ietf:params:acme:error:unauthorized", f"no TXT record for {name}", 403
        )
        await self.answer(accept, reply)
        await self.advance(order_id, Stage.FAILED)
        # a chain for another key
        order_id, reply = await self.open(preapproved, numbered("relay-wrong"), what="invalid: a wrong certificate")
        other, _ = make_csr(["x.corp.test"])
        wrong = self.relay.ca.chains(other, ["x.corp.test"], self.clock.now())[0]
        self.relay.substitute = lambda _chain: wrong
        await self.finalize(preapproved, reply)
        await self.advance(order_id, Stage.FAILED)
        self.relay.substitute = lambda chain: chain
        # mode verify, proven by dns-01; then remembered
        for what in ("valid at the relay, proven in mode verify", "valid at the relay, its proof remembered"):
            name = "verified.corp.test"
            order_id, reply = await self.open(self.verify, name, what=what)
            if reply.json["status"] == "pending":
                found = await self.verify.authorization(reply.json["authorizations"][0])
                challenge = next(item for item in found.json["challenges"] if item["type"] == "dns-01")
                value = dns01_value(challenge["token"], self.verify.key.thumbprint)
                await self.answer(self.verify, reply)
                await self.advance(order_id, steps=1)  # proof not seen
                self.dns.zones.add(f"_acme-challenge.{name}", "TXT", f'"{value}"')
                await self.advance(order_id, steps=1)
                self.dns.zones.remove(f"_acme-challenge.{name}", "TXT", f'"{value}"')
            await self.advance(order_id, Stage.AUTHORIZED)
            await self.finalize(self.verify, reply)
            await self.advance(order_id, Stage.DONE)
        # records that go, and one that does not
        await self.janitor()
        assert not await self.store.ledger.list()
        order_id, reply = await self.open(
            preapproved, numbered("relay-stuck"), what="valid at the relay, its record cannot be removed"
        )
        await self.finalize(preapproved, reply)
        await self.advance(order_id, Stage.DONE)
        await self.dns.close()
        for _ in range(5):
            await self.janitor()
            self.clock.advance(1000)
        await self.dns.__aenter__()
        [row] = await self.store.ledger.list()
        assert (row.state, row.attempts) == (TxtState.REMOVE, 5)
        for name in self.accounts:  # time has passed, and the clients' nonces are over
            getattr(self, name)._nonces.clear()

    # ------------------------------------------------------------------------------------- what is under way

    async def open_at_relay(self) -> None:
        accept, preapproved, auto = self.accept, self.preapproved, self.auto
        early = (
            Stage.ORDERING,
            Stage.AUTHORIZING,
            Stage.PUBLISHING,
            Stage.PROPAGATING,
            Stage.TRIGGERING,
            Stage.VALIDATING,
        )
        for stage in early:
            # mode accept, not answered; and answered
            name = numbered(stage.value)
            order_id, reply = await self.open(accept, name, what=f"{stage.value}: mode accept, nothing answered")
            await self.to(order_id, stage)
            name = numbered(stage.value)
            order_id, reply = await self.open(
                accept, name, f"*.{name}", what=f"{stage.value}: mode accept, two authorizations, answered"
            )
            await self.answer(accept, reply)
            await self.to(order_id, stage)
            # mode preapproved: ready without a CSR, and processing with one
            order_id, reply = await self.open(
                preapproved, numbered(stage.value), what=f"{stage.value}: mode preapproved, no CSR yet"
            )
            await self.to(order_id, stage)
            order_id, reply = await self.open(
                preapproved, numbered(stage.value), profile="classic", what=f"{stage.value}: its CSR is here already"
            )
            await self.finalize(preapproved, reply)
            await self.to(order_id, stage)
        # half triggered
        names = (numbered("triggering"), numbered("triggering"))
        order_id, reply = await self.open(accept, *names, what="triggering: one of two challenges is triggered")
        await self.answer(accept, reply)
        await self.advance(order_id, Stage.TRIGGERING)
        await self.advance(order_id, steps=1)
        bundle = await self.bundle(order_id)
        assert bundle.order.stage is Stage.TRIGGERING
        assert [item.triggered for item in bundle.authorizations] == [True, False]
        # one of two validated
        names = (numbered("validating"), numbered("validating"))
        order_id, reply = await self.open(accept, *names, what="validating: one of two authorizations is valid")
        await self.answer(accept, reply)
        await self.advance(order_id, Stage.VALIDATING)
        self.relay.validation_looks = 3
        first = self.relay.orders[(await self.order(order_id)).upstream_url].authorizations[0]
        first.status = first.challenge = "valid"
        await self.advance(order_id, steps=1)
        self.relay.validation_looks = 0
        statuses = [item.upstream_status for item in (await self.bundle(order_id)).authorizations]
        assert statuses == ["valid", "pending"], statuses
        # at ordering with a flight, after a failure
        order_id, reply = await self.open(
            accept, numbered("ordering"), what="ordering: its flight is taken, the CA was not available"
        )
        self.relay.fail("new_order", UpstreamUnavailable("503 Service Unavailable", server=self.relay.server))
        await self.advance(order_id, steps=2)
        # another account waits for the same names
        name = numbered("ordering-waits")
        order_id, reply = await self.open(accept, name, what="publishing: another order waits for this one")
        await self.advance(order_id, Stage.PUBLISHING)
        order_id, reply = await self.open(preapproved, name, what="ordering: waits for the order before, same names")
        await self.advance(order_id, steps=1)
        # and takes over
        name = numbered("authorized-handed-over")
        order_id, reply = await self.open(accept, name, what="authorized: has handed its upstream order over")
        await self.answer(accept, reply)
        await self.advance(order_id, Stage.AUTHORIZED)
        order_id, reply = await self.open(preapproved, name, what="authorized: has taken an upstream order over")
        await self.advance(order_id, Stage.AUTHORIZED)
        # authorized
        order_id, reply = await self.open(accept, numbered("authorized"), what="authorized: answered, ready")
        await self.answer(accept, reply)
        await self.advance(order_id, Stage.AUTHORIZED)
        order_id, reply = await self.open(
            accept, numbered("authorized"), what="authorized: mode accept, nothing answered yet: pending"
        )
        await self.advance(order_id, Stage.AUTHORIZED)
        name = numbered("authorized")
        order_id, reply = await self.open(preapproved, name, what="authorized: mode preapproved, ready, joined once")
        joined, _ = await self.open(preapproved, name)
        assert joined == order_id
        await self.advance(order_id, Stage.AUTHORIZED)
        order_id, reply = await self.open(auto, numbered("authorized"), what="authorized: mode auto, approved")
        await self.advance(order_id, Stage.AUTHORIZED)
        await auto.authorization(reply.json["authorizations"][0])
        assert (await self.order(order_id)).mode is AuthorizationMode.PREAPPROVED
        # finalizing, issuing, downloading
        self.relay.processing_looks = 2
        for stage in (Stage.FINALIZING, Stage.ISSUING, Stage.DOWNLOADING):
            for client in (accept, preapproved):
                name = numbered(stage.value)
                order_id, reply = await self.open(
                    client, name, f"*.{name}", what=f"{stage.value}: mode {self.by(client)}"
                )
                await self.answer(client, reply)
                await self.advance(order_id, Stage.AUTHORIZED)
                await self.finalize(client, reply)
                await self.advance(order_id, stage)
        self.relay.processing_looks = 0
        # mode verify
        await self.open(self.verify, numbered("verify"), what="mode verify: waits for its client")
        names = (numbered("verify"), numbered("verify"))
        order_id, reply = await self.open(self.verify, *names, what="mode verify: one of two answered, no proof yet")
        await self.answer(self.verify, reply, only=0)
        await self.advance(order_id, steps=1)

    async def to(self, order_id: str, stage: Stage) -> None:
        if stage is not Stage.ORDERING:
            await self.advance(order_id, stage)

    # --------------------------------------------------------------------------------------------- the rest

    async def records(self) -> None:
        await self.hub.campaigns.add(
            NewCampaign(
                renew_by=datetime(2090, 1, 1, tzinfo=UTC),
                name="incident-42",
                reason="mass revocation",
                authority="relay",
                names="*.corp.test",
                principal="devices",
                explanation_url="https://status.corp.test/incident-42",
            ),
            ME,
        )
        await self.hub.campaigns.add(
            NewCampaign(renew_by=datetime(2090, 2, 1, tzinfo=UTC), name="called off", authority="local"), ME
        )
        await self.hub.campaigns.end("called off", ME)
        await self.hub.learning.set(self.accounts["retired"]["id"], AuthorizationMode.ACCEPT, ME)
        await self.hub.principals.set("verifiers", PrincipalPatch(profiles=("relayed",)), ME)
        for nonce, year in (("used-until-2090", 2090), ("used-until-2091", 2091)):
            assert await self.store.nonces.use(nonce, datetime(year, 1, 1, tzinfo=UTC))
        await self.store.records.audit(
            AuditEntry(
                at=self.clock.now(), actor="api:anna", action="token.revoke", object="token", detail="no", allowed=False
            )
        )

    async def whats(self) -> None:
        """Every text of an event that the product can write stands in some timeline."""
        order_id = next(key for key, item in self.index.items() if item["what"].startswith("valid at the relay, after"))
        written = {event.what for key in self.index for event in await self.store.records.timeline(key)}
        missing = [what for what in texts() if what not in written]
        missing.append("TXT record cannot be removed, 10 attempts")  # the number is part of the text
        print("noted by hand:", *missing, sep="\n  ")
        server, detail = self.relay.server, "noted by hand, so that the text stands in the table"
        await self.store.records.note(
            [
                Event(order_id=order_id, at=self.clock.now(), what=what, detail=detail, server=server, seconds=0.25)
                for what in missing
            ]
        )
        unknown = written - set(texts())
        assert not unknown, unknown

    async def dump(self) -> None:
        row = (await self.store.authorities.named("relay"))[0]
        for key, item in self.index.items():
            bundle = await self.bundle(key)
            order = bundle.order
            item |= {
                "url": f"{BASE}/acme/order/{key}",
                "authority": "relay" if order.authority_id == row.id else "local",
                "profile": order.client_profile,
                "mode": order.mode,
                "status": order.status,
                "stage": order.stage,
                "has_csr": order.csr is not None,
                "upstream_url": order.upstream_url,
                "upstream_certificate": order.upstream_certificate,
                "authorizations": [
                    {
                        "id": one.id,
                        "name": ("*." if one.wildcard else "") + one.identifier.value,
                        "status": one.status,
                        "token": one.token,
                        "upstream_url": one.upstream_url,
                        "upstream_challenge": one.upstream_challenge,
                        "upstream_status": one.upstream_status,
                    }
                    for one in bundle.authorizations
                ],
                "records": [
                    {"name": one.name, "value": one.value, "state": one.state}
                    for one in await self.store.ledger.of_order(key)
                ],
            }
            final = order.status in (OrderStatus.VALID, OrderStatus.INVALID)
            assert final or order.expires.year == order.give_up_at.year == 2090, item
            assert order.lease_owner is None, item
        write(
            "index.json",
            {
                "base_url": BASE,
                "dns": {"port": DNS_PORT, "zones": ["corp.test"], "key_name": "hub.", "key_secret": TSIG_SECRET},
                "accounts": self.accounts,
                "orders": list(self.index.values()),
            },
        )
        write(
            "upstream.json",
            {
                "server": self.relay.server,
                "account": {
                    "url": row.account_url,
                    "key": self.hub.vault.open("authority.account_key", row.id, row.sealed_account_key).decode(),
                },
                "orders": [
                    {
                        "url": one.url,
                        "names": [item.value for item in one.request.identifiers],
                        "profile": one.request.profile,
                        "status": one.status,
                        "csr": base64.b64encode(one.csr).decode() if one.csr else None,
                        "chains": one.chains,
                        "authorizations": [
                            {
                                "url": item.url,
                                "name": item.identifier.value,
                                "wildcard": item.wildcard,
                                "status": item.status,
                                "challenge": item.challenge,
                                "value": item.value,
                            }
                            for item in one.authorizations
                        ],
                    }
                    for one in self.relay.orders.values()
                ],
            },
        )
        write("dns.json", self.dns.zones.txt())


@functools.cache
def texts() -> tuple[str, ...]:
    """The `what` of every event in the source of the product."""
    found: dict[str, None] = {}
    position = {"Event": None, "event": 0, "_event": 2, "order_again": 1, "_insist": 1}
    constants = {
        "authorizing.py": ("USED_UP", "DEAD_AT_BIRTH"),
        "trouble.py": ("LOST",),
        "learning.py": ("DOWNLOADED",),
        "ordering.py": ("opened",),
        "janitor.py": ("what",),
    }
    for path in sorted(CORE.rglob("*.py")):
        if "testing" in path.parts or path.name == "bulletin.py":
            continue
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            values = []
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in position:
                    values += [item.value for item in node.keywords if item.arg == "what"]
                    at = position[name]
                    values += node.args[at : at + 1] if at is not None else []
            elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in constants.get(path.name, ()):
                values.append(node.value)
            for value in values:
                for text in strings(value):
                    found[text] = None
    return tuple(found)


def strings(value: ast.expr) -> list[str]:
    if isinstance(value, ast.Constant):
        return [value.value] if isinstance(value.value, str) else []
    if isinstance(value, ast.IfExp):
        return strings(value.body) + strings(value.orelse)
    if isinstance(value, ast.JoinedStr):
        return ["".join(part.value if isinstance(part, ast.Constant) else "5" for part in value.values)]
    return []


def dns01_value(token: str, thumbprint: str) -> str:
    from acmehub.proofs.dns01 import record_value

    return record_value(f"{token}.{thumbprint}")


def write(name: str, item: object) -> None:
    text = json.dumps(json.loads(msgspec.json.encode(item)), indent=1, ensure_ascii=False)
    (HERE / name).write_text(text + "\n")


async def make(data_dir: Path) -> None:
    clock = TickingClock()
    config = Config(
        public_url=BASE,
        data_dir=data_dir,
        tls=TlsMode(mode="off"),
        acme=Acme(hold=0.0, order_days=FAR_DAYS),
        dns=Dns(resolvers=(f"127.0.0.1:{DNS_PORT}",), port=DNS_PORT, timeout=0.4),
        verify=Verify(remember_days=30.0),
        worker=Worker(efforts_hours=FAR_DAYS * 24.0),
    )
    hub = build_hub(config, clock=clock)
    relay = FakeRelay(clock)
    relay.reuse_authorizations = False
    relay.new_account_key = lambda: new_account_key("ec256")
    relay._numbers = itertools.count(1001)  # a FakeRelay that is made later counts from 1 and meets none of these
    relay.ca.chains = functools.partial(relay.ca.chains, lifetime=timedelta(days=3649))
    hub.registry.authorities.drop("ca_acme")
    hub.registry.authorities.take(Registration("ca_acme", lambda _settings, _context: relay, RelaySettings))
    async with (
        DnsServer(["corp.test"], port=DNS_PORT, keys=[tsig_key("hub.", "hmac-sha256", TSIG_SECRET)]) as dns,
        hub.running(serve=True),
        httpx.AsyncClient(transport=httpx.ASGITransport(create_app(hub)), base_url=BASE, timeout=60) as http,
    ):
        maker = Maker(hub, clock, relay, dns, http)
        await maker.found()
        await maker.issued_locally()
        await maker.issued_by_relay()
        await maker.open_locally()
        await maker.open_at_relay()
        await maker.records()
        await maker.whats()
        await maker.dump()


def main() -> None:
    for old in (*HERE.glob("*.pem"), *HERE.glob("*.json"), *HERE.glob("*.sqlite*")):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder) / "data"
        asyncio.run(make(data_dir))
        database = sqlite3.connect(data_dir / "acmehub.db", isolation_level=None)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert not database.execute("PRAGMA foreign_key_check").fetchall()
        database.close()
        assert not (data_dir / "acmehub.db-wal").exists()
        shutil.copyfile(data_dir / "acmehub.db", HERE / "acmehub.sqlite")
        shutil.copyfile(data_dir / "master.key", HERE / "master.key")


if __name__ == "__main__":
    main()

"""A whole hub in one process for the state machine: real storage and application; CA, DNS API and time by script."""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import httpx
import msgspec
from cryptography import x509

from acmehub import hookimpl
from acmehub.acme.server.rendering import authorization_object, order_object
from acmehub.acme.server.responses import encode
from acmehub.acme.server.urls import Urls
from acmehub.app.asgi import create_app
from acmehub.app.hub import build_hub
from acmehub.config import Acme, Config, Dns, Limits, TlsMode, Verify, Worker
from acmehub.issuance import IssuanceWorker
from acmehub.models import AuthorizationMode, ManagedChallenge, Propagation, PropagationMode, new_id
from acmehub.ports.plugins import PluginContext, Register
from acmehub.ports.settings import PluginSettings
from acmehub.rules.orders import as_of
from acmehub.runtime.crash_points import CrashPoints
from acmehub.runtime.plugin_objects import PluginObjects
from acmehub.testing.acme_client import AcmeClient, Reply
from acmehub.testing.acme_keys import ExternalAccount, compact
from acmehub.testing.dns_server import DnsServer
from acmehub.testing.fakes import FakeDnsProvider, FakeRelay, FakeSigner, ManualClock
from tests.acme.lab import BASE, Lab, StandInPlugin

T = TypeVar("T")
MEMORY = "/dev/shm"  # a commit there waits for no disk
LEASE = 30.0
LONGEST = timedelta(days=80)  # less than a certificate lasts, and less than an order is kept


class Nothing(PluginSettings, frozen=True, kw_only=True):
    """No settings."""


class Crash(BaseException):
    """The process dies here."""


class CrashAt(CrashPoints):
    """Raises `Crash` at a fault point of this name, when it is passed for the `passage`th time."""

    def __init__(self, name: str = "", passage: int = 1) -> None:
        super().__init__()
        self._fatal = name
        self._passages = passage

    def hit(self, name: str) -> None:
        if name == self._fatal:
            self._passages -= 1
            if self._passages == 0:
                raise Crash(name)


class Outside:
    """The CA, the signer and the DNS API as plugins."""

    def __init__(self, relay: FakeRelay, signer: FakeSigner, provider: FakeDnsProvider) -> None:
        self._relay, self._signer, self._provider = relay, signer, provider

    @hookimpl
    def register_authorities(self, register: Register) -> None:
        register("outside.relay", lambda _settings, _context: self._relay, Nothing)
        register("outside.signer", lambda _settings, _context: self._signer, Nothing)

    @hookimpl
    def register_dns_providers(self, register: Register) -> None:
        register("outside.dns", lambda _settings, _context: self._provider, Nothing)


class World:
    """The hub with the hands of clients, operator, worker, CA and time; used from one event loop of its own.

    `template` is a data directory after its first start, if there is one. With `signing` the authority signs by
    itself; with `adopts` the process that takes a CSR goes on with its order.
    """

    def __init__(
        self,
        template: Path | None = None,
        *,
        signing: bool = False,
        adopts: bool = False,
        verify: Verify = Verify(),
    ) -> None:
        self._runner = asyncio.Runner()
        self._exits = AsyncExitStack()
        self._folder = Path(tempfile.mkdtemp(dir=MEMORY if Path(MEMORY).is_dir() else None))
        self._workers = 0
        if template is not None:
            shutil.copytree(template, self._folder / "data")
        self.clock = ManualClock()
        self.begun = self.clock.now()
        self.provider = FakeDnsProvider()
        self.relay = FakeRelay(self.clock, self.provider.has)
        self.signer = FakeSigner(self.clock)
        self.adopts = adopts
        self.run(self._open(signing, verify, migrate=template is None))

    def run(self, work: Awaitable[T]) -> T:
        """Await something; nothing in this world goes on in between."""

        async def await_it() -> T:
            return await work

        return self._runner.run(await_it())

    def close(self) -> None:
        """End it all."""
        try:
            self._drop_worker()
            self.run(self._exits.aclose())
        finally:
            self._runner.close()
            shutil.rmtree(self._folder)

    async def _open(self, signing: bool, verify: Verify, *, migrate: bool) -> None:
        dns = await self._exits.enter_async_context(DnsServer(["corp.test"]))
        self.dns = dns
        self.provider.on_add = lambda name, value: dns.zones.add(name, "TXT", f'"{value}"')
        self.provider.on_remove = lambda name, value: dns.zones.remove(name, "TXT", f'"{value}"')
        config = Config(
            public_url=BASE,
            data_dir=self._folder / "data",
            tls=TlsMode(mode="off"),
            acme=Acme(hold=0.0),
            dns=Dns(resolvers=(f"127.0.0.1:{dns.port}",), port=dns.port, timeout=0.5),
            worker=Worker(concurrency=8, lease=LEASE),
            verify=verify,
            limits=Limits(token_orders_per_second=0),  # time stands still
        )
        self.hub = build_hub(config, clock=self.clock)
        self.hub.registry.add("outside", Outside(self.relay, self.signer, self.provider))
        await self._exits.enter_async_context(self.hub.running(serve=True, worker=False, migrate=migrate))
        transport = httpx.ASGITransport(create_app(self.hub))  # type: ignore[arg-type]
        http = await self._exits.enter_async_context(httpx.AsyncClient(transport=transport, base_url=BASE))
        self.urls = Urls(BASE)
        self.lab = Lab(self.hub, http, StandInPlugin())
        await self.lab.no_authority()
        await self.lab.authority("outside.signer" if signing else "outside.relay")
        await self._managed_challenge()
        self._new_worker()

    async def _managed_challenge(self) -> None:
        id = new_id()
        row = ManagedChallenge(
            id=id,
            name="corp",
            plugin="outside.dns",
            match="corp.test, *.corp.test",
            propagation=Propagation(PropagationMode.NONE),
            sealed_settings=self.hub.vault.seal("managed_challenge.settings", id, b"{}"),
            created=self.clock.now(),
        )
        await self.hub.store.managed_challenges.add(row)

    # ---------------------------------------------------------------------------------------------- clients

    async def client(self, user_agent: str, mode: AuthorizationMode) -> tuple[AcmeClient, ExternalAccount]:
        """A client with an account, and the credentials that it used."""
        _, external = await self.lab.token(authorization=mode)
        client = await self.lab.stranger(user_agent)
        await client.register(external, status=201)
        return client, external

    async def act(self, client: AcmeClient, url: str, payload: object = None) -> Reply:
        """A signed request; a nonce that grew too old is told once, and nothing is ever a 500."""
        return await self.act_raw(client, url, b"" if payload is None else compact(payload))

    async def act_raw(self, client: AcmeClient, url: str, body: bytes) -> Reply:
        """The same with a payload of any bytes."""
        reply = await client.send(url, await client.sign(url, body))
        if reply.problem == "badNonce":
            reply = await client.send(url, await client.sign(url, body))
        assert reply.status < 500 or (reply.status == 503 and reply.retry_after is not None), reply.body
        assert reply.problem != "badNonce"
        return reply

    async def shown(self, url: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """An order and its authorizations as they would be sent now, of one moment; nothing notices the look."""
        bundle = await self.lab.stored(url)
        order = msgspec.json.decode(encode(order_object(bundle, self.urls)))
        mode = bundle.order.mode
        return order, {
            self.urls.authorization(item.id): msgspec.json.decode(
                encode(authorization_object(as_of(item, self.clock.now(), bundle.order.status), mode, self.urls))
            )
            for item in bundle.authorizations
        }

    def plant(self, name: str, value: str) -> None:
        """The proof that mode `verify` looks for."""
        self.dns.zones.add(f"_acme-challenge.{name}", "TXT", f'"{value}"')

    # ----------------------------------------------------------------------------------------------- worker

    def _new_worker(self, faults: CrashPoints | None = None) -> None:
        """A worker process, so to say: it shares nothing with those before but the storage."""
        hub = self.hub
        self._workers += 1
        context = PluginContext("acmehub/test", self._folder, self.clock)
        self.worker = IssuanceWorker(
            hub.store,
            PluginObjects(hub.store, hub.snapshots, hub.registry, hub.vault, context),
            hub.solver,
            hub.registry,
            self.clock,
            faults or CrashAt(),
            owner=f"worker {self._workers}",
            rights=hub.rights,
            worker=hub.config.worker,
            rng=Random(self._workers),
        )
        if self.adopts:
            hub.dispatcher.turn_on(self.worker)

    def _drop_worker(self) -> None:
        """The process is gone, and with it all that it had under way."""

        async def cancel() -> None:
            for loop in (self.worker.orders, self.worker.txt_cleanup):
                await loop.cancel()

        self.run(cancel())

    async def work(self) -> None:
        """Everything that is due now."""
        await self.worker.work_off()
        await self.worker.txt_cleanup.work_off()

    def crash(self, point: str, passage: int) -> None:
        """A worker works, and dies at a fault point if it comes by; another one takes its place."""
        self._drop_worker()
        self._new_worker(CrashAt(point, passage))
        with suppress(Crash):
            self.run(self.work())
        self._drop_worker()
        self._new_worker()

    def prune(self) -> None:
        """What has lapsed is put away."""
        self.run(self.worker.pruner.work_off())

    # ------------------------------------------------------------------------------------------------- time

    def pass_time(self, seconds: float) -> None:
        """Time passes, within what the world is made for."""
        left = (self.begun + LONGEST - self.clock.now()).total_seconds()
        self.clock.advance(max(0.0, min(seconds, left)))

    def until_due(self) -> bool:
        """Time passes until something is due; False when nothing ever will be."""
        store = self.hub.store
        due = [
            at for at in (self.run(store.orders.next_due()), self.run(store.txt_records.next_due())) if at is not None
        ]
        if due:
            self.clock.advance(max(0.0, (min(due) - self.clock.now()).total_seconds()) + 0.001)
        return bool(due)

    def heal(self) -> None:
        """CA and DNS API do again what they are asked to."""
        for fake in (self.relay, self.provider):
            fake._script.clear()
        self.signer.errors.clear()
        self.relay.validation_looks = self.relay.processing_looks = 0
        self.relay.retry_after = None
        self.relay.substitute = self.signer.substitute = lambda chain: chain
        self.provider.without_effect = False

    def settle(self) -> None:
        """The outside is well again, and everything that is under way comes to its end."""
        self.heal()
        for _ in range(600):
            self.run(self.work())
            if not self.until_due():
                return
        raise AssertionError("something is due again and again, without an end")

    def issued_for(self, csr: bytes) -> int:
        """How many certificates the CA has made for a CSR's key."""
        key = x509.load_der_x509_csr(csr).public_key()
        return sum(item.public_key() == key for item in (*self.relay.ca.issued, *self.signer.ca.issued))

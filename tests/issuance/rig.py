"""A worker on a real SQLite store and a real DNS server, with a CA and a provider in memory, and time by hand."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random

import dns.tsig
import msgspec

from acmehub import hookimpl
from acmehub.config import Dns, Verify, Worker
from acmehub.dns01 import Solver
from acmehub.issuance import IssuanceWorker
from acmehub.models import (
    Account,
    Actor,
    Authority,
    AuthorizationMode,
    ChallengeType,
    Event,
    ManagedChallenge,
    Order,
    OrderStatus,
    Principal,
    PrincipalType,
    Propagation,
    Role,
    RoleAssignment,
    Token,
    new_id,
)
from acmehub.models.identifiers import Identifier
from acmehub.ports.plugins import OrderFinished, PluginContext, Register
from acmehub.ports.settings import PluginSettings
from acmehub.ports.store import Store
from acmehub.rules import orders
from acmehub.rules.finalizing import finalize
from acmehub.rules.orders import OrderBundle, open_order
from acmehub.runtime.crash_points import CrashPoint, CrashPoints
from acmehub.runtime.plugin_objects import MANAGED_CHALLENGE_SETTINGS, PluginObjects
from acmehub.runtime.plugins import Registry
from acmehub.runtime.rights import Rights
from acmehub.runtime.snapshot import Snapshots
from acmehub.runtime.vault import Vault
from acmehub.storage.sqlite.driver import SqliteDriver
from acmehub.storage.store import SqlStore
from acmehub.testing.dns_server import DnsServer
from acmehub.testing.fakes import FakeDnsProvider, FakeRelay, FakeSigner, ManualClock, make_csr

ZONES = ("corp.test", "other.test", "far.test")


class Nothing(PluginSettings, frozen=True, kw_only=True):
    """No settings."""


class Crash(BaseException):
    """The process dies here."""


class RaisingCrashPoints(CrashPoints):
    """Raises `Crash` where the process would be killed."""

    def __init__(self, point: CrashPoint | None = None, passage: int = 1) -> None:
        super().__init__()
        self.point = point
        self.left = passage
        self.passed: list[CrashPoint] = []

    def hit(self, point: CrashPoint) -> None:
        self.passed.append(point)
        if point is self.point:
            self.left -= 1
            if self.left == 0:
                raise Crash(point)


class OutsidePlugin:
    """Offers the fakes as plugins, and hears the news."""

    def __init__(self, relay: FakeRelay, signer: FakeSigner, provider: FakeDnsProvider) -> None:
        self.relay = relay
        self.signer = signer
        self.provider = provider
        self.finished: list[OrderFinished] = []

    @hookimpl
    def register_authorities(self, register: Register) -> None:
        register("fake.relay", lambda _settings, _context: self.relay, Nothing)
        register("fake.signer", lambda _settings, _context: self.signer, Nothing)

    @hookimpl
    def register_dns_providers(self, register: Register) -> None:
        register("fake.dns", lambda _settings, _context: self.provider, Nothing)

    @hookimpl
    def order_finished(self, event: OrderFinished) -> None:
        self.finished.append(event)


class Rig:
    """What the tests hold in their hands."""

    def __init__(
        self,
        store: Store,
        clock: ManualClock,
        dns: DnsServer,
        folder: Path,
        provider: Callable[[], FakeDnsProvider] = FakeDnsProvider,
    ) -> None:
        self.store = store
        self.clock = clock
        self.dns = dns
        self.provider = provider()
        self.provider.on_add = lambda name, value: dns.zones.add(name, "TXT", f'"{value}"')
        self.provider.on_remove = lambda name, value: dns.zones.remove(name, "TXT", f'"{value}"')
        self.relay = FakeRelay(clock, self.provider.has)
        self.signer = FakeSigner(clock)
        self.plugin = OutsidePlugin(self.relay, self.signer, self.provider)
        self.registry = Registry()
        self.registry.add("fake", self.plugin)
        self.vault = Vault([b"k" * 32])
        self.context = PluginContext("acmehub/test", folder, clock)
        self.snapshots = Snapshots(store, clock)
        self.plugin_objects = PluginObjects(store, self.snapshots, self.registry, self.vault, self.context)
        self.dns_settings = Dns(resolvers=(f"127.0.0.1:{dns.port}",), port=dns.port, timeout=0.4)
        self.solver = Solver(store, self.snapshots, self.plugin_objects, self.dns_settings, clock)
        self.rights = Rights(store, self.snapshots, self.plugin_objects, clock)
        self.main = self.worker()
        self.csrs: dict[str, bytes] = {}

    def worker(
        self,
        crash_points: CrashPoints | None = None,
        owner: str = "main",
        concurrency: int = 16,
        hours: float = 24.0,
        verify: Verify = Verify(networks=("127.0.0.0/8",)),
    ) -> IssuanceWorker:
        """A worker process, so to say: nothing is shared with others but the store and the outside."""
        snapshots = Snapshots(self.store, self.clock)
        plugin_objects = PluginObjects(self.store, snapshots, self.registry, self.vault, self.context)
        return IssuanceWorker(
            self.store,
            plugin_objects,
            self.solver,
            self.registry,
            self.clock,
            crash_points or RaisingCrashPoints(),
            owner=owner,
            rights=Rights(self.store, snapshots, plugin_objects, self.clock),
            worker=Worker(concurrency=concurrency, lease=30.0, issuance_timeout_hours=hours),
            verify=verify,
            rng=Random(1),
        )

    # -------------------------------------------------------------------------------------------- the operator

    async def found(self) -> None:
        now = self.clock.now()
        self.principal = Principal(
            name="device",
            type=PrincipalType.APPLICATION,
            roles=(RoleAssignment(Role.MANAGED_ACME_CONSUMER),),
            created=now,
        )
        await self.store.principals.add(self.principal)
        self.token = Token(
            title="EAB",
            principal_id=self.principal.id,
            scope=(Role.MANAGED_ACME_CONSUMER,),
            secret_hash=b"",
            sealed_hmac_key=b"",
            authorization=AuthorizationMode.ACCEPT,
            created=now,
        )
        await self.store.tokens.add(self.token)
        self.actor = await self.account()
        self.relay_row = await self.authority("fake.relay")
        self.signer_row = await self.authority("fake.signer")
        self.challenge = await self.managed_challenge("corp.test, *.corp.test, other.test, *.other.test")

    async def account(self) -> Actor:
        account = Account(
            jwk=b"{}",
            thumbprint=new_id(),
            token_id=self.token.id,
            principal_id=self.principal.id,
            created=self.clock.now(),
        )
        await self.store.accounts.bind(account, lambda token, _principal: token)
        actor = await self.store.accounts.actor(account.id)
        assert actor is not None
        return actor

    async def authority(self, plugin: str) -> Authority:
        id = new_id()
        sealed = self.vault.seal("authority.settings", id, b"{}")
        row = Authority(id=id, name=plugin, plugin=plugin, sealed_settings=sealed, created=self.clock.now())
        await self.store.authorities.add(row)
        return row

    async def managed_challenge(
        self, match: str, propagation: Propagation = Propagation(), cname_zones: tuple[str, ...] = ()
    ) -> ManagedChallenge:
        id = new_id()
        row = ManagedChallenge(
            id=id,
            name=f"for {match}"[:60],
            plugin="fake.dns",
            match=match,
            propagation=propagation,
            cname_zones=cname_zones,
            sealed_settings=self.vault.seal(MANAGED_CHALLENGE_SETTINGS, id, b"{}"),
            created=self.clock.now(),
        )
        await self.store.managed_challenges.add(row)
        return row

    async def set_propagation(self, propagation: Propagation) -> None:
        self.challenge = await self.store.managed_challenges.replace(
            msgspec.structs.replace(self.challenge, propagation=propagation)
        )

    # ---------------------------------------------------------------------------------------------- the client

    async def open(
        self,
        *names: str,
        mode: AuthorizationMode = AuthorizationMode.PREAPPROVED,
        signing: bool = False,
        actor: Actor | None = None,
        issuance_timeout: timedelta = timedelta(hours=24),
        finalize: bool = False,
        profile: str | None = None,
        replaces: str | None = None,
    ) -> str:
        """A new order; its id. With `finalize` its CSR follows at once."""
        bundle = open_order(
            actor or self.actor,
            [Identifier("dns", name) for name in names or ("www.corp.test",)],
            mode=mode,
            authority_id=self.signer_row.id if signing else self.relay_row.id,
            signing=signing,
            now=self.clock.now(),
            lifetimes=orders.Lifetimes(issuance_timeout=issuance_timeout),
            profile=profile,
            replaces=replaces,
        )
        await self.store.orders.add(bundle)
        if finalize:
            await self.finalize(bundle.order.id)
        return bundle.order.id

    async def finalize(self, order_id: str, worker: IssuanceWorker | None = None) -> OrderBundle:
        """The client's finalize; with `worker`, at the process of that worker, which claims the order for it."""
        bundle = await self.bundle(order_id)
        csr = self.csrs.setdefault(order_id, make_csr([item.value for item in bundle.order.identifiers]))
        now = self.clock.now()
        handover = None if worker is None else worker.take(bundle.order)
        after = await self.store.orders.apply(order_id, lambda current: finalize(current, csr, now, handover))
        if worker is not None:
            worker.release(bundle.order)
        return after

    async def answer(self, order_id: str, position: int = 0, kind: ChallengeType = ChallengeType.DNS_01) -> OrderBundle:
        target = (await self.bundle(order_id)).authorizations[position]
        now = self.clock.now()
        return await self.store.orders.apply(order_id, lambda current: orders.answer(current, target.id, kind, now))

    async def deactivate(self, order_id: str, position: int = 0) -> OrderBundle:
        target = (await self.bundle(order_id)).authorizations[position]
        now = self.clock.now()
        return await self.store.orders.apply(order_id, lambda current: orders.deactivate(current, target.id, now))

    # ---------------------------------------------------------------------------------------------- the worker

    async def go(
        self,
        seconds: float = 600.0,
        *,
        worker: IssuanceWorker | None = None,
        until: Callable[[], object] = lambda: False,
    ) -> None:
        """Work, letting time pass, until nothing is due any more or `seconds` have passed."""
        worker = worker or self.main
        end = self.clock.now() + timedelta(seconds=seconds)
        while True:
            await worker.work_off()
            await worker.txt_cleanup.work_off()
            due = [at for at in (await self.store.orders.next_due(), await self.store.txt_records.next_due()) if at]
            if not due or min(due) > end or until():
                return
            self.clock.advance(max(0.0, (min(due) - self.clock.now()).total_seconds()) + 0.001)

    # --------------------------------------------------------------------------------------------- the result

    async def bundle(self, order_id: str) -> OrderBundle:
        bundle = await self.store.orders.get(order_id)
        assert bundle is not None
        return bundle

    async def order(self, order_id: str) -> Order:
        return (await self.bundle(order_id)).order

    async def timeline(self, order_id: str) -> Sequence[Event]:
        return await self.store.records.timeline(order_id)

    async def whats(self, order_id: str) -> list[str]:
        return [event.kind for event in await self.timeline(order_id)]

    async def assert_valid(self, *order_ids: str) -> None:
        """Valid, with a chain, nothing left to do, no record left, one certificate for each."""
        for order_id in order_ids:
            order = await self.order(order_id)
            assert order.status is OrderStatus.VALID, await self.timeline(order_id)
            assert order.certificate_id is not None
            certificate = await self.store.certificates.get(order.certificate_id)
            assert certificate is not None
            assert certificate.chain.startswith("-----BEGIN CERTIFICATE-----")
            assert order.run_at is None
            assert order.lease_owner is None
        await self.assert_clean()

    async def assert_clean(self) -> None:
        """No TXT record is left, in the storage or in DNS."""
        assert not await self.store.txt_records.list()
        assert self.provider.records == {}
        assert self.dns.zones.txt() == {}


@asynccontextmanager
async def make_rig(
    folder: Path, provider: Callable[[], FakeDnsProvider] = FakeDnsProvider, *, keys: Sequence[dns.tsig.Key] = ()
) -> AsyncIterator[Rig]:
    clock = ManualClock()
    store = SqlStore(SqliteDriver(folder / "hub.db"), clock)
    await store.migrate()
    await store.open()
    try:
        async with DnsServer(ZONES, keys=keys) as server:
            rig = Rig(store, clock, server, folder, provider)
            await rig.found()
            yield rig
    finally:
        await store.close()

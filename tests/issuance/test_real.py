"""The engine alone, without HTTP before it, with everything behind it real: Pebble validates, BIND is written to."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from cryptography import x509

from acmehub.config import Dns, Worker
from acmehub.dns01 import Solver
from acmehub.issuance import IssuanceWorker
from acmehub.models import (
    Account,
    Authority,
    AuthorizationMode,
    Certificate,
    ManagedChallenge,
    OrderStatus,
    Principal,
    PrincipalType,
    Role,
    RoleAssignment,
    Token,
    new_id,
)
from acmehub.models.identifiers import Identifier
from acmehub.ports.clock import SystemClock
from acmehub.ports.plugins import PluginContext
from acmehub.ports.store import Store
from acmehub.rules import orders
from acmehub.rules.finalizing import finalize
from acmehub.runtime.crash_points import CrashPoints
from acmehub.runtime.plugin_objects import PluginObjects
from acmehub.runtime.plugins import build_registry
from acmehub.runtime.rights import Rights
from acmehub.runtime.snapshot import Snapshots
from acmehub.runtime.vault import Vault
from acmehub.storage.sqlite.driver import SqliteDriver
from acmehub.storage.store import SqlStore
from acmehub.testing.fakes import make_csr
from tests.journal import Journal
from tests.servers.bind import Bind, Zone
from tests.servers.pebble import Pebble, PebbleOptions, running_pebble

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def bind(tmp_path_factory: pytest.TempPathFactory, journal: Journal) -> Iterator[Bind]:
    zones = [
        Zone("corp.test", ("", "www", "mail"), ("_acme-challenge.alias CNAME alias.far.test.",)),
        Zone("far.test", ("*",)),
    ]
    log = journal.new_log("bind-fulfilment")
    with Bind(tmp_path_factory.mktemp("bind"), zones, secondaries=1, log=log, resolves=True) as servers:
        journal.keep_secret("TSIG key", servers.key.secret)
        yield servers


@pytest.fixture(scope="module")
def pebble(bind: Bind, tmp_path_factory: pytest.TempPathFactory, journal: Journal) -> Iterator[Pebble]:
    options = PebbleOptions(
        dns_server=f"{bind.primary}:{bind.port}",
        nonce_reject=15,
        authz_reuse=50,
        blocked_names=("blocked.test",),  # Debian's Pebble dies of two labels when one of three is blocked,
    )
    folder = tmp_path_factory.mktemp("pebble")
    with running_pebble(folder, options, log=journal.new_log("pebble-fulfilment")) as running:
        yield running


class WorkerContext:
    """Store, solver and worker, with one authority and two managed challenges."""

    def __init__(self, store: Store, folder: Path, bind: Bind) -> None:
        self.store = store
        self.bind = bind
        self.clock = SystemClock()
        self.vault = Vault([b"k" * 32])
        self.registry = build_registry(["dns_rfc2136"])
        self.context = PluginContext("acmehub/test", folder, self.clock)
        self.snapshots = Snapshots(store)
        self.plugin_objects = PluginObjects(store, self.snapshots, self.registry, self.vault, self.context)
        resolver = f"{bind.primary}:{bind.port}"
        self.solver = Solver(
            store, self.snapshots, self.plugin_objects, Dns(resolvers=(resolver,), port=bind.port), self.clock
        )
        self.worker = IssuanceWorker(
            store,
            self.plugin_objects,
            self.solver,
            self.registry,
            self.clock,
            CrashPoints(),
            owner="test",
            rights=Rights(store, self.snapshots, self.plugin_objects, self.clock),
            worker=Worker(concurrency=8),
        )

    async def found(self, pebble: Pebble) -> None:
        now = self.clock.now()
        roles = (RoleAssignment(Role.MANAGED_ACME_CONSUMER),)
        principal = Principal(name="device", type=PrincipalType.APPLICATION, roles=roles, created=now)
        token = Token(
            title="EAB",
            principal_id=principal.id,
            scope=(Role.MANAGED_ACME_CONSUMER,),
            secret_hash=b"",
            sealed_hmac_key=b"",
            created=now,
        )
        account = Account(jwk=b"{}", thumbprint="t", token_id=token.id, principal_id=principal.id, created=now)
        await self.store.principals.add(principal)
        await self.store.tokens.add(token)
        await self.store.accounts.bind(account, lambda token, _principal: token)
        actor = await self.store.accounts.actor(account.id)
        assert actor is not None
        self.actor = actor
        id = new_id()
        settings = {"directory": pebble.directory, "ca_file": str(pebble.ca_file), "terms_of_service_agreed": True}
        sealed = self.vault.seal("authority.settings", id, msgspec.json.encode(settings))
        self.authority = Authority(id=id, name="pebble", plugin="ca_acme", sealed_settings=sealed, created=now)
        await self.store.authorities.add(self.authority)
        await self._challenge("corp.test, *.corp.test", ("far.test",))
        await self._challenge("far.test, *.far.test", ())

    async def _challenge(self, match: str, cname_zones: tuple[str, ...]) -> None:
        id = new_id()
        settings = {
            "server": self.bind.primary,
            "port": self.bind.port,
            "key_name": self.bind.key.name,
            "key_secret": self.bind.key.secret,
        }
        row = ManagedChallenge(
            id=id,
            name=match,
            plugin="dns_rfc2136",
            match=match,
            cname_zones=cname_zones,
            sealed_settings=self.vault.seal("managed_challenge.settings", id, msgspec.json.encode(settings)),
            created=self.clock.now(),
        )
        await self.store.managed_challenges.add(row)

    async def order(self, *names: str) -> str:
        bundle = orders.open_order(
            self.actor,
            [Identifier("dns", name) for name in names],
            mode=AuthorizationMode.PREAPPROVED,
            authority_id=self.authority.id,
            signing=False,
            now=self.clock.now(),
        )
        await self.store.orders.add(bundle)
        now, csr = self.clock.now(), make_csr(names)
        await self.store.orders.apply(bundle.order.id, lambda current: finalize(current, csr, now))
        return bundle.order.id

    async def ended(self, order_id: str, seconds: float = 60.0) -> orders.OrderBundle:
        """The order when it is valid or invalid."""
        begun = time.monotonic()
        while True:
            bundle = await self.store.orders.get(order_id)
            assert bundle is not None
            if bundle.order.status in (OrderStatus.VALID, OrderStatus.INVALID):
                return bundle
            assert time.monotonic() - begun < seconds, await self.said(order_id)
            await asyncio.sleep(0.05)

    async def said(self, order_id: str) -> str:
        """The timeline, for who has to find out why a test failed."""
        lines = [f"{item.kind}: {item.detail}" for item in await self.store.records.timeline(order_id)]
        return "\n".join(lines)

    async def certificate(self, order_id: str) -> Certificate:
        bundle = await self.ended(order_id)
        assert bundle.order.status is OrderStatus.VALID, await self.said(order_id)
        certificate = await self.store.certificates.get(bundle.order.certificate_id or "")
        assert certificate is not None
        return certificate


@pytest_asyncio.fixture
async def context(bind: Bind, pebble: Pebble, tmp_path: Path) -> AsyncIterator[WorkerContext]:
    store = SqlStore(SqliteDriver(tmp_path / "hub.db"), SystemClock())
    await store.migrate()
    await store.open()
    made = WorkerContext(store, tmp_path, bind)
    await made.found(pebble)
    task = asyncio.create_task(made.worker.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert not await store.txt_records.list()
        await made.plugin_objects.close()
        await store.close()
    assert not [name for name in bind.txt() if name.startswith(("_acme-challenge", "alias"))]


@pytest.mark.parametrize(
    "names",
    [
        ("www.corp.test",),
        ("corp.test", "*.corp.test"),
        ("www.corp.test", "mail.corp.test", "web.far.test"),
        ("alias.corp.test",),
    ],
)
async def test_a_real_ca_validates_what_the_hub_has_written_and_issues(
    context: WorkerContext, pebble: Pebble, names: tuple[str, ...]
) -> None:
    order_id = await context.order(*names)
    certificate = await context.certificate(order_id)
    assert certificate.names == tuple(sorted(names))
    chain = x509.load_pem_x509_certificates(certificate.chain.encode())
    root = x509.load_pem_x509_certificate(pebble.root().encode())
    chain[-1].verify_directly_issued_by(root)
    whats = [event.kind for event in await context.store.records.timeline(order_id)]
    assert whats[:2] == ["finalize requested", "upstream order created"]
    assert {"authorizations read", "upstream order ready", "CSR sent", "certificate issued"} <= set(whats)


async def test_ten_orders_of_the_same_names_get_ten_certificates(context: WorkerContext) -> None:
    ids = [await context.order("www.corp.test", "mail.corp.test") for _ in range(10)]
    serials = {(await context.certificate(order_id)).serial for order_id in ids}
    assert len(serials) == 10


async def test_a_name_that_the_ca_blocks_is_refused_in_its_words(context: WorkerContext) -> None:
    bundle = await context.ended(await context.order("blocked.test"))
    assert bundle.order.status is OrderStatus.INVALID
    assert bundle.order.error is not None
    assert "blocked" in bundle.order.error.detail.lower()


async def test_a_rehearsal_writes_and_removes_a_record(context: WorkerContext) -> None:
    (challenge,) = [row for row in await context.store.managed_challenges.list() if row.match.startswith("corp")]
    rehearsal = await context.solver.rehearse(challenge.id, "www.corp.test")
    assert rehearsal.seen, rehearsal.words
    assert "ns2.corp.test" in rehearsal.words

"""What one proxied order costs, counted: exchanges with the CA, commits, statements, claims.

docs/adr/0015-the-price-of-a-proxied-order.md says what each of them is for.
"""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from acmehub import hookimpl
from acmehub.config import Acme, Dns
from acmehub.models import AuthorizationMode, Event, ManagedChallenge, Order, new_id
from acmehub.ports.plugins import PluginContext, Register
from acmehub.rules.orders import OrderBundle
from acmehub.runtime.places import Groups
from acmehub.runtime.plugin_objects import MANAGED_CHALLENGE_SETTINGS
from acmehub.storage.sqlite import driver, files
from acmehub.testing.acme_client import AcmeClient
from acmehub.testing.acme_keys import make_csr
from acmehub.testing.dns_server import DnsServer
from acmehub.testing.fake_relay import FakeRelay
from acmehub.testing.fakes import FakeDnsProvider
from tests.acme.lab import Lab, Nothing, laboratory

OF_TRANSACTIONS = frozenset({"BEGIN", "COMMIT", "ROLLBACK", "PRAGMA"})


class Outside:
    """A CA that validates and signs within a look, and DNS."""

    def __init__(self) -> None:
        self.provider = FakeDnsProvider()
        self.relay: FakeRelay | None = None

    def make(self, _settings: Nothing, context: PluginContext) -> FakeRelay:
        self.relay = FakeRelay(context.clock, self.provider.has)
        self.relay.processing_looks = 1
        return self.relay

    @hookimpl
    def register_authorities(self, register: Register) -> None:
        register("outside.ca", self.make, Nothing)

    @hookimpl
    def register_dns_providers(self, register: Register) -> None:
        register("outside.dns", lambda _settings, _context: self.provider, Nothing)


class Counts:
    """What the hub did: SQL of all connections, claims of orders and of removals with how much each found."""

    def __init__(self, lab: Lab, outside: Outside, sql: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.lab = lab
        self.outside = outside
        self.sql = sql
        self.claims: list[tuple[str, int]] = []
        self._count(monkeypatch, lab.hub.store.orders, "orders")
        self._count(monkeypatch, lab.hub.store.txt_records, "removals")

    def _count(self, monkeypatch: pytest.MonkeyPatch, noun: Any, name: str) -> None:
        claim = noun.claim

        async def counted(*args: object) -> Sequence[object]:
            found: Sequence[object] = await claim(*args)
            self.claims.append((name, len(found)))
            return found

        monkeypatch.setattr(noun, "claim", counted)

    def begin(self) -> None:
        """From now on."""
        assert self.outside.relay is not None
        self.outside.relay.calls.clear()
        self.sql.clear()
        self.claims.clear()

    @property
    def exchanges(self) -> list[str]:
        assert self.outside.relay is not None
        return self.outside.relay.calls

    @property
    def commits(self) -> int:
        return self.sql.count("COMMIT")

    @property
    def statements(self) -> list[str]:
        return [text for text in self.sql if text.split(None, 1)[0] not in OF_TRANSACTIONS]

    @property
    def empty_claims(self) -> list[tuple[str, int]]:
        return [claim for claim in self.claims if not claim[1]]

    def __str__(self) -> str:
        kinds = Counter(" ".join(text.split()[:6])[:60] for text in self.statements)
        lines = [f"{number:4} {kind}" for kind, number in kinds.most_common()]
        summary = (
            f"exchanges {len(self.exchanges)} {self.exchanges}\ncommits {self.commits}\n"
            f"statements {len(self.statements)}\nclaims {self.claims}"
        )
        return "\n".join([summary, *lines])


@pytest.fixture
def sql(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The SQL of every connection, in the order in which it runs."""
    texts: list[str] = []
    connect: Callable[..., sqlite3.Connection] = files.connect

    def traced(*args: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*args, **options)
        connection.set_trace_callback(texts.append)
        return connection

    monkeypatch.setattr(driver, "connect", traced)
    return texts


@pytest.fixture
async def counts(folder: Path, sql: list[str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Counts]:
    """A hub with a worker, limits and rights as they are by default; counts are from now on."""
    async with DnsServer(("corp.test",)) as dns:
        asked = Dns(resolvers=(f"127.0.0.1:{dns.port}",), port=dns.port, timeout=0.4)
        outside = Outside()
        outside.provider.on_add = lambda name, value: dns.zones.add(name, "TXT", f'"{value}"')
        outside.provider.on_remove = lambda name, value: dns.zones.remove(name, "TXT", f'"{value}"')
        async with laboratory(folder, Acme(hold=20.0), worker=True, dns=asked) as lab:
            lab.hub.registry.add("outside", outside)
            await lab.no_authority()
            await lab.authority("outside.ca")
            id = new_id()
            sealed = lab.hub.vault.seal(MANAGED_CHALLENGE_SETTINGS, id, b"{}")
            await lab.hub.store.managed_challenges.add(
                ManagedChallenge(
                    id=id,
                    name="corp",
                    plugin="outside.dns",
                    match="corp.test, *.corp.test",
                    sealed_settings=sealed,
                    created=lab.now,
                )
            )
            yield Counts(lab, outside, sql, monkeypatch)


async def order(client: AcmeClient, *names: str) -> None:
    """A certificate, in the fewest requests of a client."""
    placed = await client.new_order(list(names))
    reply = await client.finalize(placed.json, make_csr(list(names))[0])
    while reply.json["status"] == "processing":
        reply = await client.order(placed.location)
    assert reply.json["status"] == "valid"
    await client.certificate(reply.json["certificate"])


async def settled(lab: Lab) -> None:
    """The TXT records are removed, and nothing is under way."""
    worker = lab.hub.worker
    async with asyncio.timeout(20):
        while await lab.hub.store.txt_records.list() or worker.orders.running() or worker.txt_cleanup.running():
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)  # what follows from the last job


@pytest.mark.parametrize("names", [("b.corp.test",), ("b.corp.test", "c.corp.test")])
async def test_a_proxied_order_costs(counts: Counts, names: tuple[str, ...]) -> None:
    """Client requests, limits, rights and the removal of its TXT records included; `pytest -s` prints what it was."""
    client = await counts.lab.client(authorization=AuthorizationMode.PREAPPROVED)
    await order(client, "a.corp.test")
    await settled(counts.lab)
    counts.begin()
    await order(client, *names)
    await settled(counts.lab)
    print(counts)
    assert len(counts.exchanges) <= 2 * len(names) + 5, counts
    assert counts.commits <= 11 + len(names), counts
    assert len(counts.statements) <= 60 + 20 * len(names), counts
    assert not counts.empty_claims, counts


# ------------------------------------------------------------------------------------------------ the claim in the add


def added(counts: Counts, monkeypatch: pytest.MonkeyPatch) -> list[Order]:
    """Each order as it is added from now on."""
    orders: list[Order] = []
    add = counts.lab.hub.store.orders.add

    async def noted(bundle: OrderBundle, events: Sequence[Event] = ()) -> None:
        orders.append(bundle.order)
        await add(bundle, events)

    monkeypatch.setattr(counts.lab.hub.store.orders, "add", noted)
    return orders


async def test_an_order_is_added_with_lease_and_lock_where_there_is_a_place(
    counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await counts.lab.client(authorization=AuthorizationMode.PREAPPROVED)
    orders = added(counts, monkeypatch)
    await order(client, "a.corp.test")
    await order(client, "b.corp.test")
    first, second = orders
    owner = counts.lab.hub.worker.owner
    assert (first.lease_owner, first.fence, first.lock_key) == (owner, 1, None), "the hub had no account yet"
    assert (second.lease_owner, second.fence) == (owner, 1)
    assert second.lock_key is not None


async def test_an_order_without_a_place_queues_like_any_other(counts: Counts, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await counts.lab.client(authorization=AuthorizationMode.PREAPPROVED)
    await order(client, "a.corp.test")
    orders = added(counts, monkeypatch)
    places = counts.lab.hub.worker.orders.places
    for number in range(places.count):
        places.take(f"{number}", Groups())
    waits = asyncio.create_task(order(client, "b.corp.test"))
    async with asyncio.timeout(20):
        while not orders:
            await asyncio.sleep(0.01)
        assert (orders[0].lease_owner, orders[0].lock_key) == (None, None)
        for number in range(places.count):
            places.leave(f"{number}")
        await waits


async def test_orders_of_the_same_names_at_once_take_their_turns(
    counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = [await counts.lab.client(authorization=AuthorizationMode.PREAPPROVED) for _ in range(3)]
    await order(clients[0], "a.corp.test")
    counts.begin()
    orders = added(counts, monkeypatch)
    async with asyncio.timeout(30):
        await asyncio.gather(*(order(client, "same.corp.test") for client in clients))
    assert len({item.id for item in orders}) == 3
    assert len(orders) == 5, "two were added again without the lock"
    assert counts.exchanges.count("finalize") == 3
    assert not counts.lab.hub.worker.orders.is_reserved(orders[0].id)

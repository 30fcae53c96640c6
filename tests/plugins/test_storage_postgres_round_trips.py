"""What is done in one round trip, and what happens where it does not do."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest
from msgspec.structs import replace

from acmehub import StoreUnavailable
from acmehub.config import Acme, Storage
from acmehub.issuance import job
from acmehub.models import AuthorizationMode, OrderStatus, TxtState
from acmehub.ports.spending import NonceUse
from acmehub.rules.orders import Change, OrderBundle
from acmehub.rules.rate_limits import HOUR, SECOND, TokensLacking, TokensTaken, charge, limit
from acmehub.runtime import rights
from acmehub.storage.tables import TABLES
from acmehub.storage_api import SqlStore
from acmehub.testing.acme_keys import make_csr
from acmehub.testing.store_samples import a_certificate, an_event, at, sow
from acmehub_storage_postgres import news
from tests.acme.lab import laboratory
from tests.plugins.conftest import name_of, store_of
from tests.servers.postgres import Postgres

NOW = 1_800_000_000 * SECOND
TEN = limit("ten", 10, HOUR, "things")
TWO = limit("two", 2, HOUR, "other things")

Says = Callable[[str], bool]


class Wire:
    """The statements that are sent, each a round trip; what `loses` is true of loses its connection.

    News for other processes stand apart.
    """

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.by: list[int] = []
        self.news = 0
        self.loses_before: Says = lambda _text: False
        self.loses_after: Says = lambda _text: False

    def of(self, does: Any) -> Any:
        async def send(connection: Any, text: str, *values: Any, **options: Any) -> Any:
            if "pg_notify" in text:
                self.news += 1
            else:
                self.sent.append(text)
                self.by.append(id(connection))
            if self.loses_before(text):
                lost(connection)
            result = await does(connection, text, *values, **options)
            if self.loses_after(text):
                lost(connection)
            return result

        return send


def lost(connection: Any) -> None:
    connection.terminate()
    raise asyncpg.ConnectionDoesNotExistError("lost")


def once(what: str) -> Says:
    """True of the first text that has `what` in it."""
    left = [what]

    def says(text: str) -> bool:
        if left and left[0] in text:
            left.clear()
            return True
        return False

    return says


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    wire = Wire()
    for name in ("execute", "fetch", "executemany"):
        monkeypatch.setattr(asyncpg.Connection, name, wire.of(getattr(asyncpg.Connection, name)))
    return wire


@pytest.fixture
async def stores(postgres: Postgres, database: str) -> AsyncIterator[tuple[SqlStore, SqlStore]]:
    """Two processes at one database without rows; each has one connection."""
    postgres.sql("; ".join(f"DELETE FROM {table._meta.tablename}" for table in reversed(TABLES)), name_of(database))
    here, there = store_of(database, connections=1), store_of(database, connections=1)
    await here.open()
    await there.open()
    yield here, there
    await here.close()
    await there.close()


# ------------------------------------------------------------------------------------------- a change of an order


def attempted(bundle: OrderBundle) -> Change:
    order = replace(bundle.order, attempts=bundle.order.attempts + 1)
    return Change(order=order, events=(an_event(bundle.order), an_event(bundle.order)))


async def test_a_change_of_an_order_that_was_read_is_one_statement(
    stores: tuple[SqlStore, SqlStore], wire: Wire
) -> None:
    here, there = stores
    seed = await sow(here)
    bundle = seed.order("a.corp.test", "b.corp.test")
    await here.orders.add(bundle)
    await here.orders.apply(bundle.order.id, lambda stored: Change(order=stored.order, records=(seed.record(bundle),)))
    certificate = a_certificate(bundle.order)

    def rule(stored: OrderBundle) -> Change:
        order = replace(stored.order, status=OrderStatus.VALID, certificate_id=certificate.id)
        proven = tuple(replace(item, expires=at(99)) for item in stored.authorizations)
        events = (an_event(order), an_event(order))
        return Change(order=order, authorizations=proven, certificate=certificate, events=events, schedule_removal=True)

    wire.sent.clear()
    after = await here.orders.apply(bundle.order.id, rule)
    assert len(wire.sent) == 1, wire.sent
    assert await there.orders.get(bundle.order.id) == after
    assert after.order.version == bundle.order.version + 1
    assert [item.expires for item in after.authorizations] == [at(99), at(99)]
    assert await there.certificates.get(certificate.id) == certificate
    assert len(await there.records.timeline(bundle.order.id)) == 2
    assert [item.state for item in await there.txt_records.list()] == [TxtState.REMOVE]


async def test_a_change_by_another_process_is_seen_and_nothing_of_the_first_try_stays(
    stores: tuple[SqlStore, SqlStore], wire: Wire
) -> None:
    here, there = stores
    bundle = (await sow(here)).order()
    await here.orders.add(bundle)
    await there.orders.apply(bundle.order.id, attempted)
    wire.sent.clear()
    assert (await here.orders.apply(bundle.order.id, attempted)).order.attempts == 2
    assert wire.sent.count("BEGIN") == 1
    assert len(await here.records.timeline(bundle.order.id)) == 4


async def test_a_rule_that_refuses_what_was_read_decides_by_what_is_stored(stores: tuple[SqlStore, SqlStore]) -> None:
    here, there = stores
    bundle = (await sow(here)).order()
    await here.orders.add(bundle)

    def second(stored: OrderBundle) -> Change:
        if stored.order.attempts != 1:
            raise ValueError(stored.order.attempts)
        return attempted(stored)

    with pytest.raises(ValueError, match="0"):
        await here.orders.apply(bundle.order.id, second)
    await there.orders.apply(bundle.order.id, attempted)
    assert (await here.orders.apply(bundle.order.id, second)).order.attempts == 2


@pytest.mark.parametrize("is_done", [True, False])
async def test_a_lost_connection_costs_no_change_and_none_is_made_twice(
    stores: tuple[SqlStore, SqlStore], wire: Wire, is_done: bool
) -> None:
    """Where the lost statement was not done, the second one is; where it was, the caller is told of the doubt."""
    here, there = stores
    bundle = (await sow(here)).order()
    await here.orders.add(bundle)
    if is_done:
        wire.loses_after = once("UPDATE orders")
        with pytest.raises(StoreUnavailable, match="not known"):
            await here.orders.apply(bundle.order.id, attempted)
    else:
        wire.loses_before = once("UPDATE orders")
        await here.orders.apply(bundle.order.id, attempted)
    stored = await there.orders.get(bundle.order.id)
    assert stored is not None
    assert stored.order.attempts == 1
    assert len(await there.records.timeline(bundle.order.id)) == 2
    assert (await here.orders.apply(bundle.order.id, attempted)).order.attempts == 2


# ---------------------------------------------------------------------------------------------------------- nonces


async def test_a_nonce_and_its_actor_are_one_question(stores: tuple[SqlStore, SqlStore], wire: Wire) -> None:
    here, there = stores
    account_id = (await sow(here)).actor.account.id
    assert here.accounts.cached_actor(account_id) is None
    actor = await here.accounts.actor(account_id)
    assert actor is not None
    assert here.accounts.cached_actor(account_id) is actor
    revisions = await here.revisions()
    wire.sent.clear()
    assert await here.nonces.use_by(actor, "n1", at(60)) == NonceUse(is_first=True, revisions=revisions)
    assert await here.nonces.use_by(actor, "n1", at(60)) == NonceUse(is_first=False, revisions=revisions)
    assert len(wire.sent) == 2

    principal = await there.principals.replace(replace(actor.principal, enabled=False))
    assert await here.nonces.use_by(actor, "n2", at(60)) is None
    assert not await here.nonces.is_used("n2")
    actor = await here.accounts.actor(account_id)
    assert actor is not None
    assert actor.principal == principal
    assert await here.nonces.use_by(actor, "n2", at(60)) == NonceUse(is_first=True)  # the revisions are others
    revisions = await here.revisions()
    assert await here.nonces.use_by(actor, "n3", at(60)) == NonceUse(is_first=True, revisions=revisions)
    assert await there.nonces.is_used("n3")


async def test_nothing_is_told_by_an_actor_of_a_database_that_may_be_another_one_now(
    stores: tuple[SqlStore, SqlStore], postgres: Postgres, database: str
) -> None:
    here, _ = stores
    account_id = (await sow(here)).actor.account.id
    actor = await here.accounts.actor(account_id)
    assert actor is not None
    postgres.end_connections(name_of(database))
    async with asyncio.timeout(30):
        while here.accounts.cached_actor(account_id) is not None:
            await asyncio.sleep(0.01)


# ---------------------------------------------------------------------------------------------------------- limits


async def test_tokens_of_known_buckets_are_taken_in_one_statement(
    stores: tuple[SqlStore, SqlStore], wire: Wire
) -> None:
    here, there = stores
    both = [charge(TEN, "a"), charge(TWO, "a")]
    wire.sent.clear()
    await here.rate_limits.take([both], NOW)
    assert len(wire.sent) == 3, "two buckets that are not stored: all of them or none"
    wire.sent.clear()
    await here.rate_limits.take([[charge(TEN, "a"), charge(TEN, "new")]], NOW)
    assert len(wire.sent) == 1
    assert await there.rate_limits.load(NOW, 9) == {
        "ten/a": NOW + 2 * TEN.interval,
        "two/a": NOW + TWO.interval,
        "ten/new": NOW + TEN.interval,
    }
    await there.rate_limits.take([[charge(TEN, "a")]], NOW)
    wire.sent.clear()
    await here.rate_limits.take([[charge(TEN, "a")]], NOW)
    assert len(wire.sent) == 2, "the first one says what is stored"
    assert (await there.rate_limits.load(NOW, 9))["ten/a"] == NOW + 4 * TEN.interval
    await there.rate_limits.prune(NOW + 9 * TEN.interval)
    await here.rate_limits.take([[charge(TEN, "a")]], NOW + 9 * TEN.interval)
    assert (await there.rate_limits.load(NOW, 9))["ten/a"] == NOW + 10 * TEN.interval


async def test_a_refusal_is_by_what_is_stored_and_not_by_what_was_known(stores: tuple[SqlStore, SqlStore]) -> None:
    here, there = stores
    one = [charge(TWO, "a")]
    taken = await here.rate_limits.take([one, one], NOW)
    assert all(isinstance(item, TokensTaken) for item in taken)
    await there.rate_limits.save({"two/a": NOW})
    (again,) = await here.rate_limits.take([one], NOW)
    assert isinstance(again, TokensTaken)
    await there.rate_limits.save({"two/a": NOW + 2 * TWO.interval})
    (refused,) = await here.rate_limits.take([one], NOW)
    assert isinstance(refused, TokensLacking)


async def test_buckets_that_two_processes_store_at_once_lack_what_both_took(
    stores: tuple[SqlStore, SqlStore],
) -> None:
    for number in range(8):
        asked = [charge(TEN, f"{number}/{part}") for part in range(3)]
        await asyncio.gather(*[one.rate_limits.take([asked], NOW) for one in stores])
        stored = await stores[0].rate_limits.load(NOW, 1000)
        assert [stored[item.key] for item in asked] == [NOW + 2 * TEN.interval] * 3


# -------------------------------------------------------------------------------------------------------- an order


EMPTY_CLAIM = re.compile("BEGIN\nUPDATE orders SET lease_owner[^\n]*\nCOMMIT\n|SELECT min\\(due\\)[^\n]*\n")


class Cost(NamedTuple):
    """Of one order: round trips, those whose commit waits for the disk, and all statements."""

    round_trips: int
    durable: int
    statements: str


def cost(wire: Wire) -> Cost:
    """Without looks of the worker that find nothing, which tests/acme/test_cost_of_an_order.py counts."""
    texts = ""
    for connection in dict.fromkeys(wire.by):
        sent = [text for by, text in zip(wire.by, wire.sent, strict=True) if by == connection]
        texts += EMPTY_CLAIM.sub("", "".join(f"{text}\n" for text in sent))
    statements = texts.splitlines()
    durable, is_open = 0, False
    for text in statements:
        is_open = text == "BEGIN" or (is_open and text != "COMMIT")
        writes = text == "COMMIT" or (not is_open and re.search("INSERT|UPDATE|DELETE", text) is not None)
        durable += writes and "synchronous_commit" not in text
    return Cost(len(statements), durable, texts)


@pytest.mark.parametrize("is_alone", [True, False])
async def test_an_order_costs_few_round_trips_and_three_commits(
    postgres: Postgres, tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch, is_alone: bool
) -> None:
    """Of ca_local and a client that asks for no more than it has to; where no other process listens, none is told."""
    monkeypatch.setattr(news, "ANSWERED_WITHIN", 0.0)
    for module in (rights, job):  # a machine under load takes longer from a request to the step that follows it
        monkeypatch.setattr(module, "FRESH", 60.0)
    dsn = postgres.new_database()
    storage = Storage(plugin="storage_postgres", settings={"dsn": dsn})
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(laboratory(tmp_path, Acme(), worker=True, storage=storage))
        if not is_alone:
            other = store_of(dsn)
            await other.open()
            stack.push_async_callback(other.close)
            heard: set[str] = set()
            other.subscribe(lambda order_id, _version: heard.add(order_id))
        client = await lab.client(names="*.corp.test", authorization=AuthorizationMode.PREAPPROVED)
        for names in (["a.corp.test"], ["b.corp.test"]):
            await asyncio.sleep(0.3)  # the news of the former order are told
            wire.sent.clear()
            wire.by.clear()
            wire.news = 0
            placed = await client.new_order(names)
            await client.authorization(placed.json["authorizations"][0])
            reply = await client.finalize(placed.json, make_csr(names)[0])
            assert reply.json["status"] == "valid"
            await client.certificate(reply.json["certificate"])
        await asyncio.sleep(0.1)
        found = cost(wire)
        assert found.round_trips <= 14, found.statements
        assert found.durable <= 3, found.statements
        if is_alone:
            assert wire.news == 0
        else:
            assert 0 < wire.news <= 3
            assert placed.location.rpartition("/")[2] in heard

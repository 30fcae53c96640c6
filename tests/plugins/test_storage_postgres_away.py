"""PostgreSQL restarts, hangs, swallows, is slow: who waits, who is refused, what the log says."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from acmehub import Secret, StoreAway, StoreUnavailable
from acmehub.models import AuditEntry
from acmehub.rules.orders import Change, OrderBundle
from acmehub.storage_api import SqlStore
from acmehub.testing.store_samples import NOW, sow
from acmehub_storage_postgres import Settings, news
from acmehub_storage_postgres.connecting import Connector
from acmehub_storage_postgres.workers import MOST_WAITING_AWAY
from tests.plugins.conftest import back, name_of, store_of
from tests.servers.postgres import Postgres
from tests.servers.relay import Relay


@asynccontextmanager
async def opened(dsn: str, **settings: Any) -> AsyncIterator[SqlStore]:
    store = store_of(dsn, **settings)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def counted(bundle: OrderBundle) -> Change:
    return Change(order=replace(bundle.order, attempts=bundle.order.attempts + 1))


def outage_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage().partition(":")[0].partition(",")[0]
        for record in caplog.records
        if record.name.startswith(("acmehub", "asyncio")) and record.levelno >= logging.WARNING
    ]


ENTRIES = [AuditEntry(at=NOW, actor="test", action="test", object="test")]
BEGIN, END = "the storage is unavailable", "the storage is available again"


async def test_a_restart_is_waited_for_and_two_lines_tell_of_it(
    server: Postgres, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(dsn, wait=30) as store:
        seed = await sow(store)
        bundle = seed.order()
        await store.orders.add(bundle)
        store.subscribe(lambda _order, _version: None)
        done, doubtful, refused = 0, 0, []
        stop = asyncio.Event()

        async def work() -> None:
            nonlocal done, doubtful
            while not stop.is_set():
                try:
                    await store.orders.apply(bundle.order.id, counted)
                    done += 1
                except StoreUnavailable as error:
                    if "not known" in str(error):  # its COMMIT was under way
                        doubtful += 1
                    else:
                        refused.append(str(error))

        workers = [asyncio.create_task(work()) for _ in range(8)]
        await asyncio.sleep(0.2)
        await asyncio.to_thread(server.stop, signal.SIGINT)
        await asyncio.sleep(1)
        await asyncio.to_thread(server.start)
        before = done
        async with asyncio.timeout(40):
            while done < before + 20:
                await asyncio.sleep(0.05)
        stop.set()
        await asyncio.gather(*workers)
        assert not refused
        found = await store.orders.get(bundle.order.id)
        assert found is not None
        assert done <= found.order.attempts <= done + doubtful
    assert outage_lines(caplog) == [BEGIN, END]


async def test_a_server_that_hangs_has_a_bounded_queue_and_is_refused_at_once_until_it_goes_on(
    server: Postgres, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(dsn, wait=2.5, connections=1, timeout=60) as store:
        await store.ping()
        server.freeze()
        try:
            writing = asyncio.create_task(store.records.audit(ENTRIES))
            asked = [asyncio.create_task(store.revisions()) for _ in range(10)]
            with pytest.raises(StoreAway, match="not known"):
                await asyncio.wait_for(writing, 15)  # those that wait are told, whether sent already or not
            answers = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 5)
            assert all(isinstance(error, StoreAway) for error in answers)
            with pytest.raises(StoreAway):
                await store.ping()
            many = [asyncio.create_task(store.revisions()) for _ in range(MOST_WAITING_AWAY + 50)]
            refused_at_once = await asyncio.wait_for(asyncio.gather(*many, return_exceptions=True), 5)
            assert all(isinstance(error, StoreAway) for error in refused_at_once)
        finally:
            server.thaw()
        await back(store)
        await store.revisions()
    assert outage_lines(caplog) == [BEGIN, END]


async def test_while_it_is_away_few_may_wait(server: Postgres, dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(dsn, wait=20) as store:
        await asyncio.to_thread(server.stop)
        try:
            waiting = [asyncio.create_task(store.revisions()) for _ in range(20)]
            async with asyncio.timeout(15):
                while not outage_lines(caplog):
                    await asyncio.sleep(0.02)
            waiting += [asyncio.create_task(store.revisions()) for _ in range(MOST_WAITING_AWAY + 50)]
            await asyncio.sleep(0.1)
            refused = [task for task in waiting if task.done()]
            assert 20 < len(refused) < 100
            for task in refused:
                with pytest.raises(StoreAway, match=f"{MOST_WAITING_AWAY} requests wait"):
                    await task
        finally:
            await asyncio.to_thread(server.start)
        await asyncio.gather(*(set(waiting) - set(refused)))


async def test_a_statement_that_takes_long_is_no_outage(
    server: Postgres, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(dsn, wait=0.5, connections=1) as store:
        bundle = (await sow(store)).order()
        await store.orders.add(bundle)
        blocker = await asyncpg.connect(dsn)
        try:
            async with blocker.transaction():
                await blocker.execute("SELECT 1 FROM orders WHERE id = $1 FOR UPDATE", bundle.order.id)
                writing = asyncio.create_task(store.orders.apply(bundle.order.id, counted))
                behind = asyncio.create_task(store.revisions())  # there is one connection
                await asyncio.sleep(2.2)
                assert not writing.done()
                assert not behind.done()
        finally:
            await blocker.close()
        assert (await writing).order.attempts == 1
        await behind
    assert outage_lines(caplog) == []


async def test_a_connection_that_is_lost_moves_the_generation_and_one_that_is_closed_does_not(
    server: Postgres, dsn: str
) -> None:
    connector = Connector(Settings(dsn=Secret(dsn)))
    session = await connector.connect()
    before = connector.generation
    await connector.close(session)
    await asyncio.sleep(0.05)
    assert connector.generation == before
    async with opened(dsn) as store:
        store.subscribe(lambda _order, _version: None)
        await asyncio.gather(*(store.revisions() for _ in range(20)))
        first = (await store.revisions()).generation
        async with opened(dsn) as other:  # another process comes and goes
            await other.ping()
        await asyncio.gather(*(store.revisions() for _ in range(20)))
        assert (await store.revisions()).generation == first
        pids = "SELECT pid FROM pg_stat_activity WHERE datname = '{}' AND query {} LIKE '%pg_notify%'"
        for which in ("NOT", ""):
            pid = server.sql(pids.format(name_of(dsn), which)).splitlines()[0]
            server.sql(f"SELECT pg_terminate_backend({pid})")
            async with asyncio.timeout(30):
                while (moved := (await store.revisions()).generation) == first:
                    await asyncio.sleep(0.01)
            first = moved


async def test_a_listening_connection_that_was_dropped_in_silence_is_noticed(
    server: Postgres, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(news, "ALIVE_EVERY", 0.2)
    async with Relay(server.port).running() as relay:
        through = dsn.replace(f":{server.port}/", f":{relay.port}/")
        async with opened(through, timeout=0.5, wait=30) as store:
            heard: list[str] = []
            store.subscribe(lambda order_id, _version: heard.append(order_id))
            async with asyncio.timeout(30):
                while "" not in heard:
                    await asyncio.sleep(0.01)
                heard.clear()
            relay.swallow()
            await asyncio.sleep(1)
            relay.let_through()
            async with asyncio.timeout(30):
                while "" not in heard:
                    await asyncio.sleep(0.05)

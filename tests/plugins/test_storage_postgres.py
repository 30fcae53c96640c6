"""The PostgreSQL storage: the contract of every storage, and what PostgreSQL and the network may do to us."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from acmehub import Conflict, Secret, Store, StoreAbsent, StoreUnavailable
from acmehub.rules.orders import Change, OrderBundle
from acmehub.storage.tables import TABLES
from acmehub.storage_api import SqlStore
from acmehub.testing.store_contract import StoreContract
from acmehub.testing.store_samples import Seed, an_event, sow
from acmehub_storage_postgres import PostgresDriver, Settings
from acmehub_storage_postgres.connecting import Connector
from tests.plugins.conftest import back, name_of, store_of
from tests.servers.postgres import Postgres


@pytest.fixture
def make_store(postgres: Postgres, database: str) -> Callable[[], Store]:
    """Stores on a database that has tables and no rows: making one anew takes a second."""
    emptied = [f"DELETE FROM {table._meta.tablename}" for table in reversed(TABLES)]
    postgres.sql("; ".join(emptied), name_of(database))
    return lambda: store_of(database)


@pytest.fixture
async def store(make_store: Callable[[], SqlStore]) -> AsyncIterator[SqlStore]:
    store = make_store()
    await store.open()
    yield store
    await store.close()


def counted(bundle: OrderBundle) -> Change:
    return Change(order=replace(bundle.order, attempts=bundle.order.attempts + 1))


async def attempts_of(store: Store, bundle: OrderBundle) -> int:
    found = await store.orders.get(bundle.order.id)
    assert found is not None
    return found.order.attempts


async def an_order(store: Store) -> tuple[Seed, OrderBundle]:
    seed = await sow(store)
    bundle = seed.order()
    await store.orders.add(bundle)
    return seed, bundle


class TestPostgresStore(StoreContract):
    """The contract of every storage."""

    @pytest.fixture
    def make_bare_store(self, postgres: Postgres) -> Callable[[], Store]:
        dsn = postgres.new_database()
        return lambda: store_of(dsn)


# ------------------------------------------------------------------------------------------------------- faults


async def test_connections_killed_in_mid_flight_cost_no_change_and_heal(
    store: SqlStore, postgres: Postgres, database: str
) -> None:
    _, bundle = await an_order(store)
    done, doubtful = 0, 0
    stop = asyncio.Event()

    async def work() -> None:
        nonlocal done, doubtful
        while not stop.is_set():
            try:
                await store.orders.apply(bundle.order.id, counted)
                done += 1
            except StoreUnavailable:
                doubtful += 1

    workers = [asyncio.create_task(work()) for _ in range(6)]
    for _ in range(15):
        await asyncio.sleep(0.05)
        await asyncio.to_thread(postgres.end_connections, name_of(database))
    async with asyncio.timeout(30):
        while not done:
            await asyncio.sleep(0.02)
    stop.set()
    await asyncio.gather(*workers)
    assert done <= await attempts_of(store, bundle) <= done + doubtful
    await store.ping()


async def test_an_idle_connection_that_was_killed_is_replaced_without_an_error(
    store: SqlStore, postgres: Postgres, database: str
) -> None:
    _, bundle = await an_order(store)
    postgres.end_connections(name_of(database))
    await store.orders.apply(bundle.order.id, counted)
    assert await attempts_of(store, bundle) == 1


async def test_the_store_outlives_a_restart_of_the_server(server: Postgres, dsn: str) -> None:
    store = store_of(dsn, timeout=3, wait=0.5)
    await store.open()
    news: list[str] = []
    store.subscribe(lambda order_id, _version: news.append(order_id))
    try:
        _, bundle = await an_order(store)
        await asyncio.to_thread(server.stop, signal.SIGQUIT)  # a crash
        for attempt in (store.orders.apply(bundle.order.id, counted), store.orders.get(bundle.order.id)):
            with pytest.raises(StoreUnavailable) as caught:
                await attempt
            assert f"127.0.0.1:{server.port}" in str(caught.value)
            assert server.password not in str(caught.value)
        news.clear()
        await asyncio.to_thread(server.start)
        await back(store)
        assert (await store.orders.apply(bundle.order.id, counted)).order.attempts == 1
        async with asyncio.timeout(40):
            while "" not in news:  # it listens again, and does not know what it has missed
                await asyncio.sleep(0.05)
    finally:
        await store.close()


async def test_a_commit_that_fails_changes_nothing_and_the_connection_goes_on(
    store: SqlStore, postgres: Postgres, database: str
) -> None:
    _, bundle = await an_order(store)
    failing_commit(postgres, database, "RAISE EXCEPTION 'no' USING ERRCODE = 'foreign_key_violation'")
    try:
        with pytest.raises(Conflict) as caught:
            await store.records.note((an_event(bundle.order), an_event(bundle.order)))
        assert caught.value.field == "references"
        with pytest.raises(Conflict):
            await store.orders.apply(bundle.order.id, lambda b: replace(counted(b), events=(an_event(b.order),)))
        assert await store.records.timeline(bundle.order.id) == ()
        assert await attempts_of(store, bundle) == 0
        assert (await store.orders.apply(bundle.order.id, counted)).order.attempts == 1
    finally:
        postgres.sql("DROP FUNCTION failing() CASCADE", name_of(database))


async def test_a_lost_answer_to_a_commit_is_told_as_such_and_nothing_is_done_twice(
    make_store: Callable[[], Store], database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_store()
    store = store_of(database, connections=1)  # one that was used before: such a one is replaced when it is lost
    await store.open()
    seed, bundle = await an_order(store)
    another = seed.order()

    def losing(does: Any) -> Any:
        async def lose(self: Any, text: str, *values: Any, **options: Any) -> Any:
            result = await does(self, text, *values, **options)
            if text == "COMMIT" or "INSERT INTO orders" in text or "UPDATE orders SET" in text:
                self.terminate()
                raise asyncpg.ConnectionDoesNotExistError("lost")
            return result

        return lose

    with monkeypatch.context() as patch:
        for name in ("execute", "fetch"):
            patch.setattr(asyncpg.Connection, name, losing(getattr(asyncpg.Connection, name)))
        for attempt in (store.orders.apply(bundle.order.id, counted), store.orders.add(another)):
            with pytest.raises(StoreUnavailable, match="not known"):
                await attempt
    assert await attempts_of(store, bundle) == 1
    assert await store.orders.get(another.order.id) == another
    await store.close()


async def test_another_process_hears_which_orders_changed_and_only_those(
    store: SqlStore, make_store: Callable[[], SqlStore]
) -> None:
    seed = await sow(store)
    bundles = [seed.order() for _ in range(300)]  # more than one notification holds
    other = make_store()
    heard: set[str] = set()
    other.subscribe(lambda order_id, _version: heard.add(order_id))
    await other.open()
    try:
        async with asyncio.timeout(30):
            while "" not in heard:  # it listens
                await asyncio.sleep(0.01)
        heard.clear()
        await asyncio.gather(*[store.orders.add(bundle) for bundle in bundles])
        async with asyncio.timeout(30):
            while len(heard) < len(bundles):
                await asyncio.sleep(0.01)
        assert heard == {bundle.order.id for bundle in bundles}
        heard.clear()
        own: list[str] = []
        store.subscribe(lambda order_id, _version: own.append(order_id))
        await store.orders.apply(bundles[0].order.id, counted)
        await store.close()  # a process that ends tells what it did
        async with asyncio.timeout(30):
            while not heard:
                await asyncio.sleep(0.01)
        assert heard == {bundles[0].order.id}
        assert own.count(bundles[0].order.id) == 1
    finally:
        await other.close()


@pytest.mark.parametrize(("is_cached", "runs"), [(True, 1), (False, 3)])
async def test_a_transaction_that_could_not_be_serialized_is_run_again(
    store: SqlStore,
    make_store: Callable[[], SqlStore],
    postgres: Postgres,
    database: str,
    is_cached: bool,
    runs: int,
) -> None:
    _, bundle = await an_order(store)
    if not is_cached:  # then it is locked and read, and the rule is asked in the same transaction
        await store.close()
        store = make_store()
        await store.open()
    postgres.sql("CREATE SEQUENCE tries", name_of(database))
    fails_twice = "IF nextval('tries') <= 2 THEN RAISE EXCEPTION 'no' USING ERRCODE = 'serialization_failure'; END IF"
    failing_commit(postgres, database, fails_twice)
    ran = 0

    def rule(stored: OrderBundle) -> Change:
        nonlocal ran
        ran += 1
        return replace(counted(stored), events=(an_event(stored.order),))

    try:
        assert (await store.orders.apply(bundle.order.id, rule)).order.attempts == 1
        assert ran == runs
        assert len(await store.records.timeline(bundle.order.id)) == 1
    finally:
        await store.close()
        postgres.sql("DROP FUNCTION failing() CASCADE; DROP SEQUENCE tries", name_of(database))


def failing_commit(postgres: Postgres, database: str, does: str) -> None:
    """Have transactions that add events do something at their COMMIT."""
    postgres.sql(
        f"CREATE FUNCTION failing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {does}; RETURN NULL; END $$;"
        " CREATE CONSTRAINT TRIGGER failing AFTER INSERT ON event DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION failing()",
        name_of(database),
    )


async def test_a_server_that_takes_no_writes_is_named_and_left(
    store: SqlStore, postgres: Postgres, database: str
) -> None:
    _, bundle = await an_order(store)
    name = name_of(database)
    postgres.sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    postgres.end_connections(name)
    try:
        with pytest.raises(StoreUnavailable, match="primary"):
            await store.orders.apply(bundle.order.id, counted)
        assert await attempts_of(store, bundle) == 0
    finally:
        postgres.sql(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    await store.orders.apply(bundle.order.id, counted)  # on another connection: the old ones stay read-only


async def test_a_process_that_froze_in_a_transaction_does_not_keep_its_rows(store: SqlStore, database: str) -> None:
    connection = await Connector(Settings(dsn=Secret(database))).connect()
    try:
        assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") == "10s"
    finally:
        await connection.close()


@pytest.mark.parametrize("wrong", ["password", "port", "database", "user"])
async def test_what_cannot_be_connected_to_is_named_without_the_password(postgres: Postgres, wrong: str) -> None:
    password, port, database, user = postgres.password, postgres.port, "postgres", postgres.user
    if wrong == "password":
        password = "wrong-password"
    elif wrong == "port":
        port = 1
    elif wrong == "database":
        database = "nothing"
    else:
        user = "nobody"
    dsn = f"postgresql://{user}:{password}@127.0.0.1:{port}/{database}"
    parts = Settings(host="127.0.0.1", port=port, database=database, user=user, password=Secret(password), timeout=5)
    for store in (store_of(dsn, timeout=5), SqlStore(PostgresDriver(parts))):
        for attempt in (store.open(), store.migrate()):
            with pytest.raises(StoreUnavailable) as caught:
                await attempt
            text = str(caught.value)
            assert f"127.0.0.1:{port}/{database}" in text
            assert password not in text
            assert password not in repr(caught.value.__cause__)


async def test_a_database_without_tables_has_no_hub_and_tables_that_are_lost_later_are_named(
    postgres: Postgres,
) -> None:
    dsn = postgres.new_database()
    store = store_of(dsn)
    with pytest.raises(StoreAbsent, match=name_of(dsn)):
        await store.open()
    postgres.sql("CREATE TABLE migration (id int)", name_of(dsn))  # of another program
    with pytest.raises(StoreAbsent):
        await store.open()
    assert postgres.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name_of(dsn)) == "1"
    postgres.sql("DROP TABLE migration", name_of(dsn))
    await store.migrate()
    await store.open()
    try:
        postgres.sql("DROP TABLE principal CASCADE", name_of(dsn))
        with pytest.raises(StoreUnavailable, match="acmehub db upgrade"):
            await store.principals.list()
    finally:
        await store.close()


async def test_no_more_connections_are_opened_than_allowed(store: SqlStore, postgres: Postgres, database: str) -> None:
    seed = await sow(store)
    await asyncio.gather(*[store.orders.add(seed.order()) for _ in range(50)])
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'acmehub'"
    assert int(await asyncio.to_thread(postgres.sql, count, name_of(database))) <= 4

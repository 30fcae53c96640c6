"""The SQLite storage: the contract of every storage, and what SQLite may do to us."""

import asyncio
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from acmehub import Store, StoreUnavailable
from acmehub.models import Order
from acmehub.ports.store import Conflict
from acmehub.rules.orders import Change, Lease, OrderBundle
from acmehub.storage.sqlite.writer import Writer
from acmehub.storage_api import SqliteDriver, SqlStore
from acmehub.testing.store_contract import StoreContract
from acmehub.testing.store_samples import a_certificate, a_principal, at, sow


class TestSqliteStore(StoreContract):
    """The contract of every storage."""

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], Store]:
        return lambda: store_on(tmp_path / "acmehub.db")


def store_on(path: Path, busy_timeout: float = 30.0) -> SqlStore:
    return SqlStore(SqliteDriver(path, busy_timeout=busy_timeout, poll=0.05))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "acmehub.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqlStore]:
    store = store_on(path, busy_timeout=0.3)
    await store.migrate()
    await store.open()
    yield store
    await store.close()


def writer_of(store: SqlStore) -> Writer:
    assert isinstance(store._driver, SqliteDriver)
    assert store._driver._writer is not None
    return store._driver._writer


def counted(bundle: OrderBundle) -> Change:
    return Change(order=replace(bundle.order, attempts=bundle.order.attempts + 1))


async def stored(store: Store, bundle: OrderBundle) -> Order:
    found = await store.orders.get(bundle.order.id)
    assert found is not None
    return found.order


# ------------------------------------------------------------------------------------------------------- commits


async def test_commits_are_on_the_disk_when_they_return(store: SqlStore) -> None:
    connection = writer_of(store).connection
    settings = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert settings == ["wal", 2]  # 2 is FULL
    assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)


async def test_the_database_is_for_its_owner_alone(store: SqlStore, path: Path) -> None:
    await store.ping()
    for file in path.parent.glob("*"):
        assert file.stat().st_mode & 0o077 == 0, file


async def test_writers_that_arrive_together_share_one_commit(store: SqlStore) -> None:
    seed = await sow(store)
    bundles = [seed.order(f"{n}.corp.test") for n in range(16)]
    ran: list[str] = []
    writer_of(store).connection.set_trace_callback(ran.append)
    await asyncio.gather(*[store.orders.add(bundle) for bundle in bundles])
    assert ran.count("COMMIT") == 1
    assert ran.count("SAVEPOINT unit") == 0


async def test_one_that_fails_half_way_takes_nobody_with_it(store: SqlStore) -> None:
    seed = await sow(store)
    bundles = [seed.order() for _ in range(3)]
    for bundle in bundles:
        await store.orders.add(bundle)
    wrong = replace(a_certificate(bundles[1].order), order_id="no order")
    results = await asyncio.gather(
        store.orders.apply(bundles[0].order.id, counted),
        store.orders.apply(bundles[1].order.id, lambda b: replace(counted(b), certificate=wrong)),
        store.orders.apply(bundles[2].order.id, counted),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [OrderBundle, Conflict, OrderBundle]
    assert [(await stored(store, bundle)).attempts for bundle in bundles] == [1, 0, 1]
    await store.orders.apply(bundles[1].order.id, counted)


async def test_what_was_acknowledged_survives_kill_9(path: Path) -> None:
    program = f"""
import asyncio
from pathlib import Path
from acmehub.storage_api import SqliteDriver, SqlStore
from acmehub.testing.store_samples import sow
async def main():
    store = SqlStore(SqliteDriver(Path({str(path)!r})))
    await store.migrate()
    await store.open()
    seed = await sow(store)
    async def client(number):
        while True:
            bundle = seed.order(str(number) + ".corp.test")
            await store.orders.add(bundle)
            print(bundle.order.id, flush=True)
    await asyncio.gather(*[client(number) for number in range(4)])
asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged = [process.stdout.readline().strip() for _ in range(40)]
    process.send_signal(signal.SIGKILL)
    acknowledged += [line.strip() for line in process.communicate()[0].splitlines() if line.endswith("\n")]
    store = store_on(path)
    await store.open()
    try:
        for order_id in acknowledged:
            assert await store.orders.get(order_id) is not None
    finally:
        await store.close()


DYING = """
import asyncio, os, signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from msgspec.structs import replace
from acmehub.rules.orders import Change, Lease
from acmehub.storage_api import SqliteDriver, SqlStore
from acmehub.testing.store_samples import a_certificate, at, sow
async def main():
    store = SqlStore(SqliteDriver(Path(PATH)))
    await store.migrate()
    await store.open(serve=True, worker="dead")
    seed = await sow(store)
    bundle = seed.order("first.corp.test", created=at(-2))
    await store.orders.add(bundle)
    await store.orders.claim(Lease("dead", at(30)), at(0), 1)
    record = seed.record(bundle)
    certificate = replace(a_certificate(bundle.order), window_until=at(1e8), lease_owner="dead")
    await store.orders.apply(bundle.order.id, lambda stored: Change(
        order=stored.order, records=(record,), certificate=certificate, schedule_removal=True))
    await store.txt_records.claim(Lease("dead", at(30)), at(0), 1)
    now = datetime.now(UTC)
    await store.zone_leases.take("challenge", "zone", Lease("dead", now + timedelta(seconds=75)), now)
    await store.orders.add(seed.order("second.corp.test", created=at(-1)))
    print(bundle.order.id, record.id, certificate.id, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_what_a_killed_process_had_claimed_is_due_when_the_next_one_starts_and_nothing_else(path: Path) -> None:
    """Its lock is gone with it; the process that is alive has another one."""
    program = DYING.replace("PATH", repr(str(path)))
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    order_id, record_id, certificate_id = process.stdout.readline().split()
    alive, late, next_one = store_on(path), store_on(path), store_on(path)
    await alive.open(worker="alive")
    (other,) = await alive.orders.claim(Lease("alive", at(30)), at(0), 9)
    await late.open(worker="late")  # all live yet
    assert await late.orders.claim(Lease("late", at(30)), at(0), 9) == ()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    await late.close()
    await next_one.open(serve=True, worker="next")
    try:
        claimed = await next_one.orders.claim(Lease("next", at(30)), at(0), 9)
        assert [bundle.order.id for bundle in claimed] == [order_id]
        removals = await next_one.txt_records.claim(Lease("next", at(30)), at(0), 9)
        assert [record.id for record in removals] == [record_id]
        (certificate,) = await next_one.certificates.window_due(datetime.now(UTC), 9)
        assert (certificate.id, certificate.lease_owner) == (certificate_id, None)
        now = datetime.now(UTC)
        zone = ("challenge", "zone", Lease("next", now + timedelta(seconds=75)))
        assert await next_one.zone_leases.take(*zone, now) is None  # what the dead one sent may still arrive
        assert await next_one.zone_leases.take(*zone, now + timedelta(seconds=6)) == 2
        assert await alive.orders.renew(other.order.id, other.order.fence, at(60))
    finally:
        await next_one.close()
        await alive.close()
    assert list(path.parent.glob("*.worker.*")) == []


async def test_a_store_that_claims_nothing_ends_no_lease(store: SqlStore, path: Path) -> None:
    seed = await sow(store)
    await store.orders.add(seed.order())
    assert len(await store.orders.claim(Lease("who", at(30)), at(0), 9)) == 1
    reading = store_on(path)
    await reading.open(serve=True)
    assert await reading.orders.claim(Lease("next", at(30)), at(0), 9) == ()
    await reading.close()


# ------------------------------------------------------------------------------------------------------- faults


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Another process in the middle of a write."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield other
    finally:
        if other.in_transaction:
            other.execute("ROLLBACK")
        other.close()


async def test_a_lock_of_another_process_is_waited_for_and_reads_go_on(path: Path) -> None:
    store = store_on(path)
    await store.migrate()
    await store.open()
    try:
        seed = await sow(store)
        bundle = seed.order()
        with locked(path) as other:
            adding = asyncio.create_task(store.orders.add(bundle))
            await asyncio.sleep(0.3)
            assert not adding.done()
            assert await store.accounts.actor(seed.actor.account.id) == seed.actor
            assert len(await store.accounts.list()) == 1
            other.execute("COMMIT")
            await adding
        assert await store.orders.get(bundle.order.id) == bundle
    finally:
        await store.close()


async def test_a_lock_that_is_held_for_too_long_is_named_and_harms_nothing_later(store: SqlStore, path: Path) -> None:
    seed = await sow(store)
    bundle = seed.order()
    with locked(path):
        with pytest.raises(StoreUnavailable, match=r"locked by another process") as caught:
            await store.orders.add(bundle)
        assert str(path) in str(caught.value)
        with pytest.raises(StoreUnavailable):
            await store.ping()
    await store.orders.add(bundle)
    assert await store.orders.get(bundle.order.id) == bundle


async def test_those_who_come_while_a_lock_is_waited_for_get_their_own_time(store: SqlStore, path: Path) -> None:
    seed = await sow(store)
    patient = store_on(path, busy_timeout=1.5)
    await patient.open()
    try:
        with locked(path) as other:
            early = asyncio.create_task(patient.orders.add(seed.order()))
            await asyncio.sleep(0.75)
            late = asyncio.create_task(patient.orders.add(seed.order()))
            with pytest.raises(StoreUnavailable):
                await early
            other.execute("ROLLBACK")
            await late
    finally:
        await patient.close()


async def test_a_process_that_comes_and_goes_leaves_the_write_ahead_log_to_the_one_that_serves(
    store: SqlStore, path: Path
) -> None:
    """The locks that SQLite holds in this process would be dropped by opening and closing the file beside it."""
    seed = await sow(store)
    log = path.with_name(path.name + "-wal")
    for count in (1, 2):
        await store.orders.add(seed.order())
        assert await asyncio.to_thread(orders_seen_by_another_process, path) == count
        assert log.exists()


def orders_seen_by_another_process(path: Path) -> int:
    look = (
        "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM orders').fetchone()[0])"
    )
    return int(subprocess.run([sys.executable, "-c", look, path], check=True, capture_output=True, text=True).stdout)


@contextmanager
def disk_full_at(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes (Python ignores SIGXFSZ, so the write fails)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_commit_that_fails_is_told_to_all_of_its_batch_and_leaves_nothing(store: SqlStore, path: Path) -> None:
    seed = await sow(store)
    bundles = [seed.order() for _ in range(3)]
    await store.orders.add(bundles[0])
    log = path.with_name(path.name + "-wal")
    news: list[tuple[str, int]] = []
    store.subscribe(lambda *item: news.append(item))
    with disk_full_at(log.stat().st_size):
        results = await asyncio.gather(
            store.orders.apply(bundles[0].order.id, counted),
            *[store.orders.add(bundle) for bundle in bundles[1:]],
            return_exceptions=True,
        )
    assert [type(result) for result in results] == [StoreUnavailable] * 3
    assert str(path) in str(results[0])
    assert await stored(store, bundles[0]) == bundles[0].order
    assert await store.orders.get(bundles[1].order.id) is None
    assert (await store.orders.apply(bundles[0].order.id, counted)).order.attempts == 1
    await store.orders.add(bundles[1])
    await asyncio.sleep(0)
    assert news == [(bundles[0].order.id, 2), (bundles[1].order.id, 1)]


async def test_a_commit_that_failed_is_not_remembered(store: SqlStore, path: Path) -> None:
    seed = await sow(store)
    bundle = seed.order()
    await store.orders.add(bundle)
    with disk_full_at(path.with_name(path.name + "-wal").stat().st_size), pytest.raises(StoreUnavailable):
        await store.orders.apply(bundle.order.id, counted)
    other = store_on(path)
    await other.open()
    try:
        theirs = await other.orders.apply(bundle.order.id, lambda b: Change(order=replace(b.order, csr=b"theirs")))
    finally:
        await other.close()
    assert theirs.order.version == 2
    assert await store.orders.get(bundle.order.id) == theirs
    seen: list[OrderBundle] = []

    def rule(bundle: OrderBundle) -> Change:
        seen.append(bundle)
        return counted(bundle)

    await store.orders.apply(bundle.order.id, rule)
    assert seen == [theirs]


async def test_a_file_that_was_replaced_or_removed_under_the_hub_is_written_to_no_more(
    store: SqlStore, path: Path
) -> None:
    await store.principals.add(a_principal())
    moved = path.rename(path.with_name("moved.db"))
    for attempt in (store.ping, lambda: store.principals.add(a_principal("other"))):
        with pytest.raises(StoreUnavailable, match="No such file"):
            await attempt()
    path.touch()
    for attempt in (store.ping, lambda: store.principals.add(a_principal("other"))):
        with pytest.raises(StoreUnavailable, match="restart"):
            await attempt()
    moved.rename(path)
    await store.ping()
    await store.principals.add(a_principal("other"))


async def test_a_full_disk_is_named_and_forgotten_when_there_is_room_again(
    store: SqlStore, caplog: pytest.LogCaptureFixture
) -> None:
    seed = await sow(store)
    connection = writer_of(store).connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    big = replace(seed.order().order, csr=b"x" * 100_000)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="disk is full"):
            await store.orders.add(OrderBundle(big))
    connection.execute("PRAGMA max_page_count = 1000000")
    await store.orders.add(OrderBundle(big))
    begin, end = [record.getMessage() for record in caplog.records]
    assert "disk is full" in begin
    assert "available again" in end
    assert "3 failures" in end


async def test_a_ping_finds_a_full_disk_and_writes_nothing(
    store: SqlStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.principals.add(a_principal())
    connection = writer_of(store).connection
    before = connection.total_changes, path.with_name(path.name + "-wal").stat().st_size
    await store.ping()
    assert (connection.total_changes, path.with_name(path.name + "-wal").stat().st_size) == before
    usage = shutil.disk_usage(path.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(StoreUnavailable, match="disk is full"):
        await store.ping()


async def test_a_database_that_turned_read_only_is_named(store: SqlStore) -> None:
    writer_of(store).connection.execute("PRAGMA query_only = 1")
    with pytest.raises(StoreUnavailable, match="is read-only"):
        await store.ping()
    writer_of(store).connection.execute("PRAGMA query_only = 0")
    await store.ping()


async def test_a_file_that_may_not_be_written_is_refused_at_start() -> None:
    folder = Path(tempfile.mkdtemp(prefix="acmehub-read-only-"))
    try:
        await store_on(folder / "acmehub.db").migrate()
        folder.chmod(0o755)
        for file in folder.glob("*"):
            file.chmod(0o444)
        folder.chmod(0o555)
        program = f"""
import asyncio, os, pwd
from pathlib import Path
from acmehub import StoreUnavailable
from acmehub.storage_api import SqliteDriver, SqlStore
if os.geteuid() == 0:  # whom modes do not bind
    os.setuid(pwd.getpwnam("nobody").pw_uid)
try:
    asyncio.run(SqlStore(SqliteDriver(Path({str(folder / "acmehub.db")!r}))).open())
except StoreUnavailable as error:
    print(error)
"""
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        assert "acmehub.db" in done.stdout, done.stderr
        assert "read-only" in done.stdout or "cannot be opened" in done.stdout
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


async def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"something else " * 100)
    for attempt in (store_on(path).migrate(), store_on(path).open()):
        with pytest.raises(StoreUnavailable, match="not an SQLite database"):
            await attempt
    assert path.read_bytes() == b"something else " * 100


async def test_a_second_serve_process_is_told_which_file(store: SqlStore, path: Path) -> None:
    first, second = store_on(path), store_on(path)
    await first.open(serve=True)
    try:
        with pytest.raises(StoreUnavailable, match="serves from") as caught:
            await second.open(serve=True)
        assert str(path) in str(caught.value)
    finally:
        await first.close()


async def test_a_caller_that_is_cancelled_before_its_turn_writes_nothing(store: SqlStore) -> None:
    waiting = asyncio.create_task(store.principals.add(a_principal()))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await store.ping()
    assert await store.principals.list() == ()

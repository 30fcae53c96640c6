"""What one token in a loop, or one stranger, can do to others and to the database: a real hub on SQLite, over TLS.

A short run here; `make nightly` sets LOAD_SECONDS=60.
"""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from acmehub.testing.hub_process import HubProcess
from bench.acme_client import AccountKey, Client, Stats, make_key, make_work
from tests.journal import Journal
from tests.load.generator import target_of

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

SECONDS = float(os.environ.get("LOAD_SECONDS", "3"))
FULL = SECONDS >= 60
PAUSE = 0.15 if FULL else 0.05  # between two orders of the neighbour
NOISE = 0.0 if FULL else 1.0  # seconds that a short run's 99th percentile may have from other tests on the machine
ORDER_BYTES = 16 * 1024  # what an order with its authorization, event, indexes takes in the database, generously
WAL_BYTES = 8 * 1024 * 1024
RESOURCES = """
[[principal]]
name = "app"
type = "application"
roles = ["managed_acme_consumer"]

[[token]]
title = "loop"
principal = "app"
names = "*.flood.example"
authorization = "preapproved"

[[token]]
title = "neighbour"
principal = "app"
names = "*.calm.example"
authorization = "preapproved"
"""


class Database:
    """The size of a hub's database, from beside it."""

    def __init__(self, hub: HubProcess) -> None:
        self._path = hub.folder / "data" / "acmehub.db"

    def ask(self, text: str) -> int:
        """One number."""
        connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)
        try:
            (number,) = connection.execute(text).fetchone()
            return int(number)
        finally:
            connection.close()

    @property
    def bytes(self) -> int:
        """Without the write-ahead log."""
        return self.ask("PRAGMA page_count") * self.ask("PRAGMA page_size")

    @property
    def wal_bytes(self) -> int:
        """The write-ahead log."""
        return Path(f"{self._path}-wal").stat().st_size


@pytest.fixture
def hub(tmp_path: Path, journal: Journal) -> HubProcess:
    """A hub with its default limits and its own CA."""
    made = HubProcess(tmp_path / "hub", log=journal.new_log("hub"))
    made.apply(RESOURCES)
    return made


@contextmanager
def generator(load: str, hub: HubProcess, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The generator, at work."""
    command = [sys.executable, "-m", "tests.load.generator", load, hub.directory, "--seconds", f"{SECONDS}", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def end(process: subprocess.Popen[str]) -> Counter[str]:
    """What it was answered."""
    output, _ = process.communicate(timeout=SECONDS + 60)
    assert process.returncode == 0
    return Counter(json.loads(output))


async def neighbour(hub: HubProcess, kid: str, secret: str) -> Client:
    """A client of the other token, with an account."""
    client = Client(await target_of(hub.directory), Stats(), {}, AccountKey("ec256"), (kid, secret))
    await client.account()
    return client


async def order_for(client: Client, seconds: float, label: str) -> list[float]:
    """Order certificates at an even pace; the seconds that each took, shortest first."""
    taken: list[float] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        work = make_work([("dns", f"{label}{len(taken)}.calm.example")], make_key("ec256"), with_cn=False)
        begun = time.perf_counter()
        await client.order(work)
        taken.append(time.perf_counter() - begun)
        await asyncio.sleep(PAUSE)
    return sorted(taken)


def p99(taken: list[float]) -> float:
    """The 99th percentile of sorted values."""
    return taken[min(len(taken) - 1, int(len(taken) * 0.99))]


async def test_one_token_at_full_speed_leaves_others_their_time_and_grows_within_its_limits(hub: HubProcess) -> None:
    with hub:
        loop, calm = hub.eab("loop"), hub.eab("neighbour")
        client = await neighbour(hub, calm["kid"], calm["hmac_key"])
        await order_for(client, 1.0, "warm")
        quiet = await order_for(client, SECONDS / 2, "before")
        database = Database(hub)
        before, orders = database.bytes, database.ask("SELECT count(*) FROM orders")
        with generator("flood", hub, "--kid", loop["kid"], "--hmac", loop["hmac_key"]) as process:
            loud = await order_for(client, SECONDS, "loud")
            found = await asyncio.to_thread(end, process)
        made = database.ask("SELECT count(*) FROM orders") - orders
        grown = database.bytes - before
        refused = database.ask("SELECT count(*) FROM audit WHERE action = 'limit.reached'")
        quiet = sorted(quiet + await order_for(client, SECONDS / 2, "after"))
    print(f"quiet p99 {p99(quiet) * 1000:.1f} ms of {len(quiet)}, loud {p99(loud) * 1000:.1f} ms of {len(loud)}")
    print(f"the loop was answered {dict(found)}; {made} orders, {grown} bytes more, {refused} audit entries")
    mine = made - len(loud)
    assert set(found) <= {"201", "429 rateLimited"}
    assert mine <= 20 * (SECONDS + 1) + 20
    assert mine <= 1000 + SECONDS
    assert grown <= made * ORDER_BYTES
    assert refused <= 2  # of new orders, and of open ones
    assert (refused > 0) == ("429 rateLimited" in found)
    assert p99(loud) <= 2 * p99(quiet) + NOISE


async def test_a_stranger_with_a_fresh_key_in_every_request_leaves_next_to_nothing(hub: HubProcess) -> None:
    with hub:
        await asyncio.sleep(1)  # what the start writes is written
        database = Database(hub)
        before, audit = database.bytes, database.ask("SELECT count(*) FROM audit")
        with generator("stranger", hub) as process:
            found = await asyncio.to_thread(end, process)
        await asyncio.sleep(1)
        grown, more = database.bytes - before, database.ask("SELECT count(*) FROM audit") - audit
        wal = database.wal_bytes
        lines = len(hub.log.read_text().splitlines())
    print(f"the stranger was answered {dict(found)}; {more} audit entries, {grown} bytes more, {wal} bytes of WAL")
    assert not [kind for kind in found if kind.startswith("5")], found
    assert found.total() > 5 * SECONDS
    assert 1 <= more <= 2
    assert grown <= 256 * 1024
    assert wal <= WAL_BYTES
    assert lines < 100

"""The lists of `bench.lists`, small: how many steps SQLite's machine takes for a first page, which no load changes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from acmehub.storage.sqlite.driver import SqliteDriver
from acmehub.storage.store import SqlStore
from bench import lists

ORDERS = 4000
MOST_STEPS = 16_000  # a walk through all certificates, or half of all orders, is more


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    driver = SqliteDriver(tmp_path / "acmehub.db")
    store = SqlStore(driver)
    await store.migrate()
    await store.open()
    yield store
    await store.close()


def steps_of(driver: SqliteDriver) -> Callable[[Awaitable[Any]], Awaitable[int]]:
    """A function that counts the steps of a read, in hundreds."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 100
        return 0

    for connection in (driver._near, driver._far):
        assert connection is not None
        connection.set_progress_handler(step, 100)

    async def of(read: Awaitable[Any]) -> int:
        nonlocal count
        count = 0
        await read
        return count

    return of


async def test_the_first_page_of_each_list_by_each_filter_reads_little(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "RARE", 400)
    driver: Any = store._driver
    filled = await lists.fill(store, driver, ORDERS)
    steps = steps_of(driver)
    taken: dict[str, int] = {}
    for name, ask in lists.questions(store, filled):
        noun = name.partition(" ")[0]
        if noun in ("orders", "certificates", "accounts") and name.count("=") <= 1:
            taken[name] = await steps(ask())
    assert len(taken) > 40
    assert {name: count for name, count in taken.items() if count > MOST_STEPS} == {}

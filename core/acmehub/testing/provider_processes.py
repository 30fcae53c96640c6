"""Two processes that change one name at once, each with a provider of its own."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

from acmehub import Closes, DnsProvider, SystemClock
from acmehub.ports.dns import rewrites_record_sets

START_SECONDS = 60.0
LONGEST = 120.0

Turn = Callable[[], AbstractAsyncContextManager[None]]

_start: list[Barrier] = []


async def change_in_two_processes(
    factory: Callable[[], DnsProvider], zone: str, name: str, folder: Path, *, values: int = 4
) -> set[str]:
    """Each process adds `values` values, and removes every other one again; those that must be there then.

    A provider with `RewritesRecordSets` is called under the lease that the hub takes for it, in a storage in `folder`.
    """
    database = folder / "leases.db"
    if rewrites_record_sets(factory()):
        from acmehub.storage.sqlite.driver import SqliteDriver
        from acmehub.storage.store import SqlStore

        await SqlStore(SqliteDriver(database)).migrate()
    spawn = get_context("spawn")
    groups = [[f"{process}-{number:041d}" for number in range(values)] for process in range(2)]
    with ProcessPoolExecutor(2, spawn, initializer=_begin, initargs=(spawn.Barrier(2),)) as pool:
        runs = [pool.submit(_run, factory, zone, name, database, group) for group in groups]
        async with asyncio.timeout(LONGEST):
            await asyncio.gather(*map(asyncio.wrap_future, runs))
    return {value for group in groups for value in group[1::2]}


def _begin(barrier: Barrier) -> None:
    _start.append(barrier)


def _run(factory: Callable[[], DnsProvider], zone: str, name: str, database: Path, values: Sequence[str]) -> None:
    asyncio.run(_change(factory(), zone, name, database, values))


async def _change(provider: DnsProvider, zone: str, name: str, database: Path, values: Sequence[str]) -> None:
    async with _turns(provider, zone, database) as turn:
        try:
            _start[0].wait(START_SECONDS)
            for value in values:
                async with turn():
                    await provider.add_txt(zone, name, value)
            for value in values[::2]:
                async with turn():
                    await provider.remove_txt(zone, name, value)
        finally:
            if isinstance(provider, Closes):
                await provider.aclose()


@asynccontextmanager
async def _turns(provider: DnsProvider, zone: str, database: Path) -> AsyncIterator[Turn]:
    """What each call is made in: the lease of the zone for a provider that needs it. Others need not import it."""
    if not rewrites_record_sets(provider):
        yield nullcontext
        return
    from acmehub.dns01.one_writer import OneWriter
    from acmehub.storage.sqlite.driver import SqliteDriver
    from acmehub.storage.store import SqlStore

    store = SqlStore(SqliteDriver(database))
    await store.open()
    writer = OneWriter(store, SystemClock(), f"process {os.getpid()}")
    try:
        yield lambda: writer.alone("contract", zone)
    finally:
        await store.close()

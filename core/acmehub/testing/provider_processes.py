"""Two processes that change one name at once, each with a provider of its own.

As a program (`python -m`) this module is one of the two: it reads what to do from standard input, says `ready`, and
begins at the next line.
"""

import asyncio
import os
import pickle
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path

from acmehub import Closes, DnsProvider, SystemClock
from acmehub.ports.dns import rewrites_record_sets

LONGEST = 120.0

Turn = Callable[[], AbstractAsyncContextManager[None]]


async def change_in_two_processes(
    factory: Callable[[], DnsProvider], zone: str, name: str, folder: Path, *, rewrites: bool, values: int = 4
) -> set[str]:
    """Each process adds `values` values, and removes every other one again; those that must be there then.

    A provider with `RewritesRecordSets` (`rewrites`) is called under the lease that the hub takes for it, in a storage
    in `folder`.
    """
    database = folder / "leases.db"
    if rewrites:
        from acmehub.storage.sqlite.driver import SqliteDriver
        from acmehub.storage.store import SqlStore

        await SqlStore(SqliteDriver(database)).migrate()
    groups = [[f"{process}-{number:041d}" for number in range(values)] for process in range(2)]
    async with asyncio.timeout(LONGEST), asyncio.TaskGroup() as starts:
        started = [starts.create_task(_start((factory, zone, name, database, group))) for group in groups]
    processes = [task.result() for task in started]
    try:
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"begin\n")
        async with asyncio.timeout(LONGEST):
            said = await asyncio.gather(*(process.communicate() for process in processes))
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
    for process, (_out, error) in zip(processes, said, strict=True):
        assert process.returncode == 0, error.decode()
    return {value for group in groups for value in group[1::2]}


async def _start(work: tuple[object, ...]) -> asyncio.subprocess.Process:
    """A process that is ready to begin."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", __name__, stdin=pipe, stdout=pipe, stderr=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(pickle.dumps(sys.path) + pickle.dumps(work))
    if await process.stdout.readline() != b"ready\n":
        _out, error = await process.communicate()
        raise AssertionError(f"the factory does not work in another process: {error.decode()}")
    return process


def main() -> None:
    """Be one of the processes."""
    sys.path[:] = pickle.load(sys.stdin.buffer)
    factory, zone, name, database, values = pickle.load(sys.stdin.buffer)
    asyncio.run(_change(factory(), zone, name, database, values))


async def _change(provider: DnsProvider, zone: str, name: str, database: Path, values: Sequence[str]) -> None:
    async with _turns(provider, zone, database) as turn:
        try:
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.buffer.readline)
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


if __name__ == "__main__":
    main()

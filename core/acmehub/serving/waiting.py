"""Waiting for a storage that is away when `serve` or `worker` starts."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, TypeVar

from acmehub.app.hub import Hub
from acmehub.ports.store import StoreAway

ASKED_EVERY = 1.0  # seconds
SAID_EVERY = 60.0  # seconds

T = TypeVar("T")
_log = logging.getLogger(__name__)


async def reach_storage(
    hub: Hub,
    reach: Callable[[], Coroutine[Any, Any, T]],
    meanwhile: Callable[[], AbstractAsyncContextManager[None]] | None = None,
) -> T | None:
    """Wait until the storage answers: what `reach` gives then; None when the process is to stop first.

    `meanwhile` is entered while the storage is away. Raises what does not pass by itself: every other `StoreError`.
    """
    clock = hub.clock.monotonic
    begun, said = clock(), float("-inf")
    async with AsyncExitStack() as stack:
        while True:
            attempt = asyncio.create_task(reach())
            await _unless_stopped(hub, attempt)
            if not attempt.done():
                attempt.cancel()
                await asyncio.wait({attempt})
                return None
            error = attempt.exception()
            if error is None:
                break
            if not isinstance(error, StoreAway):
                raise error
            if clock() - said >= SAID_EVERY:
                since = f"away for {clock() - begun:.0f} s" if said >= begun else "away"
                said = clock()
                _log.warning("the storage is %s, and the start waits for it: %s", since, error)
            if meanwhile is not None:
                await stack.enter_async_context(meanwhile())
                meanwhile = None
            await _unless_stopped(hub, asyncio.create_task(asyncio.sleep(ASKED_EVERY)))
            if hub.stopping.is_set():
                return None
    if said >= begun:
        _log.warning("the storage answers, after %.0f s", clock() - begun)
    return attempt.result()


async def open_once(hub: Hub) -> bool:
    """Open the storage as it is, and close it again; true."""
    await hub.store.open()
    await hub.store.close()
    return True


async def _unless_stopped(hub: Hub, task: "asyncio.Task[Any]") -> None:
    """Wait for a task, or until the process is to stop."""
    stopped = asyncio.create_task(hub.stopping.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()

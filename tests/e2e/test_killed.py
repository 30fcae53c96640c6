"""After kill -9 on SQLite an order goes on at once: nobody waits for the lease of a process that is dead."""

import asyncio
import signal
import time

import pytest

from acmehub.runtime.crash_points import CrashPoint
from bench.persistent_client import PersistentClient
from tests.e2e.stack import Stack
from tests.e2e.targets import target_of

pytestmark = pytest.mark.e2e


async def test_an_order_goes_on_with_the_restart_and_not_when_its_lease_ends(stack: Stack) -> None:
    """With the lease as it is by default, 30 seconds."""
    hub = await asyncio.to_thread(stack.hub, "device")
    await asyncio.to_thread(hub.start, ACMEHUB_CRASH_POINTS=f"{CrashPoint.AFTER_UPSTREAM_NEW_ORDER}")
    try:
        client = PersistentClient([await target_of(hub)], stack.credentials(hub, "device"))
        await client.register()
        order = asyncio.create_task(client.certificate("killed.corp.test"))
        assert await asyncio.to_thread(hub.ended, 60)
        assert hub.exit_status == -signal.SIGKILL
        await asyncio.to_thread(hub.start)
        started = time.monotonic()
        assert (await order)["status"] == "valid"
        assert time.monotonic() - started < 15.0
        stack.assert_no_txt_left()
    finally:
        await asyncio.to_thread(hub.stop)

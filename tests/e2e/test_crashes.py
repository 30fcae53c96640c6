"""kill -9 at each crash point of issuance (docs/reliability.md section 3), with orders in lock_key."""

import asyncio
import signal
from collections import Counter

import pytest

from acmehub.runtime.crash_points import CrashPoint
from acmehub.testing.hub_process import HubProcess
from bench.persistent_client import PersistentClient
from tests.e2e.stack import Stack
from tests.e2e.targets import target_of

pytestmark = pytest.mark.e2e
ORDERS = 20
CONFIG = "[worker]\nlease = 3\n[acme]\nhold = 2\n"
SLOW_SECONDS = (
    4  # longer than an answer is held: the client finalizes before the upstream has validated (AFTER_CSR_STORED)
)


@pytest.fixture(params=["sqlite", "postgres"])
def storage(request: pytest.FixtureRequest) -> str:
    return "" if request.param == "sqlite" else str(request.getfixturevalue("postgres_storage"))


@pytest.mark.parametrize("point", CrashPoint)
async def test_nothing_is_lost_or_done_twice_when_the_hub_is_killed(
    point: CrashPoint, storage: str, stack: Stack
) -> None:
    hub = await asyncio.to_thread(stack.hub, "device", config=CONFIG, storage=storage, slow_seconds=SLOW_SECONDS)
    slow = point is CrashPoint.AFTER_CSR_STORED
    zone = f"c{list(CrashPoint).index(point)}{'p' if storage else 's'}.{'slow' if slow else 'corp'}.test"
    before = len(stack.issued_upstream())
    await asyncio.to_thread(hub.start, ACMEHUB_CRASH_POINTS=f"{point}:{ORDERS // 2}")
    try:
        client = PersistentClient([await target_of(hub)], stack.credentials(hub, "device"))
        await client.register()
        async with asyncio.TaskGroup() as tasks:
            revive = tasks.create_task(asyncio.to_thread(restart_when_killed, hub))
            names = [f"n{number}.{zone}" for number in range(ORDERS)]
            orders = [tasks.create_task(client.certificate(name)) for name in names]
        assert revive.result() == -signal.SIGKILL, "the crash point was never reached"
        assert Counter(order.result()["status"] for order in orders) == {"valid": ORDERS}
        stack.assert_no_txt_left()
        issued = stack.issued_upstream()[before:]
        assert len(issued) == ORDERS
        assert len(set(issued)) == ORDERS
    finally:
        await asyncio.to_thread(hub.stop)


def restart_when_killed(hub: HubProcess) -> int | None:
    """Wait for the end of the process, start it again; its exit status."""
    hub.ended(60)
    status = hub.exit_status
    if status is not None:
        hub.start()
    return status

"""Two `serve` and one `worker` on one PostgreSQL: clients alternate between the two, one of which is killed."""

import asyncio
import base64
import secrets
from collections import Counter
from dataclasses import replace

import pytest

from bench.persistent_client import PersistentClient
from tests.e2e.stack import Stack
from tests.e2e.targets import target_of

pytestmark = pytest.mark.e2e
ORDERS = 200
CLIENTS = 8
KILLED_AFTER = 70


async def test_no_order_is_lost_when_one_of_two_replicas_is_killed(stack: Stack, postgres_storage: str) -> None:
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    common = f'master_keys = ["{key}"]'
    first = await asyncio.to_thread(stack.hub, "device", config=common + CONFIG, storage=postgres_storage)
    common = f'public_url = "https://localhost:{first.port}"\n{common}'
    second, worker = (
        stack.hub(config=common + CONFIG, storage=postgres_storage, command=command, apply=False)
        for command in ("serve", "worker")
    )
    before = len(stack.issued_upstream())
    for process in (first, second, worker):
        await asyncio.to_thread(process.start)
    try:
        target = await target_of(first)
        targets = [target, replace(target, address=("127.0.0.1", second.port))]
        credentials = stack.credentials(first, "device")
        clients = [PersistentClient(targets, credentials, seconds=300) for _ in range(CLIENTS)]
        await asyncio.gather(*(client.register() for client in clients))
        finished: list[str] = []
        names = iter([f"n{number}.replica.corp.test" for number in range(ORDERS)])

        async def run(client: PersistentClient) -> None:
            for name in names:
                finished.append((await client.certificate(name))["status"])
                if len(finished) == KILLED_AFTER:
                    await asyncio.to_thread(first.kill)

        await asyncio.gather(*(run(client) for client in clients))
        assert Counter(finished) == {"valid": ORDERS}
        stack.assert_no_txt_left()
        issued = stack.issued_upstream()[before:]
        assert len(issued) == len(set(issued)) == ORDERS
    finally:
        for process in (second, worker, first):
            await asyncio.to_thread(process.stop)


CONFIG = "\n[worker]\nlease = 5\n[acme]\nhold = 2\n"

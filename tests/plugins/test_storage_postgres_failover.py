"""A failover that loses commits: a version that was seen before comes again with other content."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from acmehub.config import Acme, Storage
from acmehub.models import AuthorizationMode
from acmehub.models.problems import Problem
from acmehub.rules.orders import Change, OrderBundle
from acmehub.runtime.rights import FRESH
from acmehub.runtime.snapshot import Snapshots
from acmehub.storage_api import SqlStore
from acmehub.testing.store_samples import sow
from tests.acme.lab import laboratory
from tests.plugins.conftest import store_of
from tests.servers.postgres import Postgres
from tests.servers.relay import Relay


async def fall_behind(server: Postgres) -> None:
    """What is committed from here on is not on the replica."""
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.keep_copy)
    await asyncio.to_thread(server.start)


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[SqlStore]:
    store = store_of(dsn)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def attempts(count: int) -> Callable[[OrderBundle], Change]:
    def rule(bundle: OrderBundle) -> Change:
        return Change(order=replace(bundle.order, attempts=count))

    return rule


async def test_what_was_read_before_the_failover_is_read_again(server: Postgres, dsn: str) -> None:
    async with opened(dsn) as store:
        seed = await sow(store)
    token, account_id, bundle = seed.actor.token, seed.actor.account.id, seed.order()
    await fall_behind(server)
    async with opened(dsn) as store:
        snapshots = Snapshots(store)
        # committed on the primary alone, and seen by this process
        await store.tokens.replace(replace(token, title="changed on the primary"))
        await store.orders.add(bundle)
        await store.orders.apply(bundle.order.id, attempts(7))
        actor = await store.accounts.actor(account_id)
        assert actor is not None
        assert actor.token.enabled
        assert (await (await snapshots.current()).tokens()).by_id[token.id].enabled
        revisions = await store.revisions()

        await asyncio.to_thread(server.fail_over)

        async with opened(dsn) as other:  # as many changes by another process: the same versions and revisions
            await other.tokens.replace(replace(token, enabled=False))
            await other.orders.add(bundle)
            await other.orders.apply(bundle.order.id, attempts(1))
            assert (await other.revisions()).tokens == revisions.tokens

        found = await store.orders.get(bundle.order.id)
        assert found is not None
        assert found.order.attempts == 1
        actor = await store.accounts.actor(account_id)
        assert actor is not None
        assert not actor.token.enabled
        assert not (await (await snapshots.current()).tokens()).by_id[token.id].enabled


async def test_connections_to_the_old_server_are_left_when_a_new_one_reaches_another_server(
    server: Postgres, dsn: str
) -> None:
    async with opened(dsn) as store:
        seed = await sow(store)
    token, account_id = seed.actor.token, seed.actor.account.id
    await asyncio.to_thread(server.stop)
    with server.copied() as promoted:
        server.start()  # the old primary goes on, as it does when only the way to it was changed
        async with Relay(server.port).running() as relay, AsyncExitStack() as stack:
            store = await stack.enter_async_context(opened(dsn.replace(f":{server.port}/", f":{relay.port}/")))
            await store.tokens.replace(replace(token, title="changed on the old primary"))
            assert await store.accounts.actor(account_id)
            relay.target = promoted.port
            async with opened(dsn.replace(f":{server.port}/", f":{promoted.port}/")) as other:
                await other.tokens.replace(replace(token, enabled=False))
            await asyncio.gather(store.revisions(), store.revisions())  # the second one opens a connection
            for _ in range(4):
                actor = await store.accounts.actor(account_id)
                assert actor is not None
                assert not actor.token.enabled


async def test_a_hub_grants_nothing_by_what_it_knew_before_the_failover(server: Postgres, tmp_path: Path) -> None:
    dsn = server.new_database()
    storage = Storage(plugin="storage_postgres", settings={"dsn": dsn})
    async with laboratory(tmp_path, Acme(), storage=storage) as lab:
        relay = await lab.authority("ca_stand_in", default=False)
        token, external = await lab.token(names="*.corp.test", authorization=AuthorizationMode.PREAPPROVED)
        client = await lab.stranger()
        await client.register(external, status=201)
        url = (await client.new_order(["www.corp.test"])).location
        token = (await lab.hub.store.tokens.named(token.title))[0]
    await fall_behind(server)
    async with laboratory(tmp_path, Acme(), storage=storage) as lab:
        rights, objects, order = lab.hub.rights, lab.hub.plugin_objects, (await lab.stored(url)).order
        await lab.hub.store.tokens.replace(replace(token, title="changed on the primary"))
        await lab.hub.store.authorities.replace(replace(relay, account_url="https://primary.test/1"))
        await rights.require_step(order)
        assert (await objects.authority(relay.id)).row.account_url == "https://primary.test/1"

        await asyncio.to_thread(server.fail_over)

        async with opened(dsn) as other:
            await other.tokens.replace(replace(token, names="*.other.test"))
            await other.authorities.replace(replace(relay, account_url="https://replica.test/1"))
        assert (await objects.authority(relay.id)).row.account_url == "https://replica.test/1"
        await asyncio.sleep(FRESH)  # a step is judged by what was read so lately
        with pytest.raises(Problem):
            await rights.require_step(order)

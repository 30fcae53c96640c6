"""The part of the storage contract about life: migrating, opening, closing."""

import asyncio
from collections.abc import Callable

import pytest

from acmehub.models import AuthorizationStatus, EventKind
from acmehub.ports.store import Store, StoreAbsent, StoreUnavailable
from acmehub.testing.store_samples import an_event, sow

MakeStore = Callable[[], Store]


class LifeContract:
    """Opening, migrating, closing."""

    async def test_opening_makes_nothing(self, make_bare_store: MakeStore) -> None:
        for serve in (False, True):
            with pytest.raises(StoreAbsent):
                await make_bare_store().open(serve=serve)
        assert await make_bare_store().migrate() > 0

    async def test_migrating_again_does_nothing(self, store: Store) -> None:
        assert await store.migrate() == 0
        await store.ping()  # it is still open

    async def test_many_may_migrate_at_once(self, make_bare_store: MakeStore) -> None:
        steps = await asyncio.gather(*[make_bare_store().migrate() for _ in range(4)])
        assert sum(steps) == max(steps) > 0

    async def test_what_was_stored_is_there_after_reopening(self, store: Store, make_store: MakeStore) -> None:
        seed = await sow(store)
        bundle = seed.order("a.corp.test", "*.a.corp.test")
        await store.orders.add(bundle, (an_event(bundle.order),))
        await store.close()
        again = make_store()
        await again.open(serve=True)
        try:
            assert await again.orders.get(bundle.order.id) == bundle
            assert (await again.records.timeline(bundle.order.id))[0].kind is EventKind.ORDER_OPENED
            assert bundle.authorizations[0].status is AuthorizationStatus.PENDING
        finally:
            await again.close()

    async def test_a_second_serve_is_refused_unless_the_storage_is_shared(self, make_store: MakeStore) -> None:
        first, second = make_store(), make_store()
        await first.migrate()
        await first.open(serve=True)
        try:
            if second.shared:
                await second.open(serve=True)
            else:
                with pytest.raises(StoreUnavailable):
                    await second.open(serve=True)
                await second.open()
            await second.ping()
            await second.close()
        finally:
            await first.close()
        third = make_store()
        await third.open(serve=True)
        await third.close()

    async def test_a_closed_store_says_so_and_closes_twice(self, store: Store) -> None:
        await store.ping()
        await store.close()
        await store.close()
        with pytest.raises(StoreUnavailable):
            await store.ping()
        with pytest.raises(StoreUnavailable):
            await store.orders.get("any")

    async def test_closing_finishes_what_is_under_way(self, store: Store, make_store: MakeStore) -> None:
        seed = await sow(store)
        bundles = [seed.order(f"{n}.corp.test") for n in range(20)]
        writes = [asyncio.ensure_future(store.orders.add(bundle)) for bundle in bundles]
        await asyncio.sleep(0)
        await store.close()
        results = await asyncio.gather(*writes, return_exceptions=True)
        again = make_store()
        await again.open()
        try:
            for bundle, result in zip(bundles, results, strict=True):
                assert (await again.orders.get(bundle.order.id) == bundle) is (result is None)
        finally:
            await again.close()

"""The part of the storage contract about zone leases."""

import asyncio
from collections.abc import Callable

from acmehub.ports.store import Store
from acmehub.rules.orders import Lease
from acmehub.testing.store_samples import at


class ZonesContract:
    """Part of `StoreContract`."""

    async def test_a_zone_lease_is_taken_by_one_of_many_processes(
        self, store: Store, make_store: Callable[[], Store]
    ) -> None:
        other = make_store()
        await other.open()
        try:
            for moment in (0, 30):
                lease = Lease("me", at(moment + 30))
                asked = [one.zone_leases.take("c", "corp.test", lease, at(moment)) for one in (store, other) * 4]
                taken = [fence for fence in await asyncio.gather(*asked) if fence is not None]
                assert len(taken) == 1
        finally:
            await other.close()

    async def test_a_zone_lease_ends_in_time_or_before_and_its_fence_grows(self, store: Store) -> None:
        leases = store.zone_leases
        first = await leases.take("c", "corp.test", Lease("one", at(30)), at(0))
        assert first is not None
        assert await leases.take("c", "corp.test", Lease("one", at(59)), at(29.9)) is None
        second = await leases.take("c", "corp.test", Lease("two", at(60)), at(30))
        assert second is not None
        assert second > first
        assert not await leases.end("c", "corp.test", first, at(30))
        assert await leases.take("c", "corp.test", Lease("one", at(90)), at(31)) is None
        assert await leases.end("c", "corp.test", second, at(40))
        assert await leases.take("c", "corp.test", Lease("one", at(90)), at(39)) is None
        third = await leases.take("c", "corp.test", Lease("one", at(90)), at(40))
        assert third is not None
        assert third > second

    async def test_other_zones_and_other_managed_challenges_have_leases_of_their_own(self, store: Store) -> None:
        for challenge, zone in (("c", "corp.test"), ("c", "far.test"), ("d", "corp.test")):
            assert await store.zone_leases.take(challenge, zone, Lease("me", at(30)), at(0)) is not None

    async def test_zone_leases_that_are_over_are_forgotten_and_no_other(self, store: Store) -> None:
        leases = store.zone_leases
        for zone, until in (("old.test", at(10)), ("new.test", at(90))):
            assert await leases.take("c", zone, Lease("me", until), at(0)) == 1
        await leases.prune(at(10))
        assert await leases.take("c", "old.test", Lease("me", at(40)), at(11)) == 1
        assert await leases.take("c", "new.test", Lease("me", at(40)), at(11)) is None

"""The part of the storage contract about TXT records: rows beside their orders, and removals as jobs."""

import pytest
from msgspec.structs import replace

from acmehub.models import Stage, TxtState
from acmehub.ports.store import Conflict, Store
from acmehub.rules.orders import Change, Lease, OrderBundle
from acmehub.testing.store_samples import Seed, an_event, at, sow


class TxtContract:
    """Part of `StoreContract`."""

    async def _with_record(self, store: Store, seed: Seed) -> OrderBundle:
        bundle = seed.order()
        await store.orders.add(bundle)
        return await store.orders.apply(
            bundle.order.id, lambda stored: Change(order=stored.order, records=(seed.record(bundle),))
        )

    async def test_a_txt_record_is_replaced_by_version_and_forgotten(self, store: Store) -> None:
        seed = await sow(store)
        bundle = await self._with_record(store, seed)
        (record,) = await store.txt_records.of_order(bundle.order.id)
        present = await store.txt_records.replace(
            replace(record, state=TxtState.PRESENT, attempts=2, last_error="timeout", run_at=at(7))
        )
        assert await store.txt_records.list() == (present,)
        assert present.version == 2
        with pytest.raises(Conflict):
            await store.txt_records.replace(record)
        removed = an_event(bundle.order)
        await store.txt_records.remove(present, [removed])
        await store.txt_records.remove(present)
        assert await store.txt_records.list() == ()
        assert await store.records.timeline(bundle.order.id) == (removed,)

    async def test_records_are_marked_with_the_stage_or_nothing_is_written(self, store: Store) -> None:
        seed = await sow(store)
        bundle = await self._with_record(store, seed)
        (record,) = await store.txt_records.of_order(bundle.order.id)
        present = replace(record, state=TxtState.PRESENT, run_at=at(7))

        def rule(stored: OrderBundle) -> Change:
            order = replace(stored.order, stage=Stage.PROPAGATING)
            return Change(order=order, present=(present,), events=(an_event(stored.order),))

        after = await store.orders.apply(bundle.order.id, rule)
        assert after.order.stage is Stage.PROPAGATING
        assert await store.txt_records.of_order(bundle.order.id) == (replace(present, version=2),)
        with pytest.raises(Conflict) as conflict:
            await store.orders.apply(bundle.order.id, rule)
        assert conflict.value.field == "txt_record"
        assert await store.orders.get(bundle.order.id) == after
        assert len(await store.records.timeline(bundle.order.id)) == 1

    async def test_a_record_is_needed_by_another_row_that_stays(self, store: Store) -> None:
        seed = await sow(store)
        bundles = [await self._with_record(store, seed) for _ in range(3)]
        rows = [(await store.txt_records.of_order(item.order.id))[0] for item in bundles]
        assert len({(row.zone, row.name, row.value) for row in rows}) == 1
        await store.txt_records.replace(replace(rows[1], state=TxtState.REMOVE))
        await store.txt_records.replace(replace(rows[2], name="_acme-challenge.other.corp.test"))
        assert await store.txt_records.needed([rows[1]]) == {rows[1].id}
        many = [replace(rows[1], id=f"{number}") for number in range(40)]
        assert await store.txt_records.needed(many) == {row.id for row in many}
        await store.txt_records.remove(rows[0])
        assert await store.txt_records.needed([rows[1]]) == frozenset()
        assert await store.txt_records.needed([]) == frozenset()

    async def test_a_managed_challenge_with_records_is_not_removed(self, store: Store) -> None:
        seed = await sow(store)
        bundle = await self._with_record(store, seed)
        with pytest.raises(Conflict):
            await store.managed_challenges.remove(seed.managed_challenge)
        for record in await store.txt_records.of_order(bundle.order.id):
            await store.txt_records.remove(record)
        await store.managed_challenges.remove(seed.managed_challenge)

    async def test_removals_are_claimed_when_due_and_again_when_their_lease_is_over(self, store: Store) -> None:
        seed = await sow(store)
        bundle = await self._with_record(store, seed)
        assert await store.txt_records.claim(Lease("me", at(30)), at(9), 9) == ()
        assert await store.txt_records.next_due() is None
        (record,) = await store.txt_records.of_order(bundle.order.id)
        await store.txt_records.replace(replace(record, run_at=at(10)))
        await store.orders.apply(bundle.order.id, lambda stored: Change(order=stored.order, schedule_removal=True))
        assert await store.txt_records.next_due() == at(10)
        assert await store.txt_records.claim(Lease("me", at(30)), at(9), 9) == ()
        (claimed,) = await store.txt_records.claim(Lease("me", at(30)), at(10), 9)
        assert (claimed.lease_owner, claimed.lease_until, claimed.state) == ("me", at(30), TxtState.REMOVE)
        assert await store.txt_records.next_due() == at(30)
        assert await store.txt_records.claim(Lease("you", at(60)), at(20), 9) == ()
        (again,) = await store.txt_records.claim(Lease("you", at(60)), at(30), 9)
        with pytest.raises(Conflict):
            await store.txt_records.replace(claimed)
        await store.txt_records.replace(replace(again, lease_owner=None, lease_until=None, run_at=at(99)))
        assert await store.txt_records.next_due() == at(99)

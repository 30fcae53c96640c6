"""The part of the storage contract about writes of resources at the same moment."""

import asyncio

import pytest
from msgspec.structs import replace

from acmehub.models import Principal
from acmehub.ports.store import Conflict, Store
from acmehub.testing.store_samples import a_principal, at


class WritesContract:
    """Part of `StoreContract`."""

    async def test_of_two_replaces_at_once_one_wins(self, store: Store) -> None:
        principal = a_principal()
        await store.principals.add(principal)
        attempts = [store.principals.replace(replace(principal, name=f"p{number}")) for number in range(8)]
        results = await asyncio.gather(*attempts, return_exceptions=True)
        assert sum(isinstance(result, Principal) for result in results) == 1
        assert sum(isinstance(result, Conflict) for result in results) == 7

    async def test_a_row_that_is_needed_must_be_as_it_was_read_and_moves(self, store: Store) -> None:
        one, other, third = (a_principal(f"p{number}", created=at(number)) for number in range(3))
        for item in (one, other, third):
            await store.principals.add(item)
        changed = await store.principals.replace(replace(one, enabled=False), needed=[other])
        moved = await store.principals.get(other.id)
        assert moved == replace(other, version=2)
        for attempt in (
            store.principals.replace(replace(changed, name="late"), needed=[other]),
            store.principals.remove(changed, needed=[other]),
        ):
            with pytest.raises(Conflict) as caught:
                await attempt
            assert caught.value.field == "version"
        assert await store.principals.list() == (changed, moved, third)
        await store.principals.remove(changed, needed=[moved])
        assert await store.principals.list() == (replace(other, version=3), third)

    async def test_of_two_writes_each_of_which_needs_what_the_other_changes_one_is_done(self, store: Store) -> None:
        for number in range(8):
            one, other = a_principal(f"one {number}"), a_principal(f"other {number}")
            await store.principals.add(one)
            await store.principals.add(other)
            results = await asyncio.gather(
                store.principals.replace(replace(one, enabled=False), needed=[other]),
                store.principals.remove(other, needed=[one]),
                return_exceptions=True,
            )
            assert sum(isinstance(result, Conflict) for result in results) == 1, results
            assert sum(isinstance(result, Principal | None) for result in results) == 1, results

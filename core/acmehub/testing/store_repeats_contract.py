"""The part of the storage contract about clients that ask again: open orders, same CSRs, previous orders."""

from typing import Any

from msgspec.structs import replace

from acmehub.models import Order, OrderStatus
from acmehub.ports.store import Store
from acmehub.rules.orders import OrderBundle
from acmehub.testing.store_samples import Seed, an_account, at, sow


async def _place(store: Store, seed: Seed, second: float, name: str = "www.corp.test", **fields: Any) -> Order:
    bundle = seed.order(name, created=at(second))
    stored = OrderBundle(replace(bundle.order, **fields), bundle.authorizations)
    await store.orders.add(stored)
    return stored.order


async def _other(store: Store, seed: Seed) -> Seed:
    """The same with another account."""
    account, _ = await store.accounts.bind(an_account(seed.actor.token), lambda token, _: token)
    return replace(seed, actor=replace(seed.actor, account=account))


class RepeatsContract:
    """Part of `StoreContract`."""

    async def test_open_orders_are_the_accounts_pending_and_ready_ones_for_these_names(self, store: Store) -> None:
        seed = await sow(store)
        pending = await _place(store, seed, 1, status=OrderStatus.PENDING)
        ready = await _place(store, seed, 2, status=OrderStatus.READY)
        for status in (OrderStatus.PROCESSING, OrderStatus.VALID, OrderStatus.INVALID):
            await _place(store, seed, 3, status=status)
        await _place(store, seed, 4, "other.corp.test")
        await _place(store, await _other(store, seed), 5)
        account = seed.actor.account.id
        found = await store.orders.open_of(account, ready.name_set)
        assert [bundle.order for bundle in found] == [ready, pending]
        assert all(len(bundle.authorizations) == 1 for bundle in found)
        assert await store.orders.open_of(account, "nothing.corp.test") == ()
        assert await store.orders.open_of("another", ready.name_set) == ()

    async def test_the_same_csr_is_found_by_its_bytes_in_the_newest_valid_order_of_the_account(
        self, store: Store
    ) -> None:
        seed = await sow(store)
        valid: dict[str, Any] = {"status": OrderStatus.VALID, "csr": b"\x00csr"}
        await _place(store, seed, 1, **valid)
        newest = await _place(store, seed, 3, **valid)
        await _place(store, seed, 4, csr=b"\x00csr", status=OrderStatus.PROCESSING)
        await _place(store, seed, 5, csr=b"\x00csr!", status=OrderStatus.VALID)
        await _place(store, await _other(store, seed), 6, **valid)
        account = seed.actor.account.id
        assert await store.orders.same_csr(account, b"\x00csr", at(0)) == newest
        assert await store.orders.same_csr(account, b"\x00csr", at(3)) == newest
        assert await store.orders.same_csr(account, b"\x00csr", at(3.001)) is None
        assert await store.orders.same_csr(account, b"", at(0)) is None

    async def test_the_previous_order_is_the_accounts_newest_for_these_names_whatever_became_of_it(
        self, store: Store
    ) -> None:
        seed = await sow(store)
        account, name_set = seed.actor.account.id, "www.corp.test"
        assert await store.orders.previous(account, name_set) is None
        first = await _place(store, seed, 1, status=OrderStatus.INVALID)
        assert await store.orders.previous(account, name_set) == first
        second = await _place(store, seed, 2, status=OrderStatus.VALID)
        await _place(store, seed, 3, preauthorization=True)
        await _place(store, seed, 4, "other.corp.test")
        await _place(store, await _other(store, seed), 5)
        assert await store.orders.previous(account, name_set) == second
        for number in range(32):
            await _place(store, seed, 10 + number, f"n{number}.corp.test")
        assert await store.orders.previous(account, name_set) is None

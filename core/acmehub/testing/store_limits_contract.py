"""The part of the storage contract about limits: buckets, what clients may read, what is forgotten."""

import asyncio
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from acmehub.models import AuditEntry, AuditFilter, AuthorizationStatus, OrderStatus, Stage
from acmehub.models.identifiers import Identifier
from acmehub.ports.store import Store
from acmehub.rules.orders import Change, OrderBundle
from acmehub.rules.rate_limits import HOUR, SECOND, TokensLacking, TokensTaken, charge, limit
from acmehub.testing.store_samples import an_event, at, sow

NOW = 1_800_000_000 * SECOND
TEN = limit("ten", 10, HOUR, "things")
TWO = limit("two", 2, HOUR, "other things")


class LimitsContract:
    """Part of `StoreContract`."""

    async def test_tokens_are_taken_one_by_one_whatever_process_asks(
        self, store: Store, make_store: Callable[[], Store]
    ) -> None:
        other = make_store()
        await other.open()
        try:
            asked = [
                one.rate_limits.take([[charge(TEN, "a")], [charge(TEN, "a"), charge(TEN, "b")]], NOW)
                for one in (store, other) * 4
            ]
            results = [result for found in await asyncio.gather(*asked) for result in found]
        finally:
            await other.close()
        assert sum(isinstance(result, TokensTaken) for result in results) == 10
        assert all(isinstance(result, TokensTaken) or result.charge.key == "ten/a" for result in results)
        (again,) = await store.rate_limits.take([[charge(TEN, "a")]], NOW + TEN.interval)
        assert isinstance(again, TokensTaken)

    async def test_a_request_gets_all_its_tokens_or_none_and_one_that_is_refused_writes_nothing(
        self, store: Store
    ) -> None:
        both = [charge(TEN, "a"), charge(TWO, "a")]
        results = await store.rate_limits.take([both, both, both, [charge(TEN, "new")]], NOW)
        assert [isinstance(result, TokensTaken) for result in results] == [True, True, False, True]
        before = await store.rate_limits.load(NOW, 100)
        assert before == {
            "ten/a": NOW + 2 * TEN.interval,
            "two/a": NOW + 2 * TWO.interval,
            "ten/new": NOW + TEN.interval,
        }
        (refused,) = await store.rate_limits.take([[charge(TEN, "unknown"), charge(TWO, "a")]], NOW)
        assert refused == TokensLacking(charge(TWO, "a"), TWO.interval)
        assert await store.rate_limits.load(NOW, 100) == before
        assert await store.rate_limits.load(-1, 100) == before  # not even a bucket that is full

    async def test_buckets_are_stored_as_they_are_and_forgotten_when_they_are_full(self, store: Store) -> None:
        await store.rate_limits.save({"ten/a": NOW + 5, "ten/b": NOW + 7})
        await store.rate_limits.save({"ten/a": NOW + 9})
        await store.rate_limits.save({})
        assert await store.rate_limits.load(NOW + 7, 100) == {"ten/a": NOW + 9}
        assert len(await store.rate_limits.load(NOW, 1)) == 1
        await store.rate_limits.prune(NOW + 7)
        assert await store.rate_limits.load(0, 100) == {"ten/a": NOW + 9}

    async def test_open_orders_are_counted_no_further_than_asked(self, store: Store) -> None:
        seed = await sow(store)
        for number in range(4):
            await store.orders.add(seed.order(f"{number}.corp.test"))
        over = seed.order()
        await store.orders.add(OrderBundle(replace(over.order, status=OrderStatus.VALID), over.authorizations))
        account = seed.actor.account.id
        assert [await store.orders.open_count(account, most) for most in (3, 9)] == [3, 4]
        assert await store.orders.open_count("another", 9) == 0

    async def test_of_each_name_and_its_wildcard_the_longest_lasting_authorizations_are_read(
        self, store: Store
    ) -> None:
        seed = await sow(store)

        async def place(name: str, lasts: float, *, wildcard: bool = False, opened: float = 10) -> str:
            bundle = seed.order(name, created=at(opened))
            (item,) = bundle.authorizations
            item = replace(item, status=AuthorizationStatus.VALID, expires=at(lasts), wildcard=wildcard)
            await store.orders.add(OrderBundle(bundle.order, (item,)))
            return item.id

        [await place("a.corp.test", 100 + number) for number in range(3)]
        best, second = await place("A.corp.test", 300), await place("a.corp.test", 200)
        wild = await place("a.corp.test", 1, wildcard=True)
        await place("a.corp.test", 900, opened=1)  # of an order before `since`
        await place("b.corp.test", 900)
        pending = seed.order("a.corp.test")
        waits = replace(pending.authorizations[0], status=AuthorizationStatus.PENDING, expires=at(999))
        await store.orders.add(OrderBundle(pending.order, (waits,)))
        account = seed.actor.account.id
        found = await store.orders.valid_authorizations(account, ["a.corp.test"], at(5), 3)
        assert [item.id for item, _ in found] == [best, second, wild]
        assert {mode for _, mode in found} == {seed.order().order.mode}
        assert await store.orders.valid_authorizations("another", ["a.corp.test"], at(5)) == ()

    async def test_a_proof_of_an_address_is_found_too(self, store: Store) -> None:
        seed = await sow(store)
        bundle = seed.order("192.0.2.7")
        (item,) = bundle.authorizations
        item = replace(item, status=AuthorizationStatus.VALID, identifier=Identifier("ip", "192.0.2.7"))
        await store.orders.add(OrderBundle(bundle.order, (item,)))
        found = await store.orders.valid_authorizations(seed.actor.account.id, ["192.0.2.7"], at(-9))
        assert [one.id for one, _ in found] == [item.id]

    async def test_old_lines_of_timelines_go_when_their_order_has_ended(self, store: Store) -> None:
        seed = await sow(store)
        running, ended = seed.order(), seed.order()
        for bundle in (running, ended):
            lines = [replace(an_event(bundle.order), at=at(second)) for second in (1, 2, 50)]
            await store.orders.add(bundle, lines)
        await store.orders.apply(ended.order.id, _ended)
        line, looks = 0, 0
        while (last := await store.records.prune_timelines(at(10), line, 1)) is not None:
            line, looks = last, looks + 1
        assert looks == 2  # of the running order, whose third line is younger
        line = 0
        await store.records.prune_timelines(at(60), line, 100)
        left = {bundle.order.id: len(await store.records.timeline(bundle.order.id)) for bundle in (running, ended)}
        assert left == {running.order.id: 3, ended.order.id: 0}

    async def test_the_audit_is_found_by_what_it_says_and_read_in_pages(self, store: Store) -> None:
        said = (
            ("cli:alice (sudo)", "order.cancel", "order 1", True),
            ("account 7", "order.refused", "token 100%_", False),
            ("account 8", "orders.refused", "token a", False),
            ("cli:Alice", "order", "order 2", True),
            ("account 7", "finalize.refused", "order 1", False),
        )
        await store.records.audit(
            [
                AuditEntry(at=at(number), actor=actor, action=action, object=object, detail="why", allowed=allowed)
                for number, (actor, action, object, allowed) in enumerate(said)
            ]
        )
        everything = await store.records.audited()
        ids = [item.id for item in everything]
        assert ids == sorted(set(ids), reverse=True)
        assert [(item.actor, item.action, item.object, item.allowed) for item in reversed(everything)] == list(said)
        assert {(item.at, item.detail) for item in everything[:1]} == {(at(4), "why")}

        async def found(limit: int = 100, **given: Any) -> list[int]:
            """Which of the entries, by their place in `said`."""
            pages = {name: given.pop(name) for name in ("before", "after") if name in given}
            items = await store.records.audited(limit, AuditFilter(**given), **pages)
            return [len(said) - 1 - ids.index(item.id) for item in items]

        assert await found(actor="alice") == [0]  # no wildcards, capitals count, on both engines
        assert await found(object="%_") == [1]
        assert await found(object="_") == [1]
        assert await found(action="order") == [3, 1, 0]
        assert await found(action="order.refused") == [1]
        assert await found(since=at(1), until=at(4)) == [3, 2, 1]
        assert await found(refused=True) == [4, 2, 1]
        assert await found(refused=True, actor="account 7", until=at(4)) == [1]
        assert await found(actor="\0 nobody") == []
        assert await found(2, before=ids[1]) == [2, 1]
        assert await found(2, after=ids[3]) == [2, 3]
        assert await found(after=ids[0]) == []
        await store.records.audit([AuditEntry(at=at(70), actor="a", action="b", object="c")])
        assert (await store.records.audited())[0].id > ids[0]

    async def test_whether_a_nonce_was_used_is_read_without_using_it(self, store: Store) -> None:
        assert not await store.nonces.is_used("n")
        assert await store.nonces.use("n", at(60))
        assert await store.nonces.is_used("n")


def _ended(current: OrderBundle) -> Change:
    return Change(order=replace(current.order, stage=Stage.DONE, status=OrderStatus.VALID))

"""The part of the storage contract about orders: adding, reading, changing, listing."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from acmehub.models import (
    Authorization,
    AuthorizationMode,
    AuthorizationStatus,
    ChallengeType,
    Order,
    OrderStatus,
    Stage,
)
from acmehub.models.problems import ProblemDocument
from acmehub.ports.lists import OrderFilter
from acmehub.ports.store import Conflict, Fenced, Missing, Store
from acmehub.rules.orders import Change, OrderBundle
from acmehub.testing.store_samples import a_certificate, an_event, at, sow, unchanged

MakeStore = Callable[[], Store]

PROBLEM = ProblemDocument(type="urn:ietf:params:acme:error:caa", detail="CAA forbids it", status=403)


def _to(**fields: object) -> Callable[[OrderBundle], Change]:
    """A rule that sets fields of the order."""
    return lambda bundle: Change(order=replace(bundle.order, **fields))


class OrdersContract:
    """Orders with their authorizations."""

    async def test_an_order_is_read_as_it_was_written(self, store: Store) -> None:
        seed = await sow(store)
        bundle = seed.order("b.corp.test", "*.b.corp.test", "a.corp.test")
        await store.orders.add(bundle)
        assert await store.orders.get(bundle.order.id) == bundle
        for authorization in bundle.authorizations:
            assert await store.orders.authorization(authorization.id) == authorization
        assert await store.orders.get("none") is None
        assert await store.orders.authorization("none") is None

    async def test_every_field_of_an_order_can_be_changed(self, store: Store) -> None:
        seed = await sow(store)
        bundle = seed.order("a.corp.test", "b.corp.test")
        await store.orders.add(bundle)
        order, (one, two) = bundle.order, bundle.authorizations
        new = replace(
            order,
            status=OrderStatus.INVALID,
            mode=AuthorizationMode.VERIFY,
            profile="tls",
            not_before=at(1),
            not_after=at(2),
            replaces="aki.serial",
            error=PROBLEM,
            csr=b"\x30\x00",
            certificate_id="c",
            stage=Stage.FAILED,
            lock_key="f",
            upstream_url="https://ca.test/o/1",
            upstream_finalize="https://ca.test/o/1/f",
            upstream_certificate="https://ca.test/c/1",
            run_at=at(3),
            lease_owner="me",
            lease_until=at(4),
            fence=2**40,
            attempts=3,
            deadline=at(5),
        )
        changed = replace(
            one,
            status=AuthorizationStatus.INVALID,
            answered=ChallengeType.DNS_01,
            validated=at(1),
            error=PROBLEM,
            upstream_url="https://ca.test/a/1",
            upstream_challenge="https://ca.test/ch/1",
            upstream_status="invalid",
            responded=True,
        )
        event = an_event(order)
        result = await store.orders.apply(
            order.id, lambda _: Change(order=new, authorizations=(changed,), events=(event,))
        )
        assert result == OrderBundle(replace(new, version=2), (replace(changed, version=2), two))
        assert await store.orders.get(order.id) == result
        assert await store.records.timeline(order.id) == (event,)
        assert await store.orders.apply(order.id, _to(error=None, csr=None, run_at=None, lock_key=None)) == OrderBundle(
            replace(new, error=None, csr=None, run_at=None, lock_key=None, version=3), result.authorizations
        )

    async def test_a_rule_that_raises_leaves_everything_as_it_was(self, store: Store) -> None:
        seed = await sow(store)
        bundle = seed.order()
        await store.orders.add(bundle)

        def rule(stored: OrderBundle) -> Change:
            assert stored == bundle
            raise LookupError("no")

        with pytest.raises(LookupError):
            await store.orders.apply(bundle.order.id, rule)
        assert await store.orders.get(bundle.order.id) == bundle

    async def test_a_change_that_cannot_be_written_leaves_nothing_of_itself(self, store: Store) -> None:
        seed = await sow(store)
        bundle, other = seed.order(), seed.order()
        await store.orders.add(bundle)
        await store.orders.add(other)
        certificate = replace(a_certificate(bundle.order), order_id="not an order")

        def rule(stored: OrderBundle) -> Change:
            order = replace(stored.order, status=OrderStatus.INVALID)
            return Change(order=order, certificate=certificate, events=(an_event(order),))

        results = await asyncio.gather(
            store.orders.apply(bundle.order.id, rule),
            store.orders.apply(other.order.id, _to(attempts=7)),
            return_exceptions=True,
        )
        assert isinstance(results[0], Conflict)
        assert results[0].field == "references"
        assert await store.orders.get(bundle.order.id) == bundle
        assert await store.records.timeline(bundle.order.id) == ()
        stored = await store.orders.get(other.order.id)
        assert stored is not None
        assert stored.order.attempts == 7

    async def test_a_change_of_nothing_writes_nothing_and_is_no_news(self, store: Store) -> None:
        seed = await sow(store)
        bundle = seed.order()
        await store.orders.add(bundle)
        news: list[tuple[str, int]] = []
        end = store.subscribe(lambda *item: news.append(item))
        assert await store.orders.apply(bundle.order.id, unchanged) == bundle
        assert await store.orders.apply(bundle.order.id, _to(attempts=1)) != bundle
        await asyncio.sleep(0.2)
        end()
        assert [item for item in news if item[0]] == [(bundle.order.id, 2)]

    async def test_an_unknown_order_is_missing(self, store: Store) -> None:
        with pytest.raises(Missing):
            await store.orders.apply("none", unchanged)

    async def test_a_wrong_fence_is_refused_before_the_rule(self, store: Store) -> None:
        seed = await sow(store)
        bundle = seed.order()
        await store.orders.add(bundle)
        await store.orders.apply(bundle.order.id, unchanged, fence=0)

        def rule(_: OrderBundle) -> Change:
            raise AssertionError("asked")

        with pytest.raises(Fenced):
            await store.orders.apply(bundle.order.id, rule, fence=1)

    async def test_a_change_for_another_version_is_a_conflict(self, store: Store) -> None:
        seed = await sow(store)
        bundle = seed.order()
        await store.orders.add(bundle)
        await store.orders.apply(bundle.order.id, _to(attempts=1))
        with pytest.raises(Conflict) as caught:
            await store.orders.apply(bundle.order.id, lambda _: Change(order=replace(bundle.order, csr=b"late")))
        assert caught.value.field == "version"

    async def test_changes_of_one_order_at_once_all_count(self, store: Store, make_store: MakeStore) -> None:
        seed = await sow(store)
        bundle = seed.order()
        await store.orders.add(bundle)
        other = make_store()
        await other.open()

        def rule(stored: OrderBundle) -> Change:
            return Change(order=replace(stored.order, attempts=stored.order.attempts + 1))

        try:
            await asyncio.gather(
                *[keeper.orders.apply(bundle.order.id, rule) for keeper in (store, other) for _ in range(15)]
            )
        finally:
            await other.close()
        stored = await store.orders.get(bundle.order.id)
        assert stored is not None
        assert (stored.order.attempts, stored.order.version) == (30, 31)

    async def test_a_lock_is_held_by_one_order(self, store: Store) -> None:
        seed = await sow(store)
        one, two = seed.order(), seed.order()
        await store.orders.add(one)
        await store.orders.add(two)
        results = await asyncio.gather(
            *[store.orders.apply(item.order.id, _to(lock_key="ca names")) for item in (one, two)],
            return_exceptions=True,
        )
        refused = [result for result in results if isinstance(result, Conflict)]
        assert [conflict.field for conflict in refused] == ["lock_key"]
        holder = next(result for result in results if isinstance(result, OrderBundle)).order
        loser = two if holder.id == one.order.id else one
        await store.orders.apply(holder.id, _to(lock_key=None))
        await store.orders.apply(loser.order.id, _to(lock_key="ca names"))

    async def test_an_order_that_is_added_with_a_lock_that_is_held_is_not_stored(self, store: Store) -> None:
        seed = await sow(store)
        one, two = (
            replace(item, order=replace(item.order, lock_key="ca names")) for item in (seed.order(), seed.order())
        )
        await store.orders.add(one)
        with pytest.raises(Conflict) as conflict:
            await store.orders.add(two, (an_event(two.order),))
        assert conflict.value.field == "lock_key"
        assert await store.orders.get(two.order.id) is None
        free = replace(two, order=replace(two.order, lock_key=None))
        await store.orders.add(free, (an_event(two.order),))
        assert await store.orders.get(two.order.id) == free

    async def test_an_order_is_read_as_it_was_stored_since_a_version_at_least(self, store: Store) -> None:
        seed = await sow(store)
        bundle = seed.order()
        await store.orders.add(bundle)
        after = await store.orders.apply(bundle.order.id, _to(attempts=1))
        for version in (0, 1, 2, 3):
            assert await store.orders.get(bundle.order.id, version=version) == after
        assert await store.orders.get("none", version=1) is None

    async def test_an_upstream_order_has_one_holder_of_a_lock(self, store: Store) -> None:
        seed = await sow(store)
        one, two = seed.order(), seed.order()
        for key, item in (("f", one), ("g", two)):
            await store.orders.add(item)
            await store.orders.apply(item.order.id, _to(lock_key=key))
        results = await asyncio.gather(
            *[store.orders.apply(item.order.id, _to(upstream_url="u")) for item in (one, two)], return_exceptions=True
        )
        assert [item.field for item in results if isinstance(item, Conflict)] == ["upstream_url"]
        holder = next(result for result in results if isinstance(result, OrderBundle)).order
        loser = two if holder.id == one.order.id else one
        await store.orders.apply(holder.id, _to(lock_key=None, stage=Stage.DONE))
        await store.orders.apply(loser.order.id, _to(upstream_url="u"))

    async def test_giving_a_lock_up_makes_those_that_wait_due_at_once(self, store: Store) -> None:
        seed = await sow(store)
        holder = seed.order("a.corp.test")
        waiting = [seed.order("a.corp.test") for _ in range(2)]
        asleep, elsewhere = seed.order("a.corp.test"), seed.order("b.corp.test")
        for bundle in (holder, *waiting, asleep, elsewhere):
            await store.orders.add(bundle)
        await store.orders.apply(holder.order.id, _to(lock_key="f", stage=Stage.AUTHORIZING, run_at=None))
        later = holder.order.created + timedelta(days=10_000)
        for bundle in (*waiting, elsewhere):
            await store.orders.apply(bundle.order.id, _to(run_at=later))
        await store.orders.apply(asleep.order.id, _to(run_at=None))
        news: list[tuple[str, int]] = []
        store.subscribe(lambda *item: news.append(item))
        await store.orders.apply(holder.order.id, _to(lock_key=None))
        for bundle in waiting:
            stored = await store.orders.get(bundle.order.id)
            assert stored is not None
            assert stored.order.run_at is not None
            assert stored.order.run_at < later
            assert stored.order.version == 3
        for bundle, expected in ((elsewhere, later), (asleep, None)):
            stored = await store.orders.get(bundle.order.id)
            assert stored is not None
            assert stored.order.run_at == expected
        await asyncio.sleep(0.2)
        assert set(news) - {("", 0)} == {(holder.order.id, 3), *((bundle.order.id, 3) for bundle in waiting)}

    async def test_holders_have_the_lock_or_the_upstream_order(self, store: Store) -> None:
        seed = await sow(store)
        me, flying, same, done = seed.order(), seed.order(), seed.order(), seed.order()
        for bundle in (me, flying, same, done):
            await store.orders.add(bundle)
        await store.orders.apply(me.order.id, _to(upstream_url="u"))
        await store.orders.apply(flying.order.id, _to(lock_key="f"))
        await store.orders.apply(same.order.id, _to(lock_key="g", upstream_url="u"))
        await store.orders.apply(done.order.id, _to(upstream_url="u", stage=Stage.DONE))

        async def ids(**wanted: str) -> set[str]:
            return {order.id for order in await store.orders.lock_holders(me.order.id, **wanted)}

        assert await ids(lock_key="f") == {flying.order.id}
        assert await ids(upstream_url="u") == {same.order.id}
        assert await ids(lock_key="f", upstream_url="u") == {flying.order.id, same.order.id}
        assert await ids() == set()

    async def test_the_chain_is_stored_with_the_order_that_becomes_valid(self, store: Store) -> None:
        seed = await sow(store)
        bundle = seed.order("a.corp.test", "a.corp.test", "b.corp.test")
        await store.orders.add(bundle)
        certificate = a_certificate(bundle.order)
        result = await store.orders.apply(
            bundle.order.id,
            lambda stored: Change(
                order=replace(stored.order, status=OrderStatus.VALID, certificate_id=certificate.id),
                certificate=certificate,
            ),
        )
        assert result.order.certificate_id == certificate.id
        assert await store.certificates.get(certificate.id) == certificate

    async def test_a_scheduled_removal_turns_every_record_of_the_order_and_no_other(self, store: Store) -> None:
        seed = await sow(store)
        mine, other = seed.order(), seed.order()
        await store.orders.add(mine)
        await store.orders.add(other)
        records = (seed.record(mine, "one"), replace(seed.record(mine, "two"), run_at=None))
        foreign = seed.record(other)
        await store.orders.apply(mine.order.id, lambda stored: Change(order=stored.order, records=records))
        await store.orders.apply(other.order.id, lambda stored: Change(order=stored.order, records=(foreign,)))
        assert set(await store.txt_records.of_order(mine.order.id)) == set(records)
        await store.orders.apply(mine.order.id, lambda stored: Change(order=stored.order, schedule_removal=True))
        turned = await store.txt_records.of_order(mine.order.id)
        assert {(record.value, record.state.value, record.version) for record in turned} == {
            ("one", "remove", 2),
            ("two", "remove", 2),
        }
        assert await store.txt_records.of_order(other.order.id) == (foreign,)

    async def test_orders_are_listed_newest_first_by_status_and_account(self, store: Store) -> None:
        seed = await sow(store)
        bundles = [seed.order(created=at(n // 2)) for n in range(6)]  # pairs of the same moment
        for bundle in bundles:
            await store.orders.add(bundle)
        expected = sorted((b.order for b in bundles), key=lambda o: (o.created, o.id), reverse=True)
        account = seed.actor.account.id
        assert await store.orders.list() == tuple(expected)
        assert await store.orders.list(OrderFilter(account_id=account), limit=2) == tuple(expected[:2])
        assert await store.orders.list(after=expected[1].id, limit=3) == tuple(expected[2:5])
        assert await store.orders.list(OrderFilter(account_id="another")) == ()
        assert await store.orders.list(after="unknown") == ()
        await store.orders.apply(expected[2].id, _to(status=OrderStatus.INVALID))
        assert [o.id for o in await store.orders.list(OrderFilter(status=OrderStatus.INVALID, account_id=account))] == [
            expected[2].id
        ]
        assert len(await store.orders.list(OrderFilter(status=OrderStatus.PENDING))) == 5
        ids = [order.id for order in expected if order is not expected[2]]
        assert await store.orders.of_account(account) == (tuple(ids), "")
        assert await store.orders.of_account(account, limit=2) == (tuple(ids[:2]), ids[1])
        assert await store.orders.of_account(account, after=ids[1], limit=2) == (tuple(ids[2:3]), ids[2])
        assert await store.orders.of_account(account, after=ids[-1], limit=2) == ((), "")
        assert await store.orders.of_account("another") == ((), "")

    async def test_lapsed_orders_are_those_that_the_client_let_expire(self, store: Store) -> None:
        seed = await sow(store)
        old, new, working = seed.order(), seed.order(), seed.order()
        for bundle, expires, status in (
            (old, at(10), OrderStatus.READY),
            (new, at(30), OrderStatus.PENDING),
            (working, at(10), OrderStatus.PROCESSING),
        ):
            order: Order = replace(bundle.order, expires=expires, status=status)
            authorizations: tuple[Authorization, ...] = bundle.authorizations
            await store.orders.add(OrderBundle(order, authorizations))
        assert await store.orders.lapsed(at(9), 10) == ()
        assert await store.orders.lapsed(at(10), 10) == (old.order.id,)
        assert await store.orders.lapsed(at(99), 10) == (old.order.id, new.order.id)
        assert await store.orders.lapsed(at(99), 1) == (old.order.id,)

"""The part of the storage contract about work: claims, leases, removals of TXT records, news of changes."""

import asyncio
import random
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from acmehub.models import AuthorizationMode, Certificate, EventKind, OrderStatus, Stage
from acmehub.ports.lists import CertificateFilter
from acmehub.ports.store import Fenced, Store
from acmehub.rules.orders import Change, Lease, OrderBundle
from acmehub.testing.store_samples import a_certificate, an_event, at, sow, unchanged
from acmehub.testing.store_txt_contract import TxtContract

MakeStore = Callable[[], Store]


def _run_at(seconds: float | None) -> Callable[[OrderBundle], Change]:
    return lambda bundle: Change(
        order=replace(
            bundle.order,
            run_at=None if seconds is None else at(seconds),
            lease_owner=None,
            lease_until=None,
        )
    )


def _over(certificate: Certificate | None = None) -> Callable[[OrderBundle], Change]:
    """The order's end: with a certificate done, else failed."""
    stage, status = (Stage.DONE, OrderStatus.VALID) if certificate else (Stage.FAILED, OrderStatus.INVALID)
    return lambda bundle: Change(
        order=replace(
            bundle.order, stage=stage, status=status, run_at=None, certificate_id=certificate and certificate.id
        ),
        certificate=certificate,
    )


class JobsContract(TxtContract):
    """An order as a job; TXT records; subscriptions."""

    async def test_due_orders_are_claimed_oldest_first_with_their_authorizations(self, store: Store) -> None:
        seed = await sow(store)
        bundles = [seed.order(f"{n}.corp.test", "x.corp.test", created=at(-n)) for n in range(3)]
        early = seed.order(created=at(60))
        for bundle in (*bundles, early):
            await store.orders.add(bundle)
        claimed = await store.orders.claim(Lease("me", at(30)), at(0), 2)
        assert [bundle.order.id for bundle in claimed] == [bundles[2].order.id, bundles[1].order.id]
        assert claimed[0].authorizations == bundles[2].authorizations
        order = claimed[0].order
        assert (order.lease_owner, order.lease_until, order.fence) == ("me", at(30), 1)
        assert await store.orders.get(order.id) == claimed[0]
        rest = await store.orders.claim(Lease("me", at(30)), at(0), 10)
        assert [bundle.order.id for bundle in rest] == [bundles[0].order.id]
        assert await store.orders.claim(Lease("me", at(30)), at(0), 10) == ()

    async def test_an_older_order_is_claimed_first_although_it_was_due_later_and_none_before_it_is_due(
        self, store: Store
    ) -> None:
        seed = await sow(store)
        old, new, older = seed.order(created=at(-90)), seed.order(created=at(-50)), seed.order(created=at(-100))
        for bundle in (old, new, older):
            await store.orders.add(bundle)
        await store.orders.apply(old.order.id, _run_at(-1))
        await store.orders.apply(older.order.id, _run_at(5))
        claimed = await store.orders.claim(Lease("me", at(30)), at(0), 1)
        assert [bundle.order.id for bundle in claimed] == [old.order.id]
        claimed = await store.orders.claim(Lease("me", at(30)), at(0), 9)
        assert [bundle.order.id for bundle in claimed] == [new.order.id]
        assert await store.orders.next_due() == at(5)
        claimed = await store.orders.claim(Lease("me", at(40)), at(31), 9)
        assert [bundle.order.id for bundle in claimed] == [older.order.id, old.order.id, new.order.id]

    async def test_many_orders_are_claimed_at_once(self, store: Store) -> None:
        seed = await sow(store)
        bundles = [seed.order(created=at(n - 100)) for n in range(40)]
        for bundle in bundles:
            await store.orders.add(bundle)
        claimed = await store.orders.claim(Lease("me", at(30)), at(0), 64)
        assert [(b.order.id, b.authorizations) for b in claimed] == [(b.order.id, b.authorizations) for b in bundles]

    async def test_orders_of_full_groups_are_passed_over(self, store: Store) -> None:
        seed = await sow(store)
        (first, second) = (seed.order(f"{n}.corp.test", created=at(-9 + n)) for n in range(2))
        elsewhere = replace(second.order, mode=AuthorizationMode.VERIFY)
        await store.orders.add(first)
        await store.orders.add(OrderBundle(elsewhere, second.authorizations))
        order = first.order
        every = [
            frozenset({order.authority_id}),
            frozenset({order.principal_id}),
            frozenset({"x", order.mode.value, "verify"}),
            frozenset({f"{order.authority_id} {order.mode.value}", f"{order.authority_id} verify"}),
        ]
        for full in every:
            assert await store.orders.claim(Lease("me", at(30)), at(0), 9, full) == ()
        spared = frozenset({f"{order.authority_id} {order.mode.value}", order.id, order.authority_id[:-1]})
        claimed = await store.orders.claim(Lease("me", at(30)), at(0), 9, spared)
        assert [bundle.order.id for bundle in claimed] == [elsewhere.id]
        assert await store.orders.next_due() == at(-9)
        assert await store.orders.next_due(at(0)) == at(30)

    async def test_two_claimers_never_get_the_same_order(self, store: Store, make_store: MakeStore) -> None:
        seed = await sow(store)
        for n in range(40):
            await store.orders.add(seed.order(created=at(-n)))
        other = make_store()
        await other.open()
        got: list[str] = []

        async def work(keeper: Store, owner: str) -> None:
            while claimed := await keeper.orders.claim(Lease(owner, at(30)), at(0), 3):
                got.extend(bundle.order.id for bundle in claimed)

        try:
            await asyncio.gather(*[work(keeper, f"{n}") for n in range(3) for keeper in (store, other)])
        finally:
            await other.close()
        assert len(got) == len(set(got)) == 40

    async def test_a_lease_that_is_over_is_claimed_again_and_the_old_fence_refused(self, store: Store) -> None:
        seed = await sow(store)
        await store.orders.add(seed.order())
        (first,) = await store.orders.claim(Lease("one", at(30)), at(0), 9)
        order_id = first.order.id
        assert await store.orders.claim(Lease("two", at(59)), at(29.9), 9) == ()
        (second,) = await store.orders.claim(Lease("two", at(60)), at(30), 9)
        assert second.order.fence == 2
        with pytest.raises(Fenced):
            await store.orders.apply(order_id, unchanged, fence=first.order.fence)
        assert not await store.orders.renew(order_id, first.order.fence, at(90))
        assert await store.orders.get(order_id) == second
        assert await store.orders.renew(order_id, second.order.fence, at(90))
        renewed = await store.orders.get(order_id)
        assert renewed is not None
        assert renewed.order.lease_until == at(90)
        assert await store.orders.next_due() == at(90)
        await store.orders.apply(order_id, _run_at(None), fence=second.order.fence)
        assert not await store.orders.renew(order_id, second.order.fence, at(120))
        assert await store.orders.next_due() is None

    async def test_the_next_due_moment_counts_leases(self, store: Store) -> None:
        seed = await sow(store)
        assert await store.orders.next_due() is None
        one, two = seed.order(created=at(10)), seed.order(created=at(50))
        await store.orders.add(one)
        assert await store.orders.next_due() == at(10)
        await store.orders.add(two)
        await store.orders.claim(Lease("me", at(40)), at(10), 1)
        assert await store.orders.next_due() == at(40)
        await store.orders.renew(one.order.id, 1, at(70))
        assert await store.orders.next_due() == at(50)
        await store.orders.apply(one.order.id, _run_at(45))
        assert await store.orders.next_due() == at(45)

    async def test_a_lease_that_ends_before_the_order_is_due_does_not_count(self, store: Store) -> None:
        seed = await sow(store)
        bundle = seed.order(created=at(10))
        order = replace(bundle.order, lease_owner="me", lease_until=at(5))
        await store.orders.add(OrderBundle(order, bundle.authorizations))
        assert await store.orders.next_due() == at(10)

    async def test_what_waits_after_a_failure_of_a_kind_is_woken_and_nothing_else(self, store: Store) -> None:
        seed = await sow(store)
        later = at(3_000_000_000)
        away, refused, limited = EventKind.CA_UNAVAILABLE, EventKind.DNS_PROVIDER_REFUSED, EventKind.CA_RATE_LIMITED

        async def waiting(*kinds: EventKind, attempts: int = 3, record: bool = False) -> str:
            bundle = seed.order()
            order = replace(bundle.order, run_at=later, attempts=attempts)
            await store.orders.add(OrderBundle(order, bundle.authorizations), [an_event(order, kind) for kind in kinds])
            if record:
                records = (seed.record(bundle),)
                await store.orders.apply(order.id, lambda stored: Change(order=stored.order, records=records))
            return order.id

        async def woken(*order_ids: str) -> list[bool]:
            found = [await store.orders.get(order_id) for order_id in order_ids]
            return [item is not None and item.order.run_at is not None and item.order.run_at < later for item in found]

        first, second = await waiting(limited, away), await waiting(refused, record=True)
        others = (await waiting(away, limited), await waiting(away, attempts=0), await waiting())
        unheard, heard = {first, second}, asyncio.Event()

        def hear(order_id: str, _version: int) -> None:
            unheard.discard(order_id)
            if not unheard:
                heard.set()

        end = store.subscribe(hear)
        assert await store.orders.wake({away}, authority_id="another") == 0
        assert await store.orders.wake({refused}, challenge_id="another") == 0
        assert await woken(first, second, *others) == [False] * 5
        assert await store.orders.wake({away, refused}, authority_id=seed.authority.id, challenge_id="another") == 1
        assert await woken(first, second, *others) == [True] + [False] * 4
        assert await store.orders.wake({away, refused}, challenge_id=seed.managed_challenge.id) == 1
        assert await store.orders.wake({away, refused}) == 0
        assert await woken(first, second, *others) == [True, True] + [False] * 3
        async with asyncio.timeout(5):
            await heard.wait()
        end()

    async def test_subscribers_hear_of_changes_by_this_and_by_another_process(
        self, store: Store, make_store: MakeStore
    ) -> None:
        seed = await sow(store)
        bundle = seed.order()
        heard: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        end = store.subscribe(lambda *news: heard.put_nowait(news))
        await store.orders.add(bundle)
        async with asyncio.timeout(5):
            while (news := await heard.get()) == ("", 0):  # an engine may say so when it has connected
                pass
            assert news == (bundle.order.id, 1)
        other = make_store()
        await other.open()
        try:
            await other.orders.apply(bundle.order.id, _run_at(5))
            async with asyncio.timeout(5):
                assert await heard.get() in (("", 0), (bundle.order.id, 2))
            await asyncio.sleep(0.1)
            end()
            while not heard.empty():
                heard.get_nowait()
            await store.orders.apply(bundle.order.id, _run_at(6))
            await asyncio.sleep(0.2)
            assert heard.empty()
        finally:
            await other.close()

    async def test_callers_that_are_cancelled_harm_nobody(self, store: Store) -> None:
        seed = await sow(store)
        bundles = [seed.order(created=at(-n)) for n in range(10)]
        for bundle in bundles:
            await store.orders.add(bundle)
        dice = random.Random(7)

        def rule(stored: OrderBundle) -> Change:
            return Change(order=replace(stored.order, attempts=stored.order.attempts + 1))

        async def call() -> None:
            order_id = dice.choice(bundles).order.id
            await store.orders.apply(order_id, rule)
            await store.orders.get(order_id)
            await store.orders.claim(Lease("me", at(1)), at(0), 1)
            await store.orders.list(limit=3)

        running: set[asyncio.Task[None]] = set()
        for _ in range(300):
            task = asyncio.create_task(call())
            running.add(task)
            await asyncio.sleep(dice.random() * 0.004)
            dice.choice(list(running)).cancel()
        await asyncio.gather(*running, return_exceptions=True)
        async with asyncio.timeout(20):
            for bundle in bundles:
                before = await store.orders.get(bundle.order.id)
                after = await store.orders.apply(bundle.order.id, rule)
                assert before is not None
                assert after.order.attempts == before.order.attempts + 1
            await store.ping()

    async def test_what_is_long_over_is_forgotten_with_all_that_belongs_to_it(self, store: Store) -> None:
        seed = await sow(store)
        done, failed, running, fresh = (seed.order(created=at(n)) for n in (0, 1, 2, 1000))
        for bundle in (done, failed, running, fresh):
            await store.orders.add(bundle, (an_event(bundle.order),))
        certificate = replace(a_certificate(done.order), not_after=at(500))
        await store.orders.apply(done.order.id, _over(certificate))
        for bundle in (failed, fresh):
            await store.orders.apply(bundle.order.id, _over())
        assert await store.orders.prune(at(1000), 10) == 2
        assert [await store.orders.get(item.order.id) is None for item in (done, failed, running, fresh)] == [
            True,
            True,
            False,
            False,
        ]
        assert await store.orders.authorization(done.authorizations[0].id) is None
        assert await store.certificates.get(certificate.id) is None
        assert await store.certificates.list(CertificateFilter(name=certificate.names[0])) == ()
        assert await store.records.timeline(failed.order.id) == ()
        assert len(await store.records.timeline(running.order.id)) == 1
        assert await store.orders.prune(at(1000), 10) == 0

    async def test_an_order_is_kept_while_its_certificate_is_valid_or_a_record_stands(self, store: Store) -> None:
        seed = await sow(store)
        valid, littering = seed.order(created=at(0)), seed.order(created=at(1))
        for bundle in (valid, littering):
            await store.orders.add(bundle)
        certificate = replace(a_certificate(valid.order), not_after=at(2000))
        await store.orders.apply(valid.order.id, _over(certificate))
        record = seed.record(littering)
        await store.orders.apply(littering.order.id, lambda bundle: Change(order=bundle.order, records=(record,)))
        await store.orders.apply(littering.order.id, _over())
        assert await store.orders.prune(at(1000), 10) == 0
        await store.txt_records.remove(record)
        assert await store.orders.prune(at(1000), 10) == 1
        assert await store.orders.get(valid.order.id) is not None

    async def test_no_more_than_asked_for_is_forgotten_the_oldest_first(self, store: Store) -> None:
        seed = await sow(store)
        bundles = [seed.order(created=at(n)) for n in range(3)]
        for bundle in reversed(bundles):
            await store.orders.add(bundle)
            await store.orders.apply(bundle.order.id, _over())
        assert await store.orders.prune(at(1000), 2) == 2
        assert [await store.orders.get(item.order.id) is None for item in bundles] == [True, True, False]

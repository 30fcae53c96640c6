"""What a storage must do for figures: what orders failed of, when certificates end, which renewals are late, counts."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from acmehub.models import Certificate, Event, EventKind, Order, OrderStatus, Stage, TxtState, new_id
from acmehub.models.problems import Problem, ProblemType
from acmehub.ports.figures import CertificateState, ExpiryBucket
from acmehub.ports.store import Store
from acmehub.rules.orders import Change, Lease, OrderBundle
from acmehub.testing.store_samples import Seed, a_certificate, a_principal, a_token, an_account, at, sow

DAY = 86_400


async def _other_principal(store: Store, seed: Seed) -> Seed:
    principal = a_principal("other")
    token = a_token(principal)
    await store.principals.add(principal)
    await store.tokens.add(token)
    account, _ = await store.accounts.bind(an_account(token), lambda token, _: token)
    actor = await store.accounts.actor(account.id)
    assert actor is not None
    return Seed(actor, seed.authority, seed.managed_challenge)


async def _failed(store: Store, seed: Seed, opened: float, failed: float, kind: EventKind, *, record: bool) -> Order:
    """An order that has failed after a trouble of this kind."""
    bundle = seed.order(created=at(opened))
    await store.orders.add(bundle)
    problem = Problem(ProblemType.DNS if record else ProblemType.RATE_LIMITED, 'of "this"').document()
    events = [
        Event(order_id=bundle.order.id, at=at(failed), kind=each)
        for each in (EventKind.CA_UNAVAILABLE, kind, EventKind.ORDER_FAILED)
    ]
    events.append(Event(order_id=bundle.order.id, at=at(failed + 9), kind=EventKind.TXT_REMOVED))

    def rule(now: OrderBundle) -> Change:
        over = replace(now.order, status=OrderStatus.INVALID, stage=Stage.FAILED, error=problem, run_at=None)
        return Change(order=over, events=tuple(events), records=(seed.record(now),) if record else ())

    return (await store.orders.apply(bundle.order.id, rule)).order


async def _certified(store: Store, seed: Seed, begin: float, end: float, name: str, **fields: Any) -> Certificate:
    """One that is valid from and until so many days after `at(0)`; its order is over."""
    bundle = seed.order(name, created=at(begin * DAY))
    dates = {"not_before": at(begin * DAY), "not_after": at(end * DAY)}
    certificate = replace(a_certificate(bundle.order, created=at(begin * DAY)), **{**dates, **fields})

    def rule(now: OrderBundle) -> Change:
        over = replace(now.order, status=OrderStatus.VALID, stage=Stage.DONE, run_at=None)
        return Change(order=over, certificate=certificate)

    await store.orders.add(bundle)
    await store.orders.apply(bundle.order.id, rule)
    return certificate


def _changed(event: Event, fields: dict[str, Any]) -> Callable[[OrderBundle], Change]:
    return lambda now: Change(order=replace(now.order, **fields), events=(event,))


class FiguresContract:
    """Part of `StoreContract`."""

    async def test_failed_orders_are_counted_by_what_they_failed_of(self, store: Store) -> None:
        one = await sow(store)
        two = await _other_principal(store, one)
        for seed, opened, failed in ((one, 10, 50), (two, 20, 40), (one, 11, 60)):
            await _failed(store, seed, opened, failed, EventKind.DNS_PROVIDER_REFUSED, record=True)
        limited = await _failed(store, two, 12, 45, EventKind.CA_RATE_LIMITED, record=False)
        await _failed(store, one, 5, 6, EventKind.CA_RATE_LIMITED, record=False)  # failed before
        await _failed(store, one, 1, 70, EventKind.CA_RATE_LIMITED, record=False)  # opened before
        await store.orders.add(one.order(created=at(50)))

        dns, rate = await store.orders.causes(at(30), at(2))
        mine, others = one.actor.principal.id, two.actor.principal.id
        assert (dns.authority_id, dns.managed_challenge_id) == (one.authority.id, one.managed_challenge.id)
        assert (dns.problem, dns.trouble) == (ProblemType.DNS.urn, EventKind.DNS_PROVIDER_REFUSED)
        assert (dns.count, dns.first, dns.last) == (3, at(40), at(60))
        assert dns.principals == {mine: 2, others: 1}
        assert (rate.count, rate.order_id, rate.managed_challenge_id) == (1, limited.id, "")
        assert (rate.problem, rate.trouble) == (ProblemType.RATE_LIMITED.urn, EventKind.CA_RATE_LIMITED)
        (narrowed,) = await store.orders.causes(at(30), at(2), frozenset({mine, "nobody"}))
        assert (narrowed.count, narrowed.principals, narrowed.first) == (2, {mine: 2}, at(50))
        assert await store.orders.causes(at(30), at(2), frozenset()) == ()

    async def test_events_of_one_change_are_told_in_their_order(self, store: Store) -> None:
        seed = await sow(store)
        bundle = seed.order()
        await store.orders.add(bundle)
        kinds = [EventKind.CA_UNAVAILABLE, EventKind.CA_REFUSED, EventKind.NOTED, EventKind.ORDER_FAILED]
        events = tuple(Event(order_id=bundle.order.id, at=at(0), kind=kind) for kind in kinds)
        for _ in range(2):
            await store.orders.apply(bundle.order.id, lambda now: Change(order=now.order, events=events))
        assert [event.kind for event in await store.records.timeline(bundle.order.id)] == kinds * 2

    async def test_orders_that_wait_after_a_failure_are_counted_by_what_they_wait_for(self, store: Store) -> None:
        one = await sow(store)
        two = await _other_principal(store, one)
        for seed, opened, attempts in ((one, 10, 1), (two, 20, 3), (one, 30, 0), (one, 40, 2)):
            bundle = seed.order(created=at(opened))
            await store.orders.add(bundle)
            event = Event(order_id=bundle.order.id, at=at(99), kind=EventKind.CA_UNAVAILABLE)
            fields: dict[str, Any] = {"attempts": attempts}
            if opened == 40:
                fields |= {"status": OrderStatus.INVALID, "stage": Stage.FAILED}
            await store.orders.apply(bundle.order.id, _changed(event, fields))
        (cause,) = await store.orders.waiting()
        assert (cause.count, cause.first, cause.last) == (2, at(10), at(20))
        assert (cause.trouble, cause.authority_id) == (EventKind.CA_UNAVAILABLE, one.authority.id)
        (narrowed,) = await store.orders.waiting(frozenset({two.actor.principal.id}))
        assert (narrowed.count, narrowed.principals) == (1, {two.actor.principal.id: 1})

    async def test_ends_of_certificates_are_counted_in_steps(self, store: Store) -> None:
        one = await sow(store)
        two = await _other_principal(store, one)
        begin = at(0).replace(microsecond=0)
        ends = [
            await _certified(store, one, -9, 0, "a.corp.test", not_after=begin),
            await _certified(store, one, -9, 0, "b.corp.test", not_after=begin + timedelta(days=1, seconds=-1)),
            await _certified(store, two, -9, 0, "a.corp.test", not_after=begin + timedelta(days=1)),
        ]
        await _certified(store, one, -9, 1, "r.corp.test", revoked=at(0))
        await _certified(store, one, -9, 0, "d.corp.test", not_after=begin + timedelta(days=2))
        step, until = timedelta(days=1), begin + timedelta(days=2)
        assert ends[0].not_after == begin
        assert await store.certificates.expiry(begin, step, until) == (
            ExpiryBucket(begin, 2, 1),
            ExpiryBucket(begin + step, 1, 1),
        )
        some = frozenset({two.actor.principal.id})
        assert await store.certificates.expiry(begin, step, until, some) == (
            ExpiryBucket(begin),
            ExpiryBucket(begin + step, 1, 1),
        )
        assert len(await store.certificates.expiry(begin, step, until + timedelta(hours=1))) == 3

    async def test_renewals_that_are_late_are_found_by_the_window_and_only_while_no_order_is_open(
        self, store: Store
    ) -> None:
        one = await sow(store)
        two = await _other_principal(store, one)
        long = await _certified(store, one, -64, 26, "long.corp.test")  # 29 % are left; the window ends at 30 %
        short = await _certified(store, two, -4, 3, "short.corp.test")  # 43 % of a week; its window ends at 47 %
        over = await _certified(store, one, -100, -10, "over.corp.test")
        told = await _certified(
            store, one, -9, 81, "told.corp.test", window_start=at(-99), window_end=at(-9), window_until=at(DAY)
        )
        await _certified(store, one, -62, 28, "fresh.corp.test")
        await _certified(store, two, -4, 4, "new.corp.test")
        far = {"window_start": at(9), "window_end": at(DAY), "window_until": at(-DAY / 2)}
        await _certified(store, one, -64, 26, "waits.corp.test", **far)  # the CA says: later
        stale = await _certified(store, one, -64, 26.5, "stale.corp.test", **{**far, "window_until": at(-2 * DAY)})
        await _certified(store, one, -99, -40, "gone.corp.test")
        await _certified(store, one, -64, 26, "covered.corp.test")
        await _certified(store, one, -1, 89, "covered.corp.test")
        await _certified(store, one, -64, 26, "revoked.corp.test", revoked=at(0))
        await _certified(store, one, -64, 26, "ordered.corp.test")
        await store.orders.add(two.order("ordered.corp.test"))

        found = await store.certificates.late(at(0), 10)
        assert [item.id for item in found] == [item.id for item in (over, short, long, stale, told)]
        assert [item.id for item in await store.certificates.late(at(0), 2)] == [over.id, short.id]
        some = frozenset({two.actor.principal.id, "nobody"})
        assert [item.id for item in await store.certificates.late(at(0), 10, some)] == [short.id]

    async def test_what_there_is_is_counted(self, store: Store) -> None:
        empty = await store.counts(at(0))
        assert (empty.open_orders, empty.certificates, empty.txt_records) == ({}, {}, {})
        assert (empty.due_since, empty.claimed) == (None, 0)
        seed = await sow(store)
        for second in (-50, -40, 50):
            await store.orders.add(seed.order(f"a{second}.corp.test", created=at(second)))
        (claimed,) = await store.orders.claim(Lease("me", at(30)), at(0), 1)
        records = tuple(
            replace(seed.record(claimed), id=new_id(), state=state) for state in (*TxtState, TxtState.REMOVE)
        )
        await store.orders.apply(claimed.order.id, lambda now: Change(order=now.order, records=records))
        await _certified(store, seed, -9, 9, "a.corp.test")
        await _certified(store, seed, -9, 9, "b.corp.test", revoked=at(0))
        await _certified(store, seed, -9, -1, "c.corp.test", revoked=at(0))
        await _certified(store, seed, -9, -1, "d.corp.test")
        counts = await store.counts(at(0))
        assert counts.open_orders == {claimed.order.stage: 3}
        assert counts.certificates == {
            CertificateState.VALID: 1,
            CertificateState.REVOKED: 1,
            CertificateState.EXPIRED: 2,
        }
        assert counts.txt_records == {TxtState.PLANNED: 1, TxtState.PRESENT: 1, TxtState.REMOVE: 2}
        assert (counts.due_since, counts.claimed) == (at(-40), 1)
        assert (await store.counts(at(31))).claimed == 0

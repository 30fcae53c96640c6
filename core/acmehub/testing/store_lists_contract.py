"""What a storage must do for operators who look for something: lists with filters, ids by how they begin."""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

from msgspec.structs import asdict, replace

from acmehub.models import (
    Account,
    AccountStatus,
    Certificate,
    Event,
    EventKind,
    Order,
    OrderStatus,
    Stage,
    TxtRecord,
    new_id,
)
from acmehub.models.events import TROUBLES
from acmehub.models.identifiers import identifier_of
from acmehub.ports.lists import AccountFilter, CertificateFilter, OrderFilter
from acmehub.ports.store import Store
from acmehub.rules.orders import Change, OrderBundle
from acmehub.testing.store_samples import (
    Seed,
    a_certificate,
    a_managed_challenge,
    a_principal,
    a_token,
    an_account,
    an_authority,
    at,
    sow,
)


async def _second(store: Store) -> Seed:
    """Another principal with token, account, authority and managed challenge."""
    principal, authority, challenge = a_principal("nas"), an_authority("other"), a_managed_challenge("other zone")
    token = a_token(principal, "NAS")
    await store.principals.add(principal)
    await store.tokens.add(token)
    await store.authorities.add(authority)
    await store.managed_challenges.add(challenge)
    account, _ = await store.accounts.bind(an_account(token), lambda token, _: token)
    return Seed(await _actor(store, account.id), authority, challenge)


async def _actor(store: Store, account_id: str) -> Any:
    actor = await store.accounts.actor(account_id)
    assert actor is not None
    return actor


async def _place(store: Store, seed: Seed, second: float, *names: str, record: bool = False, **fields: Any) -> Order:
    bundle = seed.order(*names, created=at(second))
    await store.orders.add(bundle)
    records: tuple[TxtRecord, ...] = (seed.record(bundle),) if record else ()

    def rule(stored: OrderBundle) -> Change:
        return Change(order=replace(stored.order, **fields), records=records)

    return (await store.orders.apply(bundle.order.id, rule)).order


def _kind(order: Order, kind: EventKind, detail: str = "") -> Event:
    return Event(order_id=order.id, at=at(0), kind=kind, detail=detail)


class ListsContract:
    """Part of `StoreContract`."""

    async def test_orders_are_found_by_each_filter_and_by_any_two(self, store: Store) -> None:
        one, two = await sow(store), await _second(store)
        failing = {"attempts": 2, "stage": Stage.VALIDATING}
        orders = [
            await _place(store, one, 1, "a.corp.test", record=True, **failing),
            await _place(store, one, 2, "A.corp.test", "b.corp.test"),
            await _place(store, one, 3, "*.a.corp.test", status=OrderStatus.PROCESSING, stage=Stage.ISSUING),
            await _place(store, two, 4, "b.corp.test", record=True, **failing),
            await _place(store, two, 5, "a.corp.test", attempts=3, stage=Stage.FAILED, status=OrderStatus.INVALID),
            await _place(store, two, 6, "aXcorp.test", attempts=1),
            await _place(store, two, 6, "xa.corp.test", status=OrderStatus.PROCESSING, attempts=9),
        ]
        await store.records.note(
            [
                _kind(orders[0], EventKind.WAITS_FOR_LOCK),
                _kind(orders[0], EventKind.CA_UNAVAILABLE),
                _kind(orders[5], EventKind.CA_UNAVAILABLE),
                _kind(orders[5], EventKind.WAITS_FOR_LOCK),
            ]
        )
        with_record = {orders[0].id: one, orders[3].id: two}
        holds: dict[str, tuple[Any, Callable[[Order], bool]]] = {
            "status": (OrderStatus.PROCESSING, lambda order: order.status is OrderStatus.PROCESSING),
            "stage": (Stage.VALIDATING, lambda order: order.stage is Stage.VALIDATING),
            "account_id": (one.actor.account.id, lambda order: order.account_id == one.actor.account.id),
            "principal_id": (two.actor.principal.id, lambda order: order.principal_id == two.actor.principal.id),
            "token_id": (two.actor.token.id, lambda order: order.token_id == two.actor.token.id),
            "authority_id": (one.authority.id, lambda order: order.authority_id == one.authority.id),
            "challenge_id": (two.managed_challenge.id, lambda order: with_record.get(order.id) is two),
            "name": ("a.corp.test", lambda order: identifier_of("a.corp.test") in map(_lower, order.identifiers)),
            "since": (at(3), lambda order: order.created >= at(3)),
            "failing": (True, lambda order: order in (orders[0], orders[3], orders[6])),
            "principal_ids": (
                frozenset({two.actor.principal.id, "nobody"}),
                lambda order: order.principal_id == two.actor.principal.id,
            ),
        }
        assert set(holds) == set(OrderFilter.__struct_fields__)
        newest_first = sorted(orders, key=lambda order: (order.created, order.id), reverse=True)
        for first, second in [*combinations(holds, 2), *((name, name) for name in holds)]:
            wanted = OrderFilter(**{name: holds[name][0] for name in (first, second)})
            expected = [order for order in newest_first if holds[first][1](order) and holds[second][1](order)]
            found = await store.orders.list(wanted)
            assert [item.id for item in found] == [item.id for item in expected], (first, second)
            if expected:
                assert await store.orders.list(wanted, limit=1) == tuple(expected[:1])
                assert await store.orders.list(wanted, after=expected[0].id) == tuple(expected[1:])
        wildcard = await store.orders.list(OrderFilter(name="*.a.corp.test"))
        assert [item.id for item in wildcard] == [orders[2].id]

    async def test_the_latest_event_of_some_kinds_is_read_for_each_order(self, store: Store) -> None:
        seed = await sow(store)
        orders = [await _place(store, seed, second) for second in range(60)]
        await store.records.note([_kind(order, EventKind.CA_UNAVAILABLE, "first") for order in orders])
        await store.records.note([_kind(order, EventKind.CA_REFUSED, order.id) for order in orders[1:]])
        await store.records.note([_kind(order, EventKind.CHAIN_DOWNLOADED) for order in orders])
        found = await store.records.latest([order.id for order in orders], TROUBLES)
        details = {event.order_id: event.detail for event in found}
        assert details == {orders[0].id: "first", **{order.id: order.id for order in orders[1:]}}
        assert await store.records.latest([orders[0].id], {EventKind.CA_REFUSED}) == ()
        assert await store.records.latest([], TROUBLES) == ()

    async def test_ids_are_found_by_how_they_begin(self, store: Store) -> None:
        seed = await sow(store)
        order = await _place(store, seed, 1)
        certificate = await self._certified(store, seed, 1, "a.corp.test")
        for noun, id in (
            (store.orders, order.id),
            (store.certificates, certificate.id),
            (store.accounts, seed.actor.account.id),
            (store.principals, seed.actor.principal.id),
            (store.tokens, seed.actor.token.id),
            (store.authorities, seed.authority.id),
            (store.managed_challenges, seed.managed_challenge.id),
        ):
            assert await noun.ids(id, 5) == (id,)
            assert id in await noun.ids(id[:8], 5)
            for odd in ("0000", "ffff", f"{id[:-1]}{'0' if id[-1] != '0' else '1'}"):
                assert await noun.ids(odd, 5) == ()
        assert len(await store.orders.ids(order.id[:4], 1)) == 1
        for last in "089af":  # the end of the range
            made = replace(a_principal(f"p{last}"), id=f"abcd{last}{new_id()[5:]}")
            await store.principals.add(made)
            assert await store.principals.ids(f"abcd{last}", 5) == (made.id,)
        assert len(await store.principals.ids("abcd", 9)) == 5

    async def _certified(self, store: Store, seed: Seed, days: float, *names: str, **fields: Any) -> Certificate:
        """One that ends in so many days."""
        bundle = seed.order(*names, created=at(days))
        made = replace(a_certificate(bundle.order, created=at(days)), not_after=at(days * 86400))
        certificate = replace(made, **fields)
        await store.orders.add(bundle)
        await store.orders.apply(bundle.order.id, lambda now: Change(order=now.order, certificate=certificate))
        return certificate

    async def test_accounts_are_listed_by_id(self, store: Store) -> None:
        seed = await sow(store)
        made: list[Account] = [seed.actor.account]
        for _ in range(4):
            account, _ = await store.accounts.bind(an_account(seed.actor.token), lambda token, _: token)
            made.append(account)
        made.sort(key=lambda item: item.id)
        assert await store.accounts.list(limit=3) == tuple(made[:3])
        assert await store.accounts.list(after=made[2].id) == tuple(made[3:])

    async def test_accounts_are_found_by_each_filter_and_by_any_two(self, store: Store) -> None:
        one, two = await sow(store), await _second(store)
        made = [one.actor.account, two.actor.account]
        for seed in (one, two, one):
            account, _ = await store.accounts.bind(an_account(seed.actor.token), lambda token, _: token)
            made.append(account)
        made[2:4] = [
            await store.accounts.replace(replace(item, status=status))
            for item, status in zip(made[2:4], (AccountStatus.DEACTIVATED, AccountStatus.REVOKED), strict=True)
        ]
        mine = one.actor.principal.id
        holds: dict[str, tuple[Any, Callable[[Account], bool]]] = {
            "principal_id": (two.actor.principal.id, lambda item: item.principal_id == two.actor.principal.id),
            "token_id": (one.actor.token.id, lambda item: item.token_id == one.actor.token.id),
            "status": (AccountStatus.REVOKED, lambda item: item.status is AccountStatus.REVOKED),
            "thumbprint": (made[4].thumbprint, lambda item: item.thumbprint == made[4].thumbprint),
            "principal_ids": (frozenset({mine, "nobody"}), lambda item: item.principal_id == mine),
        }
        assert set(holds) == set(AccountFilter.__struct_fields__)
        made.sort(key=lambda item: item.id)
        for first, second in [*combinations(holds, 2), *((name, name) for name in holds)]:
            wanted = AccountFilter(**{name: holds[name][0] for name in (first, second)})
            expected = [item for item in made if holds[first][1](item) and holds[second][1](item)]
            assert list(await store.accounts.list(wanted)) == expected, (first, second)
            if expected:
                assert await store.accounts.list(wanted, limit=1) == tuple(expected[:1])
                assert await store.accounts.list(wanted, after=expected[0].id) == tuple(expected[1:])
        everybody = frozenset({mine, two.actor.principal.id})
        assert list(await store.accounts.list(AccountFilter(principal_ids=everybody))) == made
        assert await store.accounts.list(AccountFilter(principal_ids=frozenset())) == ()
        active = [item.id for item in made if item.status is AccountStatus.VALID]
        assert [item.id for item in await store.accounts.list(AccountFilter(status=AccountStatus.VALID))] == active

    async def test_a_list_of_some_principals_is_that_of_all_without_what_others_have(self, store: Store) -> None:
        one, two = await sow(store), await _second(store)
        third = a_principal("third")
        await store.principals.add(third)
        for number in range(12):
            seed = one if number % 3 else two
            status = OrderStatus.INVALID if number % 2 else OrderStatus.VALID
            order = await _place(store, seed, number // 2, f"n{number}.corp.test", status=status, stage=Stage.DONE)
            certificate = replace(a_certificate(order, created=at(number // 2)), not_after=at(9 - number))
            await store.orders.apply(order.id, _issued(certificate))
        mine, others = one.actor.principal.id, two.actor.principal.id
        for some in ({mine}, {others}, {mine, others}, {third.id}, set[str]()):
            among = frozenset(some)
            for wanted in (
                OrderFilter(),
                OrderFilter(status=OrderStatus.INVALID),
                OrderFilter(status=OrderStatus.VALID),
                OrderFilter(since=at(3), authority_id=one.authority.id),
            ):
                kept = [item for item in await store.orders.list(wanted) if item.principal_id in among]
                narrowed = replace(wanted, principal_ids=among)
                assert list(await store.orders.list(narrowed)) == kept
                assert await store.orders.list(narrowed, limit=2) == tuple(kept[:2])
                if len(kept) > 1:
                    assert await store.orders.list(narrowed, after=kept[1].id) == tuple(kept[2:])
            of_account = {one.actor.account.id: mine, two.actor.account.id: others}
            for asked in (CertificateFilter(), CertificateFilter(ends_before=at(5)), CertificateFilter(below="test")):
                listed = await store.certificates.list(asked)
                of_some = [item for item in listed if of_account[item.account_id] in among]
                found = replace(asked, principal_ids=among)
                assert list(await store.certificates.list(found)) == of_some
                if len(of_some) > 1:
                    assert await store.certificates.list(found, after=of_some[1].id) == tuple(of_some[2:])

    async def test_certificates_below_a_name_are_found_each_once(self, store: Store) -> None:
        seed = await sow(store)
        names = (
            ("corp.test",),
            ("www.Corp.test", "a.www.corp.test"),
            ("*.corp.test",),
            ("xcorp.test", "corp.test.other"),
            ("www.corp", "corp-.test", "www.corp.tes"),
        )
        made = [await self._certified(store, seed, 9 - number, *each) for number, each in enumerate(names)]

        async def below(above: str, **wanted: Any) -> list[int]:
            found = await store.certificates.list(CertificateFilter(below=above, **wanted))
            return [made.index(item) for item in found]

        assert await below("corp.test") == [0, 1, 2]
        assert await below("www.corp.test") == [1]
        assert await below("a.www.corp.test") == [1]
        assert await below("test") == [0, 1, 2, 3, 4]
        assert await below("orp.test") == []
        assert await below("corp.test", name="a.www.corp.test") == [1]
        assert await below("corp.test", ends_before=at(8 * 86400)) == [2, 1]

    async def test_certificates_are_found_by_whether_they_are_revoked(self, store: Store) -> None:
        seed = await sow(store)
        good = await self._certified(store, seed, 2, "a.corp.test")
        bad = await self._certified(store, seed, 1, "a.corp.test", revoked=at(1))

        async def found(**wanted: Any) -> list[str]:
            return [item.id for item in await store.certificates.list(CertificateFilter(**wanted))]

        assert await found(revoked=True) == [bad.id]
        assert await found(revoked=False) == [good.id]
        assert await found(revoked=True, name="a.corp.test", ends_before=at(9 * 86400)) == [bad.id]
        assert await found(revoked=True, principal_ids=frozenset({seed.actor.principal.id})) == [bad.id]
        assert await found(revoked=True, uncovered=True) == []

    async def test_certificates_are_found_by_each_filter(self, store: Store) -> None:
        one, two = await sow(store), await _second(store)
        late = await self._certified(store, one, 40, "a.corp.test")
        soon = await self._certified(store, one, 10, "a.corp.test", "b.corp.test")
        over = await self._certified(store, two, -1, "b.corp.test")

        async def found(**wanted: Any) -> list[str]:
            page = {name: wanted.pop(name) for name in ("after", "limit") if name in wanted}
            return [item.id for item in await store.certificates.list(CertificateFilter(**wanted), **page)]

        assert await found() == [late.id, soon.id, over.id]
        assert await found(after=late.id) == [soon.id, over.id]
        assert await found(name="b.corp.test") == [soon.id, over.id]
        assert await found(principal_id=one.actor.principal.id) == [late.id, soon.id]
        assert await found(token_id=two.actor.token.id) == [over.id]
        assert await found(authority_id=two.authority.id, name="b.corp.test") == [over.id]
        assert await found(ends_before=at(30 * 86400)) == [over.id, soon.id]
        assert await found(ends_before=at(10 * 86400), limit=1) == [over.id]
        assert await found(ends_before=at(90 * 86400), after=over.id) == [soon.id, late.id]
        assert await found(ends_before=at(90 * 86400), name="a.corp.test", after=soon.id) == [late.id]

    async def test_a_certificate_is_uncovered_until_one_for_the_same_names_is_valid_longer(self, store: Store) -> None:
        seed = await sow(store)
        month = CertificateFilter(ends_before=at(30 * 86400), uncovered=True)

        async def found() -> Sequence[str]:
            return [item.id for item in await store.certificates.list(month)]

        pair = await self._certified(store, seed, 5, "a.corp.test", "b.corp.test")
        alone = await self._certified(store, seed, 4, "a.corp.test")
        renewed = await self._certified(store, seed, 3, "B.corp.test", "c.corp.test")
        assert await found() == [renewed.id, alone.id, pair.id]
        twin = await self._certified(store, seed, 5, "b.corp.test", "a.corp.test")  # ends at the same moment
        assert await found() == [renewed.id, alone.id, max(pair.id, twin.id)]
        await self._certified(store, seed, 60, "c.corp.test", "b.corp.test")
        await self._certified(store, seed, 61, "a.corp.test", revoked=at(1))
        await self._certified(store, seed, 2, "d.corp.test", revoked=at(1))
        assert await found() == [alone.id, max(pair.id, twin.id)]
        later = await self._certified(store, seed, 20, "a.corp.test")
        assert await found() == [max(pair.id, twin.id), later.id]

    async def test_sets_of_names_are_filled_in_batches_and_stay(self, store: Store) -> None:
        seed = await sow(store)
        assert await store.certificates.name_sets_filled()
        assert await store.certificates.fill_name_sets(2) == 0
        old = [
            await self._certified(store, seed, day, "b.corp.test", f"a{day}.corp.test", name_set=None)
            for day in (1, 2, 3)
        ]
        month = CertificateFilter(ends_before=at(30 * 86400), uncovered=True)
        assert not await store.certificates.name_sets_filled()
        assert await store.certificates.list(month) == ()
        assert [await store.certificates.fill_name_sets(2) for _ in range(3)] == [2, 1, 0]
        assert await store.certificates.name_sets_filled()
        assert [item.name_set for item in await store.certificates.list(month)] == [
            f"a{day}.corp.test b.corp.test" for day in (1, 2, 3)
        ]
        changed = await store.certificates.replace(replace(old[0], revoked=at(1)))  # as read before
        stored = await store.certificates.get(old[0].id)
        assert stored is not None
        assert asdict(stored) == {**asdict(changed), "name_set": "a1.corp.test b.corp.test"}


def _lower(identifier: Any) -> Any:
    return identifier_of(identifier.value)


def _issued(certificate: Certificate) -> Callable[[OrderBundle], Change]:
    return lambda now: Change(order=now.order, certificate=certificate)

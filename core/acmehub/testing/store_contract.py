"""What any storage must do. A storage plugin's tests:

    class TestMyStore(StoreContract):
        @pytest.fixture
        def make_store(self, tmp_path):
            return lambda: MyStore(tmp_path / "db")

`make_store()` gives another unopened `Store` on the same database, which has no rows at the beginning of each test;
when it already has its tables, override `make_bare_store`, too, for a database without any. Needs pytest and
pytest-asyncio.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from acmehub.models import AccountStatus, Event, EventKind, Principal, Token
from acmehub.ports.lists import CertificateFilter
from acmehub.ports.store import Conflict, Missing, Store
from acmehub.rules.orders import Change
from acmehub.testing.store_audit_contract import AuditContract
from acmehub.testing.store_figures_contract import FiguresContract
from acmehub.testing.store_idempotency_contract import IdempotencyContract
from acmehub.testing.store_jobs_contract import JobsContract
from acmehub.testing.store_life_contract import LifeContract
from acmehub.testing.store_limits_contract import LimitsContract
from acmehub.testing.store_lists_contract import ListsContract
from acmehub.testing.store_orders_contract import OrdersContract
from acmehub.testing.store_renewal_contract import RenewalContract
from acmehub.testing.store_repeats_contract import RepeatsContract
from acmehub.testing.store_samples import (
    NOW,
    Seed,
    a_certificate,
    a_managed_challenge,
    a_principal,
    a_token,
    an_account,
    an_authority,
    an_event,
    at,
    sow,
)
from acmehub.testing.store_strings_contract import StringsContract
from acmehub.testing.store_writes_contract import WritesContract
from acmehub.testing.store_zones_contract import ZonesContract

MakeStore = Callable[[], Store]


class ResourcesContract:
    """Principals, tokens, managed challenges, authorities."""

    async def test_every_resource_is_read_as_it_was_written(self, store: Store) -> None:
        principal = a_principal()
        await store.principals.add(principal)
        token = a_token(principal)
        bare = Token(
            title="bare", principal_id=principal.id, scope=(), secret_hash=b"", sealed_hmac_key=b"", created=NOW
        )
        challenge, authority = a_managed_challenge(), an_authority()
        await store.tokens.add(token)
        await store.tokens.add(bare)
        await store.managed_challenges.add(challenge)
        await store.authorities.add(authority)
        assert await store.principals.get(principal.id) == principal
        assert await store.tokens.get(token.id) == token
        assert await store.tokens.get(bare.id) == bare
        assert await store.managed_challenges.get(challenge.id) == challenge
        assert await store.authorities.get(authority.id) == authority

    async def test_what_is_not_there_is_none(self, store: Store) -> None:
        assert await store.principals.get("nobody") is None
        assert await store.principals.named("nobody") == ()
        assert await store.accounts.actor("nobody") is None
        assert await store.accounts.by_thumbprint("nothing") is None
        assert await store.certificates.get("none") is None
        assert await store.certificates.by_serial("00") == ()

    async def test_a_name_that_is_taken_is_a_conflict(self, store: Store) -> None:
        await store.principals.add(a_principal("one"))
        with pytest.raises(Conflict) as caught:
            await store.principals.add(a_principal("one"))
        assert caught.value.field == "name"
        await store.principals.add(a_principal("two"))

    async def test_two_tokens_may_have_one_title(self, store: Store) -> None:
        principal = a_principal()
        await store.principals.add(principal)
        first, second = a_token(principal, "same"), replace(a_token(principal, "same"), created=at(1))
        await store.tokens.add(second)
        await store.tokens.add(first)
        assert await store.tokens.named("same") == (first, second)

    async def test_replace_moves_the_version_and_refuses_a_stale_one(self, store: Store) -> None:
        principal = a_principal()
        await store.principals.add(principal)
        changed = await store.principals.replace(replace(principal, enabled=False, roles=()))
        assert changed == replace(principal, enabled=False, roles=(), version=2)
        assert await store.principals.get(principal.id) == changed
        with pytest.raises(Conflict) as caught:
            await store.principals.replace(replace(principal, enabled=True))
        assert caught.value.field == "version"
        assert await store.principals.get(principal.id) == changed

    async def test_a_list_has_what_another_process_has_written_oldest_first(
        self, store: Store, make_store: MakeStore
    ) -> None:
        older, newer = a_principal("b", created=at(-9)), a_principal("a")
        await store.principals.add(newer)
        await store.principals.add(older)
        assert await store.principals.list() == (older, newer)
        other = make_store()
        await other.open()
        try:
            await other.principals.replace(replace(older, enabled=False))
        finally:
            await other.close()
        assert (await store.principals.list())[0].enabled is False
        await store.principals.remove(newer)
        assert len(await store.principals.list()) == 1

    async def test_a_write_moves_the_revision_of_its_kind_and_of_no_other(
        self, store: Store, make_store: MakeStore
    ) -> None:
        principal, authority = a_principal(), an_authority()
        await store.principals.add(principal)
        first = await store.revisions()
        assert await store.revisions() == first
        await store.authorities.add(authority)
        second = await store.revisions()
        assert second == replace(first, authorities=second.authorities)
        assert second.authorities > first.authorities
        other = make_store()
        await other.open()
        try:
            changed = await other.authorities.replace(replace(authority, enabled=False))
            third = await store.revisions()
            await other.authorities.remove(changed)
        finally:
            await other.close()
        fourth = await store.revisions()
        assert second.authorities < third.authorities < fourth.authorities
        assert fourth == replace(first, authorities=fourth.authorities)

    async def test_a_write_that_is_refused_moves_no_revision(self, store: Store) -> None:
        principal = a_principal()
        await store.principals.add(principal)
        await store.principals.replace(replace(principal, enabled=False))
        before = await store.revisions()
        with pytest.raises(Conflict):
            await store.principals.replace(replace(principal, name="late"))
        with pytest.raises(Conflict):
            await store.principals.add(replace(a_principal(), name=principal.name))
        assert await store.revisions() == before

    async def test_a_resource_is_removed_unless_others_refer_to_it(self, store: Store) -> None:
        principal = a_principal()
        token = a_token(principal)
        await store.principals.add(principal)
        await store.tokens.add(token)
        with pytest.raises(Conflict) as caught:
            await store.principals.remove(principal)
        assert caught.value.field == "references"
        changed = await store.tokens.replace(replace(token, enabled=False))
        with pytest.raises(Conflict) as caught:
            await store.tokens.remove(token)
        assert caught.value.field == "version"
        await store.tokens.remove(changed)
        await store.principals.remove(principal)
        assert await store.principals.list() == ()


class AccountsContract:
    """ACME accounts."""

    async def test_binding_counts_the_use_and_stores_the_account_together(self, store: Store) -> None:
        seed = await sow(store)
        token = seed.actor.token
        account = an_account(token)
        before = await store.revisions()
        asked: list[tuple[Token, Principal]] = []

        def rule(token: Token, principal: Principal) -> Token:
            asked.append((token, principal))
            return replace(token, uses=token.uses + 1)

        assert await store.accounts.bind(account, rule) == (account, True)
        assert asked[-1] == (token, seed.actor.principal)
        stored = await store.tokens.get(token.id)
        assert stored == replace(token, uses=1, version=token.version + 1)
        assert await store.accounts.by_thumbprint(account.thumbprint) == account
        assert (await store.revisions()).tokens > before.tokens

    async def test_a_key_that_has_an_account_gets_it_without_asking(self, store: Store) -> None:
        seed = await sow(store)
        again = replace(an_account(seed.actor.token), thumbprint=seed.actor.account.thumbprint)

        def rule(_: Token, __: Principal) -> Token:
            raise AssertionError("asked")

        assert await store.accounts.bind(again, rule) == (seed.actor.account, False)

    async def test_a_rule_that_refuses_leaves_nothing(self, store: Store) -> None:
        seed = await sow(store)
        account = an_account(seed.actor.token)

        def rule(_: Token, __: Principal) -> Token:
            raise PermissionError("used up")

        with pytest.raises(PermissionError):
            await store.accounts.bind(account, rule)
        assert await store.accounts.by_thumbprint(account.thumbprint) is None
        assert await store.tokens.get(seed.actor.token.id) == seed.actor.token

    async def test_an_unknown_token_is_missing(self, store: Store) -> None:
        seed = await sow(store)
        stranger = a_token(seed.actor.principal)
        with pytest.raises(Missing):
            await store.accounts.bind(an_account(stranger), lambda token, _: token)

    async def test_one_key_bound_many_times_at_once_is_one_account_and_one_use(self, store: Store) -> None:
        seed = await sow(store)
        accounts = [an_account(seed.actor.token, "same key") for _ in range(8)]
        bound = await asyncio.gather(
            *[store.accounts.bind(item, lambda token, _: replace(token, uses=token.uses + 1)) for item in accounts]
        )
        assert len({account.id for account, _ in bound}) == 1
        assert sum(made for _, made in bound) == 1
        token = await store.tokens.get(seed.actor.token.id)
        assert token is not None
        assert token.uses == 1

    async def test_uses_at_once_are_all_counted(self, store: Store) -> None:
        seed = await sow(store)

        def rule(token: Token, _: Principal) -> Token:
            if token.uses >= 5:
                raise PermissionError("used up")
            return replace(token, uses=token.uses + 1)

        results = await asyncio.gather(
            *[store.accounts.bind(an_account(seed.actor.token), rule) for _ in range(12)], return_exceptions=True
        )
        assert sum(isinstance(result, PermissionError) for result in results) == 7
        token = await store.tokens.get(seed.actor.token.id)
        assert token is not None
        assert token.uses == 5

    async def test_an_actor_is_always_what_is_stored_now(self, store: Store, make_store: MakeStore) -> None:
        seed = await sow(store)
        account_id = seed.actor.account.id
        assert await store.accounts.actor(account_id) == seed.actor
        assert await store.accounts.actor(account_id) == seed.actor
        other = make_store()
        await other.open()
        try:
            token = await other.tokens.replace(replace(seed.actor.token, enabled=False))
            assert await store.accounts.actor(account_id) == replace(seed.actor, token=token)
            principal = await other.principals.replace(replace(seed.actor.principal, enabled=False))
            assert await store.accounts.actor(account_id) == replace(seed.actor, token=token, principal=principal)
        finally:
            await other.close()
        account = await store.accounts.replace(replace(seed.actor.account, status=AccountStatus.DEACTIVATED))
        actor = await store.accounts.actor(account_id)
        assert actor is not None
        assert actor.account == account
        with pytest.raises(Conflict):
            await store.accounts.replace(seed.actor.account)


class CertificatesContract:
    """Certificates, timelines, nonces."""

    async def _issue(self, store: Store, seed: Seed, *names: str, seconds: float) -> str:
        bundle = seed.order(*names, created=at(seconds))
        certificate = a_certificate(bundle.order, created=at(seconds))
        await store.orders.add(bundle)
        await store.orders.apply(
            bundle.order.id,
            lambda stored: Change(order=stored.order, certificate=certificate),
        )
        assert await store.certificates.get(certificate.id) == certificate
        assert await store.certificates.by_serial(certificate.serial) == (certificate,)
        return certificate.id

    async def test_certificates_are_listed_newest_first_and_by_name(self, store: Store) -> None:
        seed = await sow(store)
        old = await self._issue(store, seed, "a.corp.test", seconds=1)
        middle = await self._issue(store, seed, "a.corp.test", "b.corp.test", seconds=2)
        new = await self._issue(store, seed, "b.corp.test", seconds=3)

        async def ids(name: str = "", **page: Any) -> list[str]:
            return [item.id for item in await store.certificates.list(CertificateFilter(name=name), **page)]

        assert await ids() == [new, middle, old]
        assert await ids(limit=1) == [new]
        assert await ids(after=new) == [middle, old]
        assert await ids(name="a.corp.test") == [middle, old]
        assert await ids(name="a.corp.test", after=middle) == [old]
        assert await ids(name="c.corp.test") == []

    async def test_a_certificate_is_marked_revoked(self, store: Store) -> None:
        seed = await sow(store)
        certificate = await store.certificates.get(await self._issue(store, seed, "a.corp.test", seconds=1))
        assert certificate is not None
        changed = await store.certificates.replace(replace(certificate, revoked=at(5)))
        assert await store.certificates.get(certificate.id) == changed
        assert changed == replace(certificate, revoked=at(5), version=2)
        with pytest.raises(Conflict):
            await store.certificates.replace(certificate)

    async def test_a_timeline_keeps_its_order_and_any_words(self, store: Store) -> None:
        seed = await sow(store)
        bundle = seed.order()
        first = an_event(bundle.order, EventKind.ORDER_OPENED)
        await store.orders.add(bundle, (first, Event(order_id=bundle.order.id, at=NOW, kind=EventKind.NOTED)))
        odd = Event(order_id=bundle.order.id, at=at(-5), kind=EventKind.ORDER_FAILED, detail="a\0b \ud800 \U0001f512")
        await store.records.note((odd,))
        await store.records.note(())
        timeline = await store.records.timeline(bundle.order.id)
        assert [event.kind for event in timeline] == [EventKind.ORDER_OPENED, EventKind.NOTED, EventKind.ORDER_FAILED]
        assert timeline[0] == first
        assert "\U0001f512" in timeline[2].detail
        assert await store.records.timeline("another") == ()

    async def test_a_nonce_is_used_once(self, store: Store, make_store: MakeStore) -> None:
        other = make_store()
        await other.open()
        try:
            used = await asyncio.gather(
                *[keeper.nonces.use("n1", at(60)) for keeper in (store, other) for _ in range(5)]
            )
            assert sum(used) == 1
            assert await store.nonces.use("n2", at(5))
            await store.nonces.prune(at(10))
            assert not await store.nonces.use("n1", at(60))
            assert await store.nonces.use("n2", at(60))
        finally:
            await other.close()


class StoreContract(
    ResourcesContract,
    AccountsContract,
    OrdersContract,
    JobsContract,
    CertificatesContract,
    AuditContract,
    RenewalContract,
    RepeatsContract,
    StringsContract,
    LimitsContract,
    ZonesContract,
    ListsContract,
    WritesContract,
    FiguresContract,
    IdempotencyContract,
    LifeContract,
):
    """Everything; needs the fixture `make_store`."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def make_bare_store(self, make_store: MakeStore) -> MakeStore:
        """As `make_store`, on a database that was never migrated."""
        return make_store

    @pytest_asyncio.fixture
    async def store(self, make_store: MakeStore) -> AsyncIterator[Store]:
        """A store that is open, on an empty, migrated database."""
        store = make_store()
        await store.migrate()
        await store.open()
        yield store
        await store.close()

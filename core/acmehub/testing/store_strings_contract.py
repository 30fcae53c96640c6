"""The part of the storage contract about words from outside: every string can be stored, and is read back alike."""

from collections.abc import Callable

from msgspec.structs import replace

from acmehub.models import AuditEntry, EventKind, Role, RoleAssignment
from acmehub.models.identifiers import Identifier
from acmehub.models.problems import ProblemDocument, Subproblem
from acmehub.ports.store import Store
from acmehub.rules.orders import Change
from acmehub.testing.store_samples import NOW, a_certificate, a_principal, an_account, an_event, sow

MakeStore = Callable[[], Store]

ODD = "a\0b \ud800 \udc00\ud800 \u202e\U0001f512\x1b"
SHOWN = "a\ufffdb ? ?? \u202e\U0001f512\x1b"
"""What is read back: the NUL and the lone surrogates, which no text of every engine can hold, are replaced."""


class StringsContract:
    """Words from clients, CAs, DNS and operators in every kind of row."""

    async def test_every_string_of_a_resource_can_be_stored(self, store: Store) -> None:
        await store.principals.add(replace(a_principal(ODD), roles=(RoleAssignment(Role.AUDITOR, (ODD,)),)))
        (found,) = await store.principals.list()
        assert found.name == SHOWN
        renamed = await store.principals.replace(replace(found, name=f"{ODD} again"))
        stored = await store.principals.get(renamed.id)
        assert stored is not None
        assert stored.name == f"{SHOWN} again"

    async def test_every_string_of_an_account_can_be_stored(self, store: Store) -> None:
        seed = await sow(store)
        account = replace(an_account(seed.actor.token), user_agent=ODD, contact=(ODD,), learned_why=ODD)
        await store.accounts.bind(account, lambda token, _: token)
        actor = await store.accounts.actor(account.id)
        assert actor is not None
        assert (actor.account.user_agent, actor.account.learned_why) == (SHOWN, SHOWN)
        assert len(actor.account.contact) == 1

    async def test_every_string_of_an_order_can_be_stored(self, store: Store, make_store: MakeStore) -> None:
        seed = await sow(store)
        bundle = seed.order()
        await store.orders.add(bundle, (replace(an_event(bundle.order, EventKind.NOTED), detail=ODD),))
        error = ProblemDocument(ODD, ODD, 400, subproblems=(Subproblem(ODD, ODD, Identifier(ODD, ODD)),))
        entry = AuditEntry(at=NOW, actor=ODD, action=ODD, object=ODD, allowed=False, detail=ODD)
        certificate = replace(a_certificate(bundle.order), issuer=ODD, alternates=(ODD,))
        changed = replace(bundle.order, error=error, upstream_url=ODD)
        change = Change(order=changed, certificate=certificate, audit=(entry,))
        await store.orders.apply(bundle.order.id, lambda _: change)
        other = make_store()
        await other.open()
        try:
            found = await other.orders.get(bundle.order.id)
            assert found is not None
            assert found.order.upstream_url == SHOWN
            assert found.order.error is not None
            assert len(found.order.error.subproblems) == 1
            assert [item.issuer for item in await other.certificates.list()] == [SHOWN]
            assert [item.detail for item in await other.records.audited()] == [SHOWN]
            assert [item.detail for item in await other.records.timeline(bundle.order.id)] == [SHOWN]
        finally:
            await other.close()

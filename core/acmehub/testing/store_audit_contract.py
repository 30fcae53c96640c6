"""The part of the storage contract about the audit: all fields of its entries, its filters, and seals over them."""

import asyncio
from collections.abc import Callable
from typing import Any

from msgspec.structs import asdict, replace

from acmehub.models import ActorKind, AuditEntry, AuditFilter, AuditRecord, Seal, SealKey, Via
from acmehub.ports.store import Conflict, Store
from acmehub.testing.store_samples import at

KEY = SealKey("ab12cd34", b"\x00sealed")


def _entry(second: float, **fields: Any) -> AuditEntry:
    return AuditEntry(**{"at": at(second), "actor": "alice", "action": "order.cancel", "object": "x", **fields})


def _seal(number: int, last: int, **fields: Any) -> Seal:
    first = 1 if number == 1 else last
    return Seal(
        **{"id": number, "first": first, "last": last, "entries": 1, "at": at(9), "key": KEY.id, "mac": b"m", **fields}
    )


class AuditContract:
    """Part of `StoreContract`."""

    async def test_the_audit_gives_its_latest_first(self, store: Store) -> None:
        entries = [
            AuditEntry(at=at(n), actor="cli:root", action="token.show_eab", object=f"token {n}", allowed=n > 0)
            for n in range(3)
        ]
        for entry in entries:
            await store.records.audit([entry])
        assert [item.object for item in await store.records.audited(limit=2)] == ["token 2", "token 1"]

    async def test_an_entry_of_the_audit_is_kept_whole(self, store: Store) -> None:
        entry = AuditEntry(
            at=at(1.000001),
            actor="ålice",
            action="token.set",
            object="token NAS",
            detail="d",
            allowed=False,
            actor_id="a1",
            actor_kind=ActorKind.TOKEN,
            via=Via.API,
            address="192.0.2.7",
            request="r1",
            credential="c1",
            object_kind="token",
            object_id="o1",
            object_name="NAS",
            difference='title: "A" -> "B"',
            salt="00ff",
            withheld="w",
        )
        await store.records.audit([entry, _entry(2)])
        plain, whole = await store.records.audited()
        assert whole == AuditRecord(id=whole.id, **asdict(entry))
        assert (plain.actor_kind, plain.via, plain.salt, plain.difference) == (None, None, "", "")

    async def test_entries_are_found_by_each_filter_and_by_any_two(self, store: Store) -> None:
        await store.records.audit(
            [
                _entry(1, actor_id="a1", actor_kind=ActorKind.PERSON, via=Via.CLI, object_kind="order", object_id="o1"),
                _entry(2, actor_id="a1", actor_kind=ActorKind.TOKEN, via=Via.API, credential="c1", request="r1"),
                _entry(3, actor_id="a2", actor_kind=ActorKind.DEVICE, via=Via.ACME, address="192.0.2.7", allowed=False),
                _entry(4, actor_id="a2", actor_kind=ActorKind.DEVICE, via=Via.ACME, credential="c1", object_id="o1"),
                _entry(5, actor="bob", via=Via.CLI, object="order 7", action="token.add", request="r1", allowed=False),
            ]
        )
        everything = await store.records.audited()
        holds: dict[str, tuple[Any, Callable[[AuditRecord], bool]]] = {
            "actor": ("a1", lambda entry: entry.actor_id == "a1"),
            "action": ("order", lambda entry: entry.action == "order.cancel"),
            "object": ("o1", lambda entry: entry.object_id == "o1"),
            "since": (at(2), lambda entry: entry.at >= at(2)),
            "until": (at(4), lambda entry: entry.at < at(4)),
            "refused": (True, lambda entry: not entry.allowed),
            "via": (Via.ACME, lambda entry: entry.via is Via.ACME),
            "actor_kind": (ActorKind.DEVICE, lambda entry: entry.actor_kind is ActorKind.DEVICE),
            "actor_ids": (frozenset({"a1", "a2", "a3"}), lambda entry: entry.actor_id in ("a1", "a2")),
            "object_kind": ("order", lambda entry: entry.object_kind == "order"),
            "object_id": ("o1", lambda entry: entry.object_id == "o1"),
            "address": ("192.0.2.7", lambda entry: entry.address == "192.0.2.7"),
            "request": ("r1", lambda entry: entry.request == "r1"),
            "credential": ("c1", lambda entry: entry.credential == "c1"),
        }
        assert set(holds) == set(AuditFilter.__struct_fields__)
        for first in holds:
            for second in holds:
                wanted = AuditFilter(**{name: holds[name][0] for name in (first, second)})
                expected = [entry for entry in everything if holds[first][1](entry) and holds[second][1](entry)]
                assert list(await store.records.audited(filter=wanted)) == expected, (first, second)
                oldest_first = await store.records.audited(filter=wanted, after=everything[-1].id - 1)
                assert list(oldest_first) == expected[::-1], (first, second)
        assert await store.records.audited(filter=AuditFilter(actor_ids=frozenset())) == ()

    async def test_seals_are_kept_in_the_order_of_their_numbers(self, store: Store) -> None:
        seals = store.seals
        assert await seals.newest() is await seals.oldest_kept() is await seals.get(1) is None
        assert await seals.list() == ()
        assert await seals.keys() == ()
        one, two = _seal(1, 3), _seal(2, 2**40, mac=b"\x00\xff")
        await seals.append(one, KEY)
        await seals.append(two, replace(KEY, sealed_key=b"another"))
        assert await seals.newest() == await seals.get(2) == two
        assert await seals.oldest_kept() == one
        assert await seals.list() == (one, two)
        assert await seals.list(after=1) == (two,)
        assert await seals.list(limit=1) == (one,)
        assert await seals.keys() == (KEY,)
        await seals.replace_key(replace(KEY, sealed_key=b"new"))
        assert await seals.keys() == (replace(KEY, sealed_key=b"new"),)

    async def test_of_two_seals_with_one_number_one_is_kept(
        self, store: Store, make_store: Callable[[], Store]
    ) -> None:
        other = make_store()
        await other.open()
        try:
            made = [_seal(1, last) for last in (3, 4)]
            asked = (one.seals.append(seal, KEY) for one, seal in zip((store, other), made, strict=True))
            lost = [error for error in await asyncio.gather(*asked, return_exceptions=True) if error is not None]
            assert [type(error) for error in lost] == [Conflict]
            assert len(await store.seals.list()) == 1
        finally:
            await other.close()

    async def test_what_is_settled_was_written_by_then(self, store: Store) -> None:
        assert await store.seals.settled(0) is None
        await store.records.audit([_entry(second) for second in (1, 50, 2)])
        ids = [entry.id for entry in reversed(await store.records.audited())]
        assert await store.seals.settled(0) == ids[2]
        assert await store.seals.settled(0, at(10)) == ids[2]
        assert await store.seals.settled(0, at(1)) == ids[0]
        assert await store.seals.settled(0, at(0)) is None
        assert await store.seals.settled(ids[2]) is None

    async def test_a_sealed_range_is_pruned_as_a_whole_and_its_seal_stays(self, store: Store) -> None:
        await store.records.audit([_entry(second) for second in range(4)])
        ids = [entry.id for entry in reversed(await store.records.audited())]
        one, two = _seal(1, ids[1]), _seal(2, ids[2])
        for seal in (one, two):
            await store.seals.append(seal, KEY)
        await store.seals.prune(replace(one, pruned=b"\x00proof"))
        assert [entry.id for entry in await store.records.audited(after=0)] == ids[2:]
        assert await store.seals.list() == (replace(one, pruned=b"\x00proof"), two)
        assert await store.seals.oldest_kept() == two

    async def test_texts_of_an_entry_are_replaced_and_nothing_else(self, store: Store) -> None:
        await store.records.audit([_entry(1, address="192.0.2.7", salt="s", actor_id="a1"), _entry(2, salt="t")])
        later, entry = await store.records.audited()
        texts = {"actor": "nobody", "object": "", "detail": "d", "difference": "e", "object_name": "f", "address": ""}
        changed = replace(entry, **texts, salt="", withheld="w")
        await store.seals.withhold([replace(changed, actor_id="another", allowed=False)], KEY)
        await store.seals.withhold([], KEY)
        assert await store.seals.keys() == (KEY,)
        assert await store.records.audited() == (later, changed)

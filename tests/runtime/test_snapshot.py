"""Snapshots of the configuration: what another process writes is in the next one, what stands is not read again."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from acmehub.models import Authority, Campaign, ManagedChallenge, Principal, PrincipalType, Profile, Role, Token
from acmehub.ports.clock import SystemClock
from acmehub.ports.plugins import PluginContext
from acmehub.ports.revisions import Revisions
from acmehub.ports.store import Store
from acmehub.runtime.plugins import build_registry
from acmehub.runtime.snapshot import Snapshot, Snapshots
from acmehub.testing.fakes import ManualClock

NOW = datetime.now(UTC)
KINDS = ("authorities", "managed_challenges", "profiles", "tokens", "campaigns")


def a_store(folder: Path) -> Store:
    registration = build_registry((), built_ins=("storage_sqlite",)).storages["storage_sqlite"]
    context = PluginContext("acmehub/test", folder, SystemClock())
    return cast(Store, registration.factory(registration.settings(), context))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = a_store(tmp_path)
    await store.migrate()
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def other(store: Store, tmp_path: Path) -> AsyncIterator[Store]:
    """Another process's store on the same database."""
    other = a_store(tmp_path)
    await other.open()
    yield other
    await other.close()


@pytest.fixture
def reads(store: Store, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each kind's rows were read, and the revisions."""
    counts: Counter[str] = Counter()

    def count(place: object, verb: str, name: str) -> None:
        inner = getattr(place, verb)

        async def counted() -> Any:
            counts[name] += 1
            return await inner()

        monkeypatch.setattr(place, verb, counted)

    for kind in KINDS:
        count(getattr(store, kind), "list", kind)
    count(store, "revisions", "revisions")
    return counts


def an_authority(name: str = "a", **fields: Any) -> Authority:
    return Authority(name=name, plugin="ca_local", sealed_settings=b"", created=NOW, **fields)


def a_challenge(match: str) -> ManagedChallenge:
    return ManagedChallenge(name=match, plugin="dns_none", match=match, sealed_settings=b"", created=NOW)


async def rows(snapshot: Snapshot, kind: str) -> Sequence[Any]:
    found: Sequence[Any] = (await getattr(snapshot, kind)()).rows
    return found


async def test_what_another_process_writes_is_in_the_next_snapshot(store: Store, other: Store) -> None:
    snapshots = Snapshots(store)
    row = an_authority()
    await other.authorities.add(row)
    before = await snapshots.current()
    assert (await before.authorities()).by_id == {row.id: row}
    changed = await other.authorities.replace(replace(row, enabled=False))
    now = await snapshots.current()
    assert (await now.authorities()).by_id == {row.id: changed}
    assert (await now.authorities()).candidates == ()
    assert (await before.authorities()).by_id == {row.id: row}  # a request that is under way keeps its own


async def test_a_kind_that_stands_is_not_read_again(store: Store, other: Store, reads: Counter[str]) -> None:
    snapshots = Snapshots(store)
    await other.managed_challenges.add(a_challenge("a.test"))
    index = (await (await snapshots.current()).managed_challenges()).match_index
    await (await snapshots.current()).profiles()
    await other.authorities.add(an_authority())
    await other.profiles.add(Profile(name="p", description="", created=NOW))
    now = await snapshots.current()
    assert (await now.managed_challenges()).match_index is index
    assert list((await now.profiles()).enabled) == ["p"]
    assert dict(reads) == {"managed_challenges": 1, "profiles": 2, "revisions": 3}


async def test_nothing_is_read_but_revisions_before_it_is_asked_for(store: Store, reads: Counter[str]) -> None:
    snapshots = Snapshots(store)
    first = await snapshots.current()
    assert await snapshots.current() is first
    assert dict(reads) == {"revisions": 2}


async def test_a_recent_snapshot_is_read_again_when_it_is_too_old(
    store: Store, other: Store, reads: Counter[str]
) -> None:
    clock = ManualClock()
    snapshots = Snapshots(store, clock)
    first = await snapshots.recent(0.25)
    await other.authorities.add(an_authority())
    clock.advance(0.25)
    assert await snapshots.recent(0.25) is first
    assert dict(reads) == {"revisions": 1}
    clock.advance(0.01)
    assert len(await rows(await snapshots.recent(0.25), "authorities")) == 1
    assert (await snapshots.recent(0.25)).revisions.authorities == 1


async def test_a_read_that_ends_late_does_not_take_the_place_of_a_later_one(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    snapshots = Snapshots(store, clock)
    inner, gate = store.revisions, asyncio.Event()

    async def slow() -> Revisions:
        found = await inner()
        await gate.wait()
        return found

    monkeypatch.setattr(store, "revisions", slow)
    early = asyncio.create_task(snapshots.current())
    await asyncio.sleep(0)
    monkeypatch.setattr(store, "revisions", inner)
    clock.advance(0.1)
    await other.authorities.add(an_authority())
    later = await snapshots.current()
    gate.set()
    assert (await early).revisions.authorities == 0
    assert await snapshots.recent(0.25) is later


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_follows_its_own_revision(store: Store, other: Store, kind: str, reads: Counter[str]) -> None:
    principal = Principal(name="device", type=PrincipalType.APPLICATION, created=NOW)
    await other.principals.add(principal)
    made: dict[str, Any] = {
        "authorities": an_authority(),
        "managed_challenges": a_challenge("a.test"),
        "profiles": Profile(name="p", description="", created=NOW),
        "tokens": Token(
            title="t",
            principal_id=principal.id,
            scope=(Role.MANAGED_ACME_CONSUMER,),
            secret_hash=b"",
            sealed_hmac_key=b"",
            created=NOW,
            directory_hash=b"h",
        ),
        "campaigns": Campaign(name="c", starts=NOW, renew_by=NOW, created=NOW),
    }
    snapshots = Snapshots(store)
    for each in KINDS:
        assert await rows(await snapshots.current(), each) == ()
    await getattr(other, kind).add(made[kind])
    now = await snapshots.current()
    for each in KINDS:
        assert await rows(now, each) == ((made[kind],) if each == kind else ())
    assert {each: reads[each] for each in KINDS} == {each: 2 if each == kind else 1 for each in KINDS}


async def test_rows_that_change_while_they_are_read_are_never_older_than_their_revision(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots = Snapshots(store)
    row = an_authority()
    await other.authorities.add(row)
    late = await snapshots.current()
    inner, gate, reading = store.authorities.list, asyncio.Event(), asyncio.Event()

    async def slowly() -> Sequence[Authority]:
        found = await inner()
        reading.set()
        await gate.wait()
        return found

    monkeypatch.setattr(store.authorities, "list", slowly)
    task = asyncio.create_task(late.authorities())
    await reading.wait()
    changed = await other.authorities.replace(replace(row, enabled=False))
    gate.set()
    assert (await task).by_id == {row.id: row}
    assert (await (await snapshots.current()).authorities()).by_id == {row.id: changed}


async def test_profiles_are_found_by_their_authority_and_tokens_by_their_directory(store: Store) -> None:
    row = an_authority()
    await store.authorities.add(row)
    given = (("a", row.id, True), ("b", row.id, True), ("c", row.id, False), ("d", "", True))
    for second, (name, authority_id, enabled) in enumerate(given):
        created = NOW + timedelta(seconds=second)
        await store.profiles.add(
            Profile(name=name, description="", authority_id=authority_id, enabled=enabled, created=created)
        )
    profiles = await (await Snapshots(store).current()).profiles()
    assert profiles.by_authority == {row.id: ("a", "b")}
    assert list(profiles.enabled) == ["a", "b", "d"]

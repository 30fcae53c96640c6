"""The solver for dns-01: plans, creates, watches and removes TXT records."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from weakref import WeakValueDictionary

import msgspec
from msgspec.structs import replace

from acmehub.config import Dns
from acmehub.dns01.errors import DnsUnclear
from acmehub.dns01.explanation import Explanation, Rehearsal, explain, rehearse
from acmehub.dns01.one_writer import OneWriter
from acmehub.dns01.propagation import Sight, View, view_authoritative, view_resolved
from acmehub.dns01.resolver import Resolver
from acmehub.dns01.zones import Place, find_place
from acmehub.models import Authorization, ManagedChallenge, Order, PropagationMode, TxtRecord, TxtState, new_id
from acmehub.models.text import escape_controls
from acmehub.ports.clock import Clock
from acmehub.ports.dns import (
    AddsManyRecords,
    DnsProvider,
    DnsProviderError,
    DnsProviderRefused,
    DnsProviderUnavailable,
    WaitsForPropagation,
)
from acmehub.ports.store import Conflict, Missing, Store
from acmehub.rules.orders import Change, OrderBundle
from acmehub.rules.scopes import MatchIndex, Scope
from acmehub.runtime.concurrency import gather_limited
from acmehub.runtime.lru import Lru
from acmehub.runtime.plugin_objects import PLUGIN_UNUSABLE, PluginObjects, ProviderObject
from acmehub.runtime.rights import FRESH
from acmehub.runtime.snapshot import Snapshots

PROVIDER_SECONDS = 60.0  # a provider that hangs longer is unavailable
ADD_MAY_LAST = timedelta(seconds=90)
NAMES_AT_ONCE = 8
APART_AT_ONCE = 4
MOST_TOGETHER = 64  # records in one call of a provider: with the longest names a third of a DNS message
KEPT_RESOLVERS = 64


class Wanted(msgspec.Struct, frozen=True):
    """A value that the CA wants to see for an authorization."""

    authorization: Authorization
    value: str


class Solver:
    """DNS for issuance and `acmehub check`. Verbs raise `DnsError`, `DnsProviderError`, and what
    `PluginObjects.provider` raises. `owner` names this process in zone leases."""

    def __init__(
        self,
        store: Store,
        snapshots: Snapshots,
        plugin_objects: PluginObjects,
        dns: Dns,
        clock: Clock,
        owner: str = "",
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._plugin_objects = plugin_objects
        self._port = dns.port
        self._clock = clock
        self._resolver = Resolver(dns)
        self._own_resolvers: Lru[tuple[str, ...], Resolver] = Lru(KEPT_RESOLVERS)
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._one_writer = OneWriter(store, clock, owner)

    async def plan(self, order: Order, wanted: Sequence[Wanted], scope: Scope) -> tuple[TxtRecord, ...]:
        """The rows of the TXT records that a CA asks for; the caller stores them before `publish`.

        `scope` has the managed challenge of each name. Raises `DnsWrong` for a CNAME that leads where it may not.
        """
        challenges = [_challenge_of(scope, item.authorization) for item in wanted]
        names = [item.authorization.identifier.value for item in wanted]
        searches = {(item.id, name): item for item, name in zip(challenges, names, strict=True)}
        found = await gather_limited(lambda item: self._placed(item[0][1], item[1]), searches.items(), NAMES_AT_ONCE)
        places = dict(zip(searches, found, strict=True))
        now = self._clock.now()
        return tuple(
            TxtRecord(
                order_id=order.id,
                authorization_id=item.authorization.id,
                managed_challenge_id=challenge.id,
                zone=places[challenge.id, name].zone,
                name=places[challenge.id, name].name,
                value=item.value,
                run_at=now + ADD_MAY_LAST,
                created=now,
            )
            for item, challenge, name in zip(wanted, challenges, names, strict=True)
        )

    async def together(self, records: Iterable[TxtRecord]) -> list[Sequence[TxtRecord]]:
        """The records in groups for `publish_together`: those of one zone where the provider can add many, else each
        record by itself."""
        zones: dict[tuple[str, str], list[TxtRecord]] = {}
        for record in records:
            zones.setdefault((record.managed_challenge_id, record.zone), []).append(record)
        groups: list[Sequence[TxtRecord]] = []
        for (id, _zone), rows in zones.items():
            size = MOST_TOGETHER if len(rows) > 1 and await self._adds_many(id) else 1
            groups += [rows[at : at + size] for at in range(0, len(rows), size)]
        return groups

    async def publish(self, record: TxtRecord) -> None:
        """Create the record in DNS."""
        async with self._provider(record) as provider:
            await provider.add_txt(record.zone, record.name, record.value)

    async def publish_together(self, records: Sequence[TxtRecord]) -> bool:
        """Create the records of a group that `together` made, by one call of their provider.

        False if it refuses several: any of them may be the reason, and `publish_apart` finds it.
        """
        if len(records) == 1:
            await self.publish(records[0])
            return True
        try:
            async with self._provider(*records) as provider:
                if not isinstance(provider, AddsManyRecords):  # the managed challenge has another plugin since
                    return False
                await provider.add_txts(records[0].zone, [(record.name, record.value) for record in records])
        except DnsProviderRefused:
            return False
        return True

    async def publish_apart(self, records: Sequence[TxtRecord]) -> Mapping[str, DnsProviderError]:
        """Create records one by one, each whatever becomes of the others.

        The errors of those that could not be created, by the record's id. Raises the first if none could.
        """
        errors: dict[str, DnsProviderError] = {}
        await gather_limited(lambda record: self._publish_apart(record, errors), records, APART_AT_ONCE)
        failed = {record.id: errors[record.id] for record in records if record.id in errors}
        if len(failed) == len(records):
            raise failed[records[0].id]
        return failed

    async def mark_present(self, record: TxtRecord) -> None:
        """Write that `publish` succeeded. If the row's removal was scheduled or done meanwhile, schedule it again."""
        now = self._clock.now()
        since = record.run_at if record.state is TxtState.PRESENT else now
        try:
            await self._store.txt_records.replace(replace(record, state=TxtState.PRESENT, run_at=since))
        except (Conflict, Missing):
            rows = {row.id: row for row in await self._store.txt_records.of_order(record.order_id)}
            if record.id in rows and rows[record.id].state is not TxtState.REMOVE:
                return  # another process has taken the order over, and keeps the row
            again = replace(record, id=new_id(), version=1, state=TxtState.REMOVE, run_at=now)
            await self._store.orders.apply(record.order_id, _add_record(again))

    async def remove(self, record: TxtRecord) -> None:
        """Remove the record from DNS, by its value."""
        async with self._provider(record) as provider:
            await provider.remove_txt(record.zone, record.name, record.value)

    async def propagated(self, records: Sequence[TxtRecord]) -> tuple[Sight, ...]:
        """What servers show of the records now, by name; `propagation.judge` decides what follows."""
        names: dict[tuple[str, str, str], list[str]] = {}
        for record in records:
            names.setdefault((record.managed_challenge_id, record.zone, record.name), []).append(record.value)
        return tuple(await gather_limited(lambda item: self._sight(*item[0], item[1]), names.items(), NAMES_AT_ONCE))

    @property
    def resolver(self) -> Resolver:
        """The resolver of this solver, which asks those of `[dns]`."""
        return self._resolver

    async def explain(self, name: str, challenge: ManagedChallenge | None = None) -> Explanation:
        """What DNS says about `name`, with this managed challenge or the best one for it; errors are part of it."""
        challenge = challenge or (await self._matches()).best(name)
        return await explain(self._resolver_of(challenge), name, challenge)

    async def rehearse(self, managed_challenge_id: str, name: str) -> Rehearsal:
        """Write a random value for `name` with a managed challenge, wait until it is seen, remove it."""
        instance = await self._plugin_objects.provider(managed_challenge_id)
        return await rehearse(self, self._resolver_of(instance.row), instance.row, name, self._clock)

    async def _matches(self) -> MatchIndex:
        snapshot = await self._snapshots.current()
        return (await snapshot.managed_challenges()).match_index

    async def _placed(self, name: str, challenge: ManagedChallenge) -> Place:
        resolver = self._resolver_of(challenge)
        return await find_place(resolver, name, challenge.cname_zones, zone=challenge.zone)

    def _resolver_of(self, challenge: ManagedChallenge | None) -> Resolver:
        """The one that asks the resolvers of a managed challenge, if it has its own; kept, as it keeps name servers."""
        if challenge is None or not challenge.resolvers:
            return self._resolver
        found = self._own_resolvers.get(challenge.resolvers) or self._resolver.asking(challenge.resolvers)
        self._own_resolvers.put(challenge.resolvers, found)
        return found

    async def _provider_object(self, managed_challenge_id: str) -> ProviderObject:
        """The provider by what was read at most `FRESH` seconds ago."""
        return await self._plugin_objects.provider(managed_challenge_id, await self._snapshots.recent(FRESH))

    async def _adds_many(self, managed_challenge_id: str) -> bool:
        try:
            return isinstance((await self._provider_object(managed_challenge_id)).object, AddsManyRecords)
        except PLUGIN_UNUSABLE:
            return False  # what is published by it raises this again

    async def _publish_apart(self, record: TxtRecord, errors: dict[str, DnsProviderError]) -> None:
        """Publish a record; an error of its provider goes into `errors`, and names the record."""
        try:
            await self.publish(record)
        except DnsProviderError as error:
            detail = f"{record.name}: {error.detail}"
            errors[record.id] = type(error)(detail, server=error.server, retry_after=error.retry_after)

    async def _sight(self, managed_challenge_id: str, zone: str, name: str, values: Sequence[str]) -> Sight:
        instance = await self._provider_object(managed_challenge_id)
        settings = instance.row.propagation
        try:
            view = await self._view(instance, zone, name, values)
        except DnsUnclear as error:  # the name servers are not known
            view = View(silent=(error.detail,))
        return Sight(name, settings, view)

    async def _view(self, instance: ProviderObject, zone: str, name: str, values: Sequence[str]) -> View:
        settings = instance.row.propagation
        resolver = self._resolver_of(instance.row)
        if settings.mode is PropagationMode.AUTHORITATIVE:
            if isinstance(instance.object, WaitsForPropagation):
                done = [await instance.object.propagated(zone, name, value) for value in values]
                if not all(done):
                    return View(lacking=(f"the provider's servers ({instance.row.plugin})",))
            return await view_authoritative(resolver, zone, name, values, settings.servers, self._port)
        if settings.mode is PropagationMode.RESOLVERS:
            return await view_resolved(resolver, name, values, settings.servers)
        return View()

    @asynccontextmanager
    async def _provider(self, *records: TxtRecord) -> AsyncIterator[DnsProvider]:
        """The provider of records of one zone, for one verb: one at a time per name; per zone if it rewrites record
        sets."""
        instance = await self._provider_object(records[0].managed_challenge_id)
        async with self._turn(instance, records):
            try:
                async with asyncio.timeout(PROVIDER_SECONDS):
                    yield instance.object
            except TimeoutError as error:
                raise DnsProviderUnavailable(
                    f"managed challenge {instance.row.name!r}: no answer within {PROVIDER_SECONDS:g} s"
                ) from error
            except DnsProviderError as error:
                kind = DnsProviderRefused if isinstance(error, DnsProviderRefused) else DnsProviderUnavailable
                raise kind(
                    f"managed challenge {instance.row.name!r}: {escape_controls(error.detail)}",
                    server=error.server,
                    retry_after=error.retry_after,
                ) from error

    @asynccontextmanager
    async def _turn(self, instance: ProviderObject, records: Sequence[TxtRecord]) -> AsyncIterator[None]:
        """What keeps other changes away, of this process or of all."""
        if instance.rewrites:
            async with self._one_writer.alone(instance.row.id, records[0].zone):
                yield
            return
        async with AsyncExitStack() as locks:
            for name in sorted({(record.zone, record.name) for record in records}):  # each in the same order
                lock = self._locks.get(name)
                if lock is None:
                    lock = self._locks[name] = asyncio.Lock()
                await locks.enter_async_context(lock)
            yield


def _challenge_of(scope: Scope, authorization: Authorization) -> ManagedChallenge:
    name = ("*." if authorization.wildcard else "") + authorization.identifier.value
    challenge = scope.challenge_of(name)
    if challenge is None:
        raise Missing(f"no managed challenge for {name}")
    return challenge


def _add_record(record: TxtRecord) -> Callable[[OrderBundle], Change]:
    return lambda current: Change(order=current.order, records=(record,))
